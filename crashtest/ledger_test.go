//go:build unix

package crashtest

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	greeterv1 "github.com/cajun-go/cajun/examples/gen/greeter/v1"
	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
)

var levels = [...]guarantee.Level{guarantee.AtMostOnce, guarantee.AtLeastOnce, guarantee.ExactlyOnce}

// Every actor is called callsPerActor times, and the n-th call adds 16 to the
// power of n to the actor's counter: the counter's hexadecimal digits are how
// often each call took effect.
const (
	callsPerActor = 16
	digitBits     = 4
)

// ledger makes calls at all levels, from several callers at once, and keeps
// the books on what they were told.
type ledger struct {
	c *cluster
	// width is how many actors of a level are called in turn.
	width int

	next atomic.Int64
	stop chan struct{}
	work sync.WaitGroup

	mu    sync.Mutex
	books map[string]*[callsPerActor]told
	level map[string]guarantee.Level
	count map[string]int // by what callers were told
	errs  []string
}

// told is what the caller of one call knows of it.
type told uint8

const (
	nothing told = iota // never made
	done
	undone // certainly not executed or not committed
	unknown
)

// begin starts so many callers, who go on until end.
func begin(c *cluster, callers, width int) *ledger {
	l := &ledger{c: c, width: width, stop: make(chan struct{}),
		books: make(map[string]*[callsPerActor]told), level: make(map[string]guarantee.Level), count: make(map[string]int)}
	for range callers {
		l.work.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
					l.call(c.t.Context(), int(l.next.Add(1)-1))
				}
			}
		})
	}
	return l
}

// made returns how many calls were begun so far.
func (l *ledger) made() int64 { return l.next.Load() }

// call makes the n-th call.
func (l *ledger) call(ctx context.Context, n int) {
	level := levels[n%len(levels)]
	n /= len(levels)
	actor, digit := n%l.width, n/l.width
	key := fmt.Sprintf("%v-%d-%d", level, digit/callsPerActor, actor)
	digit %= callsPerActor
	_, err := l.c.greet(ctx, level, key, strconv.FormatUint(1<<(digit*digitBits), 10))
	what := done
	if err != nil {
		switch cajun.OutcomeOf(err) {
		case guarantee.NotExecuted, guarantee.NotCommitted:
			what = undone
		default:
			what = unknown
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.books[key] == nil {
		l.books[key], l.level[key] = new([callsPerActor]told), level
	}
	l.books[key][digit] = what
	l.count[fmt.Sprintf("%v %s", level, []string{"", "done", "undone", "unknown"}[what])]++
	if err != nil && (level > guarantee.AtMostOnce || what == undone) && len(l.errs) < 5 {
		l.errs = append(l.errs, fmt.Sprintf("%v %s: %v: %v", level, key, cajun.OutcomeOf(err), err))
	}
}

// end stops the callers and waits for their last calls.
func (l *ledger) end() {
	close(l.stop)
	l.work.Wait()
}

// audit compares what callers were told with what the actors remember.
func (l *ledger) audit(t testing.TB) {
	t.Helper()
	keys := make(chan string)
	var readers sync.WaitGroup
	for range 16 {
		readers.Go(func() {
			for key := range keys {
				tally := l.c.tally(key)
				for digit, what := range l.books[key] {
					if wrong := check(l.level[key], what, ran(tally, l.level[key], digit)); wrong != "" {
						t.Errorf("call %d of %s: %s", digit, key, wrong)
					}
				}
			}
		})
	}
	for key := range l.books {
		keys <- key
	}
	close(keys)
	readers.Wait()
	t.Logf("%d calls of %d actors: %v", l.made(), len(l.books), l.count)
}

// undelivered fails the test for calls that had to be answered and were not.
// Calls at AT_MOST_ONCE may end in doubt, but only when a node crashes.
func (l *ledger) undelivered(t testing.TB, alsoAtMostOnce bool) {
	t.Helper()
	for _, level := range levels {
		if level == guarantee.AtMostOnce && !alsoAtMostOnce {
			continue
		}
		failed := l.count[fmt.Sprintf("%v undone", level)] + l.count[fmt.Sprintf("%v unknown", level)]
		if failed > 0 {
			t.Errorf("%d calls at %v failed; the first failures were %q", failed, level, l.errs)
		}
	}
}

// ran returns how often a call took effect.
func ran(tally *greeterv1.TallyResponse, level guarantee.Level, digit int) uint64 {
	marks := tally.GetAtMostOnce()
	switch level {
	case guarantee.AtLeastOnce:
		marks = tally.GetAtLeastOnce()
	case guarantee.ExactlyOnce:
		marks = tally.GetExactlyOnce()
	}
	return marks >> (digit * digitBits) & (1<<digitBits - 1)
}

// check says how a promise was broken, if it was.
func check(level guarantee.Level, what told, ran uint64) string {
	switch {
	case (what == nothing || what == undone) && ran > 0:
		return fmt.Sprintf("it took effect %d times, and its caller was told never", ran)
	case what == done && ran == 0:
		return "it was acknowledged and is lost"
	case level != guarantee.AtLeastOnce && ran > 1:
		return fmt.Sprintf("%v, and it took effect %d times", level, ran)
	}
	return ""
}

// TestCheck makes sure that the audit can fail.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		level guarantee.Level
		what  told
		ran   uint64
		fine  bool
	}{
		{guarantee.AtMostOnce, done, 1, true},
		{guarantee.AtMostOnce, done, 0, false},
		{guarantee.AtMostOnce, done, 2, false},
		{guarantee.AtMostOnce, unknown, 0, true},
		{guarantee.AtMostOnce, unknown, 1, true},
		{guarantee.AtMostOnce, unknown, 2, false},
		{guarantee.AtMostOnce, undone, 1, false},
		{guarantee.AtLeastOnce, done, 3, true},
		{guarantee.AtLeastOnce, done, 0, false},
		{guarantee.AtLeastOnce, undone, 1, false},
		{guarantee.ExactlyOnce, done, 1, true},
		{guarantee.ExactlyOnce, done, 0, false},
		{guarantee.ExactlyOnce, done, 2, false},
		{guarantee.ExactlyOnce, unknown, 2, false},
		{guarantee.ExactlyOnce, nothing, 1, false},
	} {
		if got := check(c.level, c.what, c.ran); (got == "") != c.fine {
			t.Errorf("check(%v, %v, %d) = %q", c.level, c.what, c.ran, got)
		}
	}
}
