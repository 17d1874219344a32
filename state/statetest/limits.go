package statetest

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/cajun-go/cajun/state"
)

// spread returns commits that use up the store's limits: each of its own
// shard, rows divided among them, padded to the largest number of bytes.
func spread(e *env, commits, rowCount, bytes int) []state.Commit {
	e.Helper()
	var seals []state.Seal
	cs := make([]state.Commit, commits)
	for i := range cs {
		f := fence(1, fmt.Sprintf("session-%d", i))
		seals = append(seals, state.Seal{Shard: shard(uint32(i)), Fence: f})
		cs[i] = state.Commit{Actor: actor(uint32(i), fmt.Sprintf("key-%d", i)), Fence: f, Record: []byte{}}
	}
	for i, err := range e.store.Seal(e.ctx, seals) {
		if err != nil {
			e.Fatalf("Seal(%v): %v", seals[i], err)
		}
	}
	for i := range rowCount {
		c := &cs[i%commits]
		c.Put = append(c.Put, state.Row{Name: fmt.Sprintf("row-%06d", i), Value: []byte{1}})
	}
	pad(cs, bytes)
	return cs
}

// pad makes the first record long enough for commits to have bytes together.
func pad(commits []state.Commit, bytes int) {
	for _, c := range commits {
		bytes -= c.Size()
	}
	if bytes > 0 {
		commits[0].Record = append(commits[0].Record, make([]byte, bytes)...)
	}
}

// entriesOf are the agendas that commits of one shard set, in order.
func entriesOf(commits ...state.Commit) []state.Entry {
	var entries []state.Entry
	for _, c := range commits {
		if c.Agenda != nil {
			entries = append(entries, state.Entry{Key: c.Actor.Key, Agenda: *c.Agenda})
		}
	}
	return entries
}

// asStored is what is stored of a new actor after its first commit.
func asStored(c state.Commit) state.Snapshot {
	return state.Snapshot{Version: 1, Record: c.Record, Rows: c.Put}
}

func testLimitsTaken(e *env) {
	l := e.store.Limits()
	if l.Commits < 1 || l.Rows < 1 || l.Bytes < 1<<20 {
		e.Fatalf("limits %+v: a store must take one turn of 1 MiB", l)
	}
	cs := spread(e, l.Commits, l.Rows, l.Bytes)
	e.mustCommit(cs...)
	for _, c := range cs {
		e.wantStored(c.Actor, c.Fence, asStored(c))
	}
	// Refusals are found among as many, too.
	for i := range cs {
		cs[i].Version = 1
	}
	last := &cs[len(cs)-1]
	last.Version = 5
	e.wantConflict(e.commit(cs...), last.Actor, 5)
	// One commit alone may have all the rows, and delete them.
	one := state.Commit{Actor: cs[0].Actor, Fence: cs[0].Fence, Version: 1}
	for i := range l.Rows {
		one.Put = append(one.Put, state.Row{Name: fmt.Sprintf("row-%06d", i)})
	}
	e.mustCommit(one)
	one.Version = 2
	for _, r := range one.Put {
		one.Delete = append(one.Delete, r.Name)
	}
	one.Put = nil
	e.mustCommit(one)
	e.wantStored(one.Actor, one.Fence, state.Snapshot{Version: 3})
}

// testLimitsLongest uses up the limits with the longest kind, sessions and
// keys there are, of bytes that encodings like to escape.
func testLimitsLongest(e *env) {
	l := e.store.Limits()
	longKind := strings.Repeat("k", state.MaxKindBytes)
	var seals []state.Seal
	cs := make([]state.Commit, l.Commits)
	for i := range cs {
		s := state.Shard{Kind: longKind, Number: 1<<32 - 1 - uint32(i)}
		f := fence(1<<63, fmt.Sprintf("%0*d", state.MaxSessionBytes, i))
		seals = append(seals, state.Seal{Shard: s, Fence: f})
		key := fmt.Sprintf("%03d", i) + strings.Repeat("\x00", state.MaxKeyBytes-3)
		cs[i] = state.Commit{Actor: state.Actor{Shard: s, Key: key}, Fence: f, Record: []byte{}}
	}
	for i := range l.Rows {
		c := &cs[i%len(cs)]
		if c.Agenda == nil {
			c.Agenda = due(math.MaxInt64, uint32(i))
			continue
		}
		c.Put = append(c.Put, state.Row{Name: fmt.Sprintf("row-%06d", i)})
	}
	pad(cs, l.Bytes)
	for _, err := range e.store.Seal(e.ctx, seals) {
		if err != nil {
			e.Fatalf("Seal: %v", err)
		}
	}
	e.mustCommit(cs...)
	for _, c := range cs {
		e.wantStored(c.Actor, c.Fence, asStored(c))
		e.wantAgendas(c.Actor.Shard, entriesOf(c)...)
	}
	for i := range cs {
		c := &cs[i]
		c.Version, c.Record, c.Agenda = 1, nil, due(0, 0)
		for _, r := range c.Put {
			c.Delete = append(c.Delete, r.Name)
		}
		c.Put = nil
	}
	e.mustCommit(cs...)
	for _, c := range cs {
		e.wantStored(c.Actor, c.Fence, state.Snapshot{Version: 2})
		e.wantAgendas(c.Actor.Shard)
	}
}

func testLimitsRefused(e *env) {
	l := e.store.Limits()
	for name, cs := range map[string][]state.Commit{
		"commits": spread(e, l.Commits+1, 0, 0),
		"rows":    spread(e, 1, l.Rows+1, 0),
		"bytes":   spread(e, 1, 0, l.Bytes+1),
	} {
		if err := e.commit(cs...); !errors.Is(err, state.ErrTooLarge) {
			e.Errorf("one more than Limits().%s: got %v, want ErrTooLarge", name, err)
		}
		for _, c := range cs {
			e.wantStored(c.Actor, c.Fence, state.Snapshot{})
		}
	}
	deletes := spread(e, 1, 0, 0)
	for i := range l.Rows + 1 {
		deletes[0].Delete = append(deletes[0].Delete, fmt.Sprint(i))
	}
	if err := e.commit(deletes...); !errors.Is(err, state.ErrTooLarge) {
		e.Errorf("too many deletes: got %v, want ErrTooLarge", err)
	}
	// An agenda counts as a row, whatever it does.
	for _, agenda := range []*state.Agenda{due(1, 1), due(0, 0)} {
		full := spread(e, 1, l.Rows, 0)
		full[0].Agenda = agenda
		if err := e.commit(full...); !errors.Is(err, state.ErrTooLarge) {
			e.Errorf("as many rows as allowed and an agenda: got %v, want ErrTooLarge", err)
		}
		e.wantStored(full[0].Actor, full[0].Fence, state.Snapshot{})
		e.wantAgendas(full[0].Actor.Shard)
	}
}
