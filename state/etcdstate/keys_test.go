package etcdstate

import (
	"cmp"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cajun-go/cajun/state"
)

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"a", "\x00", "\x01", "\x02", "\x01\x01", "\x00\x01", "a\x00b", "a/", "é", strings.Repeat("\x00", 512)} {
		f.Add(s, "a")
		f.Add(s, s+"\x00")
		f.Add(s+"\x01", s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		ea, eb := escape(a)+terminator, escape(b)+terminator
		if got := unescape(escape(a)); got != a {
			t.Fatalf("%q came back as %q", a, got)
		}
		if utf8.ValidString(a) != utf8.ValidString(ea) {
			t.Fatalf("%q is text and %q is not, or the reverse", a, ea)
		}
		if strings.Count(ea, terminator) != 1 {
			t.Fatalf("%q has a NUL before its end", ea)
		}
		if len(ea) > 2*len(a)+1 {
			t.Fatalf("%q grew to %q", a, ea)
		}
		if a != b && strings.HasPrefix(eb, ea) {
			t.Fatalf("%q is a prefix of %q", ea, eb)
		}
		if got, want := cmp.Compare(ea, eb), cmp.Compare(a, b); got != want {
			t.Fatalf("%q and %q compare as %d, their keys as %d", ea, eb, got, want)
		}
	})
}

func FuzzActorRange(f *testing.F) {
	f.Add("a", "aa", "row")
	f.Add("a", "a\x00", "\x00")
	f.Add("a", "a\x01", "\xff\xff")
	f.Add("\x00", "\x01", "\x01")
	f.Fuzz(func(t *testing.T, key, other, name string) {
		keys := keyspace("/cajun/prod/")
		shard := state.Shard{Kind: "k", Number: 1}
		record := keys.record(state.Actor{Shard: shard, Key: key})
		in := func(k string) bool { return record <= k && k < endOfActor(record) }
		if !in(record) || !in(record+name) {
			t.Fatalf("the range of %q misses its record or row %q", key, name)
		}
		if stranger := keys.record(state.Actor{Shard: shard, Key: other}); key != other && (in(stranger) || in(stranger+name)) {
			t.Fatalf("the range of %q has %q in it", key, other)
		}
	})
}

// FuzzAgendaRange: the agendas after a key are those of greater keys, of the
// same shard.
func FuzzAgendaRange(f *testing.F) {
	f.Add("", "\x00", "k", uint32(1), "k", uint32(1))
	f.Add("a", "a", "k", uint32(1), "k", uint32(1))
	f.Add("a", "a\x00", "k", uint32(1), "k", uint32(10))
	f.Add("a\x00", "a", "k", uint32(10), "k", uint32(1))
	f.Add("a\x01", "a\x00\xff", "k", uint32(1), "k1", uint32(1))
	f.Add("", "/", "k", uint32(1), "k", uint32(1))
	f.Add("\xff", "\U0010ffff", "k", uint32(0), "k", uint32(math.MaxUint32))
	f.Fuzz(func(t *testing.T, after, key, kind string, number uint32, otherKind string, otherNumber uint32) {
		shard, other := state.Shard{Kind: kind, Number: number}, state.Shard{Kind: otherKind, Number: otherNumber}
		actor := state.Actor{Shard: other, Key: key}
		if state.CheckAgenda(shard, 1) != nil || actor.Check() != nil {
			t.Skip("no store gets these")
		}
		keys := keyspace("/cajun/prod/")
		from, end := keys.agendasAfter(shard, after)
		at := keys.agenda(actor)
		if in := from <= at && at < end; in != (shard == other && key > after) {
			t.Fatalf("the agenda of %q in %v after %q of %v: %v", key, other, after, shard, in)
		}
		if got := unescape(at[len(keys.agendas(other)):]); got != key {
			t.Fatalf("%q came back as %q", key, got)
		}
		if strings.HasPrefix(at, string(keys)+"actors/") || strings.HasPrefix(at, string(keys)+"fences/") {
			t.Fatalf("an agenda has the key %q", at)
		}
	})
}

// FuzzFence checks that the order of fences in etcd is that of their epochs.
func FuzzFence(f *testing.F) {
	f.Add(uint64(1), "a", uint64(2), "b")
	f.Add(uint64(255), "zz", uint64(256), "")
	f.Add(uint64(math.MaxInt64), "", uint64(1<<63), "\x00")
	f.Fuzz(func(t *testing.T, epoch uint64, session string, newEpoch uint64, newSession string) {
		stored := state.Fence{Epoch: epoch, Session: session}
		got, err := decodeFence([]byte(encodeFence(stored)))
		if err != nil || got != stored {
			t.Fatalf("%+v came back as %+v, %v", stored, got, err)
		}
		if lower := encodeFence(stored) < encodeEpoch(newEpoch); lower != (epoch < newEpoch) {
			t.Fatalf("stored epoch %d, new epoch %d: lower is %v", epoch, newEpoch, lower)
		}
		other := state.Fence{Epoch: newEpoch, Session: newSession}
		if (encodeFence(stored) == encodeFence(other)) != (stored == other) {
			t.Fatalf("%+v and %+v: equal in one form only", stored, other)
		}
	})
}

func FuzzAgenda(f *testing.F) {
	f.Add(int64(0), uint32(1))
	f.Add(int64(math.MaxInt64), uint32(math.MaxUint32))
	f.Add(int64(1<<32), uint32(1<<24))
	f.Fuzz(func(t *testing.T, due int64, dead uint32) {
		want := state.Agenda{Due: due, Dead: dead}
		value := encodeAgenda(want)
		if got, err := decodeAgenda(value); err != nil || got != want || len(value) != agendaSize {
			t.Fatalf("%+v came back as %+v, %v, from %d bytes", want, got, err, len(value))
		}
	})
}

func TestDamagedAgenda(t *testing.T) {
	for _, value := range []string{"", "12345678901", "1234567890123"} {
		if _, err := decodeAgenda([]byte(value)); err == nil {
			t.Errorf("%d bytes were taken for an agenda", len(value))
		}
	}
}

func TestDamagedFence(t *testing.T) {
	if _, err := decodeFence([]byte("1234567")); err == nil {
		t.Error("seven bytes were taken for a fence")
	}
}
