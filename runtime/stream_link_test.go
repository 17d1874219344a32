package cajun_test

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// TestUnevenEventsFlow: a large event that comes after a small one does not wait for
// what its reader has long taken.
func TestUnevenEventsFlow(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "uneven")
		w.onWatch("uneven", func(context.Context) iter.Seq2[*probev1.AddReply, error] {
			return func(yield func(*probev1.AddReply, error) bool) {
				for i := range int64(20) {
					size := 100 << 10
					if i%2 == 1 {
						size = 1000 << 10
					}
					if !yield(&probev1.AddReply{Sum: i + 1, Padding: make([]byte, size)}, nil) {
						return
					}
				}
			}
		})
		s := watch(ctx, t, p, "uneven")
		began := time.Now()
		for i := range int64(20) {
			s.want(i + 1)
		}
		s.wantEnd(0)
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("20 events took %v over a link without delay", took)
		}
	})
}

// TestStreamsAskWhenTheLinkBreaks: what was on the way is not missed until the next
// sign of life is due.
func TestStreamsAskWhenTheLinkBreaks(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		tap := newTap()
		w := newWorld(t, 2, cajun.WithTransport(tap))
		ctx := testContext(t)
		p := w.counterOn(0, 1, "broken")
		s := watch(ctx, t, p, "")
		s.want(0)
		for range 7 { // at each moment between two signs of life
			time.Sleep(7 * time.Second)
			lost := make(chan struct{}, 1)
			tap.watch(func(_ string, f link.Frame) bool {
				if f.Response == nil || f.Response.Part == 0 || f.Response.Probe != 0 || len(lost) > 0 {
					return true
				}
				lost <- struct{}{}
				return false
			})
			before, err := p.Add(ctx, &probev1.AddRequest{Amount: 1})
			if err != nil {
				t.Fatal(err)
			}
			receive(t, "the event", lost)
			tap.breaks(w.Node(1).ID(), w.Node(0).ID())
			began := time.Now()
			s.want(before.GetSum())
			if took := time.Since(began); took > time.Second {
				t.Errorf("the event came %v after the link had broken", took)
			}
		}
	})
}

// TestStreamsThatGoWrongLeaveNothing loses what may get lost, and lets callers leave at
// each moment.
func TestStreamsThatGoWrongLeaveNothing(t *testing.T) {
	lose := func(which func(f link.Frame) bool) func(string, link.Frame) bool {
		return func(_ string, f link.Frame) bool { return !which(f) }
	}
	type setting struct {
		w      *world
		p      probev1cajun.CounterPid
		gate   *turnstile
		cancel func()
	}
	never := func(link.Frame) bool { return false }
	for name, c := range map[string]struct {
		lost   func(f link.Frame) bool
		script string
		// leaves lets the caller, whose stream may be open, go.
		leaves func(t *testing.T, s setting, opening <-chan answer[iter.Seq2[*probev1.AddReply, error]])
	}{
		"in the mailbox": {never, "", func(t *testing.T, s setting, opening <-chan answer[iter.Seq2[*probev1.AddReply, error]]) {
			s.cancel()
			s.gate.release()
		}},
		"in the turn": {never, "hold", func(t *testing.T, s setting, opening <-chan answer[iter.Seq2[*probev1.AddReply, error]]) {
			receive(t, "the turn", s.gate.entered)
			s.cancel()
			synctest.Wait()
			s.gate.release()
		}},
		"unread": {never, "three", func(t *testing.T, s setting, opening <-chan answer[iter.Seq2[*probev1.AddReply, error]]) {
			s.gate.release()
			receive(t, "the stream", opening)
			time.Sleep(time.Minute)
			s.cancel()
		}},
		"cancels lost": {func(f link.Frame) bool { return f.Cancel != nil }, "", func(t *testing.T, s setting, opening <-chan answer[iter.Seq2[*probev1.AddReply, error]]) {
			s.gate.release()
			receive(t, "the stream", opening)
			s.cancel()
		}},
		"nothing from the reader": {func(f link.Frame) bool { return f.Cancel != nil || f.Progress != nil }, "three", func(t *testing.T, s setting, opening <-chan answer[iter.Seq2[*probev1.AddReply, error]]) {
			s.gate.release()
			receive(t, "the stream", opening)
			s.cancel()
		}},
		"nothing from the actor": {func(f link.Frame) bool { return f.Response != nil && f.Response.Part > 1 }, "three", func(t *testing.T, s setting, opening <-chan answer[iter.Seq2[*probev1.AddReply, error]]) {
			s.gate.release()
			r := receive(t, "the stream", opening)
			for _, err := range r.value {
				if connect.CodeOf(err) != connect.CodeUnavailable {
					t.Errorf("got %v", err)
				}
			}
		}},
		"the opening lost": {func(f link.Frame) bool { return f.Response != nil && f.Response.Part > 0 }, "", func(t *testing.T, s setting, opening <-chan answer[iter.Seq2[*probev1.AddReply, error]]) {
			s.gate.release()
			r := <-opening
			if connect.CodeOf(r.err) != connect.CodeDeadlineExceeded {
				t.Errorf("got %v", r.err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble.Test(t, func(t *testing.T) {
				tap := newTap()
				w := newWorld(t, 2, cajun.WithTransport(tap))
				p := w.counterOn(0, 1, "leak")
				var yielded atomic.Int64
				w.onWatch("three", counting(3, &yielded))
				gate := w.hold("hold")
				held := async(func() (*probev1.AddReply, error) {
					return p.Add(testContext(t), &probev1.AddRequest{Amount: 1, Script: "hold"})
				})
				receive(t, "the turn", gate.entered)
				tap.watch(lose(c.lost))
				ctx, cancel := context.WithCancel(t.Context())
				opening := async(func() (iter.Seq2[*probev1.AddReply, error], error) {
					return p.Watch(ctx, &probev1.GetRequest{Script: c.script})
				})
				synctest.Wait()
				if c.script == "hold" {
					gate.open <- struct{}{} // only the first one
				}
				c.leaves(t, setting{w, p, gate, cancel}, opening)
				if c.script == "hold" {
					synctest.Wait()
				}
				time.Sleep(2 * time.Minute)
				for i := range 2 {
					reading, feeding := cajun.Streams(w.Node(i))
					if feeds := cajun.Feeds(w.Node(i)); feeds != 0 || reading+feeding != 0 {
						t.Errorf("node %d: %d feeds, %d readers and %d outlets are left", i, feeds, reading, feeding)
					}
				}
				cancel()
				<-held
			})
		})
	}
}

// TestOddFramesOfAStream come from a peer that is out of its mind, or from another time.
func TestOddFramesOfAStream(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		tap := newTap()
		w := newWorld(t, 2, cajun.WithTransport(tap))
		ctx := testContext(t)
		p := w.counterOn(0, 1, "odd")
		var id atomic.Uint64
		tap.watchSent(func(_ string, f link.Frame) {
			if f.Request != nil && f.Request.Method == "Watch" {
				id.Store(f.Request.ID)
			}
		})
		s := watch(ctx, t, p, "")
		s.want(0)
		reader, actor := w.Node(0).ID(), w.Node(1).ID()
		const most = ^uint64(0)
		for _, i := range []uint64{0, id.Load(), id.Load() + 1, most} {
			for _, n := range []uint64{0, 1, 2, 3, 66, 67, 68, most} {
				for _, probe := range []uint64{0, 1, most} {
					tap.inject(actor, reader, link.Frame{Progress: &link.Progress{ID: i, Received: n, Consumed: n, Probe: probe}})
					if i != id.Load() || n < 2 || n > 67 || probe != 0 {
						tap.inject(reader, actor, link.Frame{Response: &link.Response{ID: i, Part: n, Probe: probe, Last: probe == 0, Payload: []byte{0xff}}})
					}
				}
			}
		}
		synctest.Wait()
		for i := range int64(200) {
			if _, err := p.Add(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				t.Fatal(err)
			}
			s.want(i + 1)
		}
		s.stop()
		time.Sleep(time.Minute)
		for i := range 2 {
			reading, feeding := cajun.Streams(w.Node(i))
			if feeds := cajun.Feeds(w.Node(i)); feeds != 0 || reading+feeding != 0 {
				t.Errorf("node %d: %d feeds, %d readers and %d outlets are left", i, feeds, reading, feeding)
			}
		}
	})
}
