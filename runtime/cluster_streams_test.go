package cajun_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// streams is a storm around readers of actors whose sums grow by one at a time.
type streams struct {
	t      *testing.T
	actors int
	// nodes is how many there are, the one that only calls included.
	nodes int
	node  func(i int) *cajun.Node

	mu sync.Mutex
	// known are the highest sums that somebody was told of, by actor.
	known map[string]int64
	// last are those that the readers who are still there have got.
	last   map[*struct{ actor string }]int64
	events int
	ends   map[string]int
}

func (s *streams) pid(through int, actor string) probev1cajun.CounterPid {
	return probev1cajun.NewCounterPid(s.node(through), actor)
}

func (s *streams) anyActor(rnd *rand.Rand) string { return fmt.Sprint("s", rnd.IntN(s.actors)) }

// note notes a sum that somebody was told of.
func (s *streams) note(actor string, sum int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[actor] = max(s.known[actor], sum)
}

// write makes actors' sums grow until stop is closed, and lets some turns fail: those
// of "huge" after they have published.
func (s *streams) write(rnd *rand.Rand, stop <-chan struct{}) {
	levels := []guarantee.Level{guarantee.AtMostOnce, guarantee.AtLeastOnce, guarantee.ExactlyOnce}
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rnd.IntN(30)) * time.Millisecond):
		}
		script := ""
		switch rnd.IntN(400) {
		case 0:
			script = "huge"
		case 1:
			script = "panic"
		case 2:
			script = "leave"
		case 3, 4, 5, 6:
			script = "slow"
		default:
			if rnd.IntN(10) == 0 {
				script = "fail"
			}
		}
		actor := s.anyActor(rnd)
		ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
		r, err := s.pid(rnd.IntN(s.nodes), actor).Add(cajun.Deliver(ctx, levels[rnd.IntN(3)]), &probev1.AddRequest{Amount: 1, Script: script})
		cancel()
		if err == nil {
			s.note(actor, r.GetSum())
		}
	}
}

// read opens streams and reads them, quickly or slowly, until it is tired of them or
// stop is closed.
func (s *streams) read(rnd *rand.Rand, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rnd.IntN(500)) * time.Millisecond):
		}
		ctx, cancel := context.WithCancel(s.t.Context())
		if rnd.IntN(3) == 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(rnd.IntN(20_000))*time.Millisecond)
		}
		released := make(chan struct{})
		go func() { // the end of the storm ends the reading
			select {
			case <-stop:
				cancel()
			case <-released:
			}
		}()
		s.follow(ctx, cancel, rnd, s.anyActor(rnd))
		close(released)
		cancel()
	}
}

// follow reads one stream.
func (s *streams) follow(ctx context.Context, cancel func(), rnd *rand.Rand, actor string) {
	s.mu.Lock()
	known := s.known[actor]
	s.mu.Unlock()
	events, err := s.pid(rnd.IntN(s.nodes), actor).Watch(ctx, &probev1.GetRequest{})
	if err != nil {
		s.end(actor, "not opened", err)
		return
	}
	patience, left := time.Duration(0), -1
	switch rnd.IntN(4) {
	case 0:
		patience = time.Duration(rnd.IntN(300)) * time.Millisecond
	case 1:
		left = rnd.IntN(200)
	case 2:
		if rnd.IntN(4) == 0 { // it is never read
			during(time.Duration(rnd.IntN(5000)) * time.Millisecond)
			cancel()
			return
		}
	}
	me := &struct{ actor string }{actor}
	defer func() {
		s.mu.Lock()
		delete(s.last, me)
		s.mu.Unlock()
	}()
	first, last := true, int64(0)
	for e, err := range events {
		if err != nil {
			s.end(actor, "ended", err)
			return
		}
		switch sum := e.GetSum(); {
		case first && sum < known:
			s.t.Errorf("%s: the first event is %d, but %d was known before", actor, sum, known)
		case !first && sum != last+1:
			s.t.Errorf("%s: %d after %d", actor, sum, last)
		}
		first, last = false, e.GetSum()
		s.note(actor, last)
		s.mu.Lock()
		s.events++
		s.last[me] = last
		s.mu.Unlock()
		if left--; left == 0 {
			return
		}
		if patience > 0 {
			during(patience)
		}
	}
	s.t.Errorf("%s: a stream without an end has ended", actor)
}

// end notes how a stream has ended.
func (s *streams) end(actor, how string, err error) {
	code := connect.CodeOf(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends[fmt.Sprint(how, " ", code)]++
	switch code {
	case connect.CodeUnavailable, connect.CodeCanceled, connect.CodeDeadlineExceeded, connect.CodeResourceExhausted:
	default:
		s.t.Errorf("%s: %s: %v", actor, how, err)
	}
}

// newStreams makes a storm for the actors of a stage.
func newStreams(t *testing.T, on *stage, nodes int, node func(i int) *cajun.Node) *streams {
	on.on("fail", func(context.Context, *cajun.Self) error { return errRehearsed })
	on.on("panic", func(context.Context, *cajun.Self) error { panic(errRehearsed) })
	on.on("slow", func(context.Context, *cajun.Self) error { during(20 * time.Millisecond); return nil })
	on.on("leave", func(_ context.Context, self *cajun.Self) error { self.Passivate(); return nil })
	return &streams{t: t, actors: 5, nodes: nodes, node: node,
		known: make(map[string]int64), last: make(map[*struct{ actor string }]int64), ends: make(map[string]int)}
}

// run writes and reads while disturb runs, and audits what has come of it once calm has.
func (s *streams) run(rnd *rand.Rand, disturb, calm func()) {
	stop, away := make(chan struct{}), make(chan struct{})
	var writers, readers sync.WaitGroup
	for range 10 {
		own := rand.New(rand.NewPCG(rnd.Uint64(), 0))
		writers.Go(func() { s.write(own, stop) })
	}
	for range 15 {
		own := rand.New(rand.NewPCG(rnd.Uint64(), 0))
		readers.Go(func() { s.read(own, away) })
	}
	disturb()
	close(stop)
	writers.Wait()
	calm()
	during(2 * time.Minute) // slow readers get there
	s.audit()
	close(away)
	readers.Wait()
	during(time.Minute)
	for i := range s.nodes {
		n := s.node(i)
		reading, feeding := cajun.Streams(n)
		if feeds := cajun.Feeds(n); feeds != 0 || reading+feeding != 0 {
			s.t.Errorf("node %d: %d feeds, %d readers and %d outlets are left", i, feeds, reading, feeding)
		}
	}
}

// audit compares what the readers who are still there have got with the actors' state.
func (s *streams) audit() {
	final := make(map[string]int64)
	for i := range s.actors {
		actor := fmt.Sprint("s", i)
		r, err := s.pid(s.nodes-1, actor).Get(testContext(s.t), &probev1.GetRequest{})
		if err != nil || r.GetSum() < s.known[actor] {
			s.t.Errorf("%s: %v, %v; somebody was told of %d", actor, r, err, s.known[actor])
		}
		final[actor] = r.GetSum()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for reader, last := range s.last {
		if last != final[reader.actor] {
			s.t.Errorf("a reader of %s has got %d, and the sum is %d", reader.actor, last, final[reader.actor])
		}
	}
	s.t.Logf("%d events, %d readers at the end, %v", s.events, len(s.last), s.ends)
}

// TestStreamStorm: whatever happens around them, readers see every event once and in
// order until they are told that there will be no more, and nothing is left of their
// streams afterwards.
func TestStreamStorm(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		const nodes = 3
		m := newModel(t, nodes)
		s := newStreams(t, m.stage, nodes+1, m.c.Node)
		s.run(rnd, func() {
			for range 6 {
				during(time.Duration(rnd.IntN(2000)) * time.Millisecond)
				m.disturb(rnd, rnd.IntN(nodes), nodes)
			}
		}, func() {})
	})
}

// TestStreamStormOverBadStores is the same over stores that are slow, lose what they are
// told, or do not answer.
func TestStreamStormOverBadStores(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		on := newStage()
		m := newStorm(t, rnd, 3, on.options())
		defer m.close()
		s := newStreams(t, on, 4, func(i int) *cajun.Node {
			if i == 3 {
				i = -1
			}
			return m.node(i)
		})
		m.w.bad.Store(true)
		s.run(rnd, func() {
			for range 10 {
				during(time.Duration(rnd.Int64N(int64(4 * time.Second))))
				m.disturb(rnd, rnd.IntN(len(m.nodes)))
			}
		}, m.calm)
	})
}
