package journal_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/journal"
	"github.com/cajun-go/cajun/state"
)

var manyCalls = flag.Int("journal.calls", 5_000, "how many calls the tests of bounded memory make")

// crowd is who calls: every session lives until it is told to end.
type crowd struct {
	generation uint64
	ended      map[string]bool
}

func (c *crowd) Generation() uint64       { return c.generation }
func (c *crowd) Over(session string) bool { return c.ended[session] }

func (c *crowd) end(session string) {
	if c.ended == nil {
		c.ended = make(map[string]bool)
	}
	c.ended[session] = true
	c.generation++
}

// of is what a session's call leaves behind.
func of(session string, sequence, watermark uint64) journal.Turn {
	return journal.Turn{State: []byte("state"), Method: "M", Watermark: watermark,
		Call:  guarantee.CallID{Session: session, Sequence: sequence},
		Reply: &statev1.Reply{Sequence: sequence, Payload: make([]byte, 100)}}
}

// kept returns the names of the rows beside the actor a, and their bytes.
func (b *book) kept() (names []string, bytes int) {
	b.t.Helper()
	s, err := b.truth.Load(b.t.Context(), state.Actor{Shard: shard, Key: "a"}, mine)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range s.Rows {
		names, bytes = append(names, r.Name), bytes+len(r.Value)
	}
	return names, bytes
}

func (b *book) commit(a *journal.Actor, t journal.Turn) {
	b.t.Helper()
	if err := a.Commit(b.t.Context(), t); err != nil {
		b.t.Fatal(err)
	}
}

// TestOneCallerOfMany keeps only what the caller has not acknowledged.
func TestOneCallerOfMany(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	a := b.load("a", mine)
	most := 0
	for n := uint64(1); n <= uint64(*manyCalls); n++ {
		low := max(1, int(n)-5)
		if _, verdict := a.Look(guarantee.CallID{Session: "s", Sequence: n}, "M", uint64(low)); verdict != guarantee.New {
			t.Fatalf("call %d is %v", n, verdict)
		}
		b.commit(a, of("s", n, uint64(low)))
		if n%100 == 0 {
			_, bytes := b.kept()
			most = max(most, bytes)
		}
	}
	if names, bytes := b.kept(); len(names) != 1 || most > 1000 {
		t.Errorf("rows %q with %d bytes, %d at most, after %d calls", names, bytes, most, *manyCalls)
	}
}

// TestManyCallersOfOne keeps only what is known of sessions that live, and
// forgets no session that does.
func TestManyCallersOfOne(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	a := b.load("a", mine)
	b.commit(a, of("faithful", 1, 1))
	const alive = 20
	for n := range *manyCalls {
		b.commit(a, of(fmt.Sprint("s", n), 1, 1))
		if n >= alive {
			b.crowd.end(fmt.Sprint("s", n-alive))
		}
		if n%1000 != 0 {
			continue
		}
		if names, _ := b.kept(); len(names) > alive+2 {
			t.Fatalf("%d rows after %d callers, of whom %d live", len(names), n, alive)
		}
		a = b.load("a", mine)
	}
	if _, verdict := a.Look(guarantee.CallID{Session: "faithful", Sequence: 1}, "M", 1); verdict != guarantee.Known || !a.Knows("faithful") {
		t.Errorf("the call of a living session is %v", verdict)
	}
}

// TestManyEndAtOnce takes the rows away in parts, so that no commit grows too
// large, also those that only the store remembers, and goes on in the next
// activation.
func TestManyEndAtOnce(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	a := b.load("a", mine)
	const callers = 100
	for n := range callers {
		b.commit(a, of(fmt.Sprint("s", n), 1, 1))
	}
	for n := range callers {
		b.crowd.end(fmt.Sprint("s", n))
	}
	left := callers
	for n := 1; left > 0; n++ {
		if n%3 == 0 {
			a = b.load("a", mine)
		}
		b.commit(a, journal.Turn{State: []byte("state")})
		names, _ := b.kept()
		if gone := left - len(names); gone < 1 || gone > 16 {
			t.Fatalf("commit %d took %d of %d rows away: %s", n, gone, left, strings.Join(names, " "))
		}
		left = len(names)
	}
	// The commit of an ended session's last turn writes its row once more.
	b.commit(a, of("s1", 2, 1))
	if names, _ := b.kept(); len(names) != 1 {
		t.Errorf("rows %q", names)
	}
	b.commit(b.load("a", mine), journal.Turn{State: []byte("state")})
	if names, _ := b.kept(); len(names) != 0 {
		t.Errorf("rows %q", names)
	}
}
