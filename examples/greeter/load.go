package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	greeterv1 "github.com/cajun-go/cajun/examples/gen/greeter/v1"
	"github.com/cajun-go/cajun/examples/gen/greeter/v1/greeterv1cajun"
	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
)

// callTimeout bounds one greeting. It is generous: a call that can be tried
// again survives the death of a node within it.
const callTimeout = 20 * time.Second

// levels are the promises that the greetings use; actor i uses levels[i%3].
var levels = [...]guarantee.Level{guarantee.AtMostOnce, guarantee.AtLeastOnce, guarantee.ExactlyOnce}

// load sends greetings and keeps the books on what callers were told.
type load struct {
	settings
	node *cajun.Node
	// id is in every actor's key, as what the actors of earlier runs remember
	// would spoil the audit.
	id     string
	actors []books
	next   atomic.Int64
	// killed is when a node was killed, in Unix nanoseconds, moved the actors
	// that lived there, and failover the nanoseconds to the first answer of one.
	killed   atomic.Int64
	moved    atomic.Pointer[move]
	failover atomic.Int64
}

// books are what the callers of one actor know.
type books struct{ sent, ok, failed, unknown atomic.Int64 }

func newLoad(s settings, node *cajun.Node) *load {
	return &load{settings: s, node: node, id: strings.ToLower(rand.Text()[:8]), actors: make([]books, s.actors)}
}

// key names the i-th actor.
func (l *load) key(i int) string { return fmt.Sprintf("greeter-%s-%04d", l.id, i) }

// pid is the i-th actor.
func (l *load) pid(i int) greeterv1cajun.GreeterPid {
	return greeterv1cajun.NewGreeterPid(l.node, l.key(i))
}

// run sends n greetings and returns when all are answered.
func (l *load) run(ctx context.Context, n int) { l.start(ctx, n)() }

// start begins to send n greetings; the returned function waits for them.
func (l *load) start(ctx context.Context, n int) (wait func()) {
	var left atomic.Int64
	left.Store(int64(n))
	var callers sync.WaitGroup
	for range l.callers {
		callers.Go(func() {
			for ctx.Err() == nil && left.Add(-1) >= 0 {
				l.greet(ctx, int(l.next.Add(1)-1)%l.settings.actors)
			}
		})
	}
	return callers.Wait
}

// greet sends one greeting and books what came of it.
func (l *load) greet(ctx context.Context, i int) {
	b := &l.actors[i]
	b.sent.Add(1)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	reply, err := l.pid(i).Greet(cajun.Deliver(ctx, levels[i%len(levels)]), &greeterv1.GreetRequest{Name: "world"})
	switch {
	case err == nil:
		b.ok.Add(1)
		l.noteMove(i, reply.GetNode())
	case cajun.OutcomeOf(err) == guarantee.MaybeExecuted:
		b.unknown.Add(1)
	default:
		b.failed.Add(1)
	}
}

// move is the actors that have to leave a node.
type move struct {
	from   string
	actors map[int]bool
}

// expectMove says which actors have to be found elsewhere from now on.
func (l *load) expectMove(m move) { l.moved.Store(&m) }

// noteMove takes the time of the first answer that an actor of the killed node
// gives from another node.
func (l *load) noteMove(i int, node string) {
	moved, killed := l.moved.Load(), l.killed.Load()
	if moved != nil && killed != 0 && moved.actors[i] && node != moved.from {
		l.failover.CompareAndSwap(0, max(1, time.Now().UnixNano()-killed))
	}
}

// audit compares what callers were told with what the actors remember.
func (l *load) audit(ctx context.Context, r *report) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for i := range l.actors {
		tally, err := l.pid(i).Tally(cajun.Deliver(ctx, guarantee.AtLeastOnce), &greeterv1.TallyRequest{})
		if err != nil {
			return fmt.Errorf("%s does not tell what it remembers: %w", l.key(i), err)
		}
		b := &l.actors[i]
		ok, unknown := b.ok.Load(), b.unknown.Load()
		c := counts{Sent: b.sent.Load(), OK: ok, Failed: b.failed.Load(), Unknown: unknown}
		switch levels[i%len(levels)] {
		case guarantee.AtMostOnce:
			r.Calls.AtMostOnce.add(c)
			r.check(l.key(i), int64(tally.GetAtMostOnce()), ok, ok+unknown)
		case guarantee.AtLeastOnce:
			r.Calls.AtLeastOnce.add(c)
			r.checkAtLeast(l.key(i), int64(tally.GetAtLeastOnce()), ok)
		case guarantee.ExactlyOnce:
			r.Calls.ExactlyOnce.add(c)
			r.ExactlyOnce.Expected += ok
			r.ExactlyOnce.Applied += int64(tally.GetExactlyOnce())
			r.check(l.key(i), int64(tally.GetExactlyOnce()), ok, ok+unknown)
		}
	}
	r.Failover = (l.failover.Load() + int64(time.Millisecond) - 1) / int64(time.Millisecond)
	return nil
}

// progress tells how far the greetings are.
func (l *load) progress() string {
	var ok, failed, unknown int64
	for i := range l.actors {
		b := &l.actors[i]
		ok, failed, unknown = ok+b.ok.Load(), failed+b.failed.Load(), unknown+b.unknown.Load()
	}
	note := ""
	if l.killed.Load() != 0 {
		note = ", one node killed"
	}
	return fmt.Sprintf("  %5d of %d greetings: %d ok, %d failed, %d unknown%s", ok+failed+unknown, l.settings.calls, ok, failed, unknown, note)
}
