package state_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/cajun-go/cajun/state"
)

var (
	shard  = state.Shard{Kind: "bank.v1.Account", Number: 7}
	fence  = state.Fence{Epoch: 3, Session: "s"}
	limits = state.Limits{Commits: 2, Rows: 3, Bytes: 20}
)

func commit(key string, c state.Commit) state.Commit {
	c.Actor, c.Fence = state.Actor{Shard: shard, Key: key}, fence
	return c
}

func row(name, value string) state.Row { return state.Row{Name: name, Value: []byte(value)} }

func agenda(due int64, dead uint32) *state.Agenda { return &state.Agenda{Due: due, Dead: dead} }

func TestLimitsCheck(t *testing.T) {
	for name, test := range map[string]struct {
		commits []state.Commit
		want    error
	}{
		"nothing":         {nil, nil},
		"as many commits": {[]state.Commit{commit("a", state.Commit{}), commit("b", state.Commit{})}, nil},
		"one commit more": {[]state.Commit{commit("a", state.Commit{}), commit("b", state.Commit{}), commit("c", state.Commit{})}, state.ErrTooLarge},
		"as many rows": {[]state.Commit{
			commit("a", state.Commit{Put: []state.Row{row("x", ""), row("y", "")}}),
			commit("b", state.Commit{Delete: []string{"x"}}),
		}, nil},
		"one row more": {[]state.Commit{
			commit("a", state.Commit{Put: []state.Row{row("x", ""), row("y", "")}}),
			commit("b", state.Commit{Delete: []string{"x", "y"}}),
		}, state.ErrTooLarge},
		"as many bytes": {[]state.Commit{commit("key4", state.Commit{
			Record: []byte("record7"), Put: []state.Row{row("nam", "val")}, Delete: []string{"del"},
		})}, nil},
		"one byte more": {[]state.Commit{commit("key4", state.Commit{
			Record: []byte("record78"), Put: []state.Row{row("nam", "val")}, Delete: []string{"del"},
		})}, state.ErrTooLarge},
		"agenda in the past":  {[]state.Commit{commit("a", state.Commit{Agenda: agenda(-1, 1)})}, state.ErrInvalid},
		"actor twice":         {[]state.Commit{commit("a", state.Commit{}), commit("a", state.Commit{Version: 1})}, state.ErrInvalid},
		"row twice":           {[]state.Commit{commit("a", state.Commit{Put: []state.Row{row("x", "")}, Delete: []string{"x"}})}, state.ErrInvalid},
		"row of no name":      {[]state.Commit{commit("a", state.Commit{Delete: []string{""}})}, state.ErrInvalid},
		"no key":              {[]state.Commit{commit("", state.Commit{})}, state.ErrInvalid},
		"key that is no text": {[]state.Commit{commit("\xc3", state.Commit{})}, state.ErrInvalid},
	} {
		if err := limits.Check(test.commits); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
}

// TestAgendaCounts: an agenda counts as a row, and its key and value as bytes,
// also when it is removed.
func TestAgendaCounts(t *testing.T) {
	fewRows := state.Limits{Commits: 2, Rows: 2, Bytes: 1000}
	fewBytes := state.Limits{Commits: 2, Rows: 100, Bytes: 2 * (1 + 1 + 16)}
	for _, a := range []*state.Agenda{agenda(0, 0), agenda(1, 0), agenda(0, 1), agenda(math.MaxInt64, math.MaxUint32)} {
		one := commit("a", state.Commit{Agenda: a})
		if n, size := one.RowCount(), one.Size(); n != 1 || size != 18 {
			t.Errorf("%+v counts as %d rows and %d bytes, want 1 and 18", *a, n, size)
		}
		for name, test := range map[string]struct {
			limits state.Limits
			other  state.Commit
			want   error
		}{
			"as many rows":  {fewRows, commit("b", state.Commit{Agenda: a}), nil},
			"a row more":    {fewRows, commit("b", state.Commit{Agenda: a, Put: []state.Row{row("x", "")}}), state.ErrTooLarge},
			"as many bytes": {fewBytes, commit("b", state.Commit{Agenda: a}), nil},
			"a byte more":   {fewBytes, commit("b", state.Commit{Agenda: a, Record: []byte("r")}), state.ErrTooLarge},
		} {
			if err := test.limits.Check([]state.Commit{one, test.other}); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("%+v and %s: got %v, want %v", *a, name, err, test.want)
			}
		}
	}
	rows := commit("a", state.Commit{Put: []state.Row{row("x", "")}, Delete: []string{"y", "z"}})
	if n := rows.RowCount(); n != 3 {
		t.Errorf("three rows without an agenda count as %d", n)
	}
}

func TestCheckAgenda(t *testing.T) {
	for name, test := range map[string]struct {
		shard state.Shard
		limit int
		want  error
	}{
		"good":           {shard, 1, nil},
		"all":            {shard, math.MaxInt, nil},
		"limit 0":        {shard, 0, state.ErrInvalid},
		"negative limit": {shard, -1, state.ErrInvalid},
		"no kind":        {state.Shard{}, 1, state.ErrInvalid},
		"slash":          {state.Shard{Kind: "a/b"}, 1, state.ErrInvalid},
	} {
		if err := state.CheckAgenda(test.shard, test.limit); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
}

func TestSealCheck(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, test := range map[string]struct {
		seal state.Seal
		want error
	}{
		"good":         {state.Seal{Shard: shard, Fence: fence}, nil},
		"longest":      {state.Seal{Shard: state.Shard{Kind: long(256)}, Fence: state.Fence{Epoch: 1, Session: long(256)}}, nil},
		"epoch 0":      {state.Seal{Shard: shard, Fence: state.Fence{Session: "s"}}, state.ErrInvalid},
		"no session":   {state.Seal{Shard: shard, Fence: state.Fence{Epoch: 1}}, state.ErrInvalid},
		"long session": {state.Seal{Shard: shard, Fence: state.Fence{Epoch: 1, Session: long(257)}}, state.ErrInvalid},
		"no kind":      {state.Seal{Fence: fence}, state.ErrInvalid},
		"long kind":    {state.Seal{Shard: state.Shard{Kind: long(257)}, Fence: fence}, state.ErrInvalid},
		"slash":        {state.Seal{Shard: state.Shard{Kind: "a/b"}, Fence: fence}, state.ErrInvalid},
	} {
		if err := test.seal.Check(); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
}

// TestErrorsTellWhy looks for what a reader of a log needs.
func TestErrorsTellWhy(t *testing.T) {
	actor := state.Actor{Shard: shard, Key: "alice"}
	for _, test := range []struct {
		err   error
		words []string
	}{
		{&state.FencedError{Shard: shard, Current: state.Fence{Epoch: 9, Session: "other"}}, []string{"bank.v1.Account/7", "epoch 9", "other"}},
		{&state.FencedError{Shard: shard}, []string{"bank.v1.Account/7", "never sealed"}},
		{&state.ConflictError{Actor: actor, Expected: 4}, []string{"alice", "bank.v1.Account/7", "version 4"}},
		{&state.ClusterError{Bound: "one", Asked: "two"}, []string{"one", "two", "prefix"}},
	} {
		for _, word := range test.words {
			if !strings.Contains(test.err.Error(), word) {
				t.Errorf("%q does not say %q", test.err, word)
			}
		}
	}
}
