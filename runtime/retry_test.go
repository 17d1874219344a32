package cajun_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/cajuntest"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// again is an outbound interceptor that calls once more after any failure.
func again(next cajun.Invoker) cajun.Invoker {
	return func(ctx context.Context, call cajun.Call, req proto.Message) (proto.Message, error) {
		reply, err := next(ctx, call, req)
		if err != nil {
			return next(ctx, call, req)
		}
		return reply, nil
	}
}

// TestInterceptorCallsAgain: AT_MOST_ONCE calls that an interceptor repeats are
// calls of their own, not to be taken for others that wait at the actor.
func TestInterceptorCallsAgain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, cajun.WithOutbound(again))
		for owner, site := range []string{"local", "remote"} {
			pid := w.echoOn(0, owner, site)
			g := w.hold(site)
			var panicked atomic.Bool
			w.on("X", func(context.Context, *cajun.Self) error {
				if panicked.CompareAndSwap(false, true) {
					g.entered <- struct{}{}
					<-g.open
					panic("once")
				}
				return nil
			})
			x := async(func() (*probev1.EchoReply, error) { return pid.Echo(t.Context(), &probev1.EchoRequest{Text: "X"}) })
			<-g.entered
			y := async(func() (*probev1.EchoReply, error) { return pid.Echo(t.Context(), &probev1.EchoRequest{Text: "Y"}) })
			synctest.Wait()
			g.release()
			for want, c := range map[string]<-chan answer[*probev1.EchoReply]{"X": x, "Y": y} {
				if r := receive(t, "the answer to "+want, c); r.err != nil || r.value.GetText() != want {
					t.Errorf("%s: %s got %q, %v", site, want, r.value.GetText(), r.err)
				}
			}
		}
	})
}

// TestOutcomeOverRepeats: the outcome covers the attempts that an interceptor
// made too.
func TestOutcomeOverRepeats(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		// Each attempt has a second.
		impatient := func(next cajun.Invoker) cajun.Invoker {
			return func(ctx context.Context, call cajun.Call, req proto.Message) (proto.Message, error) {
				short, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				return next(short, call, req)
			}
		}
		w := newWorld(t, 2, cajun.WithOutbound(again, impatient))
		pid := w.counterOn(0, 0, "a")
		g := w.hold("hold")
		_, err := pid.Add(t.Context(), &probev1.AddRequest{Amount: 1, Script: "hold"})
		wantOutcome(t, err, guarantee.MaybeExecuted, "deadline")
		g.release()
	})
}

// TestRefusalIsNoAnswer: what an inbound interceptor refuses is not remembered
// as the actor's answer.
func TestRefusalIsNoAnswer(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var closed atomic.Bool
		door := func(next cajun.Invoker) cajun.Invoker {
			return func(ctx context.Context, call cajun.Call, req proto.Message) (proto.Message, error) {
				if closed.Load() {
					return nil, connect.NewError(connect.CodePermissionDenied, "not now")
				}
				return next(ctx, call, req)
			}
		}
		w := newWorld(t, 2, cajun.WithInbound(door))
		for owner, site := range []string{"local", "remote"} {
			pid := w.counterOn(0, owner, site)
			add := func() (*probev1.AddReply, error) {
				return pid.Add(cajun.Idempotent(t.Context(), "k"), &probev1.AddRequest{Amount: 1})
			}
			closed.Store(true)
			_, err := add()
			wantOutcome(t, err, guarantee.NotExecuted, "not now")
			closed.Store(false)
			if r, err := add(); err != nil || r.GetSum() != 1 {
				t.Errorf("%s: the repeat got %v, %v", site, r, err)
			}
		}
	})
}

// TestOneWayToSelfWhileDraining: a turn may send to actors of its own shard
// while the shard waits for that very turn.
func TestOneWayToSelfWhileDraining(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		pid := w.echoOn(1, 0, "a")
		g := w.hold("hold")
		w.on("note", func(ctx context.Context, self *cajun.Self) error {
			g.entered <- struct{}{}
			<-g.open
			return probev1cajun.NewEchoPid(self, self.Key()).Note(ctx, &probev1.EchoRequest{})
		})
		call := async(func() (*probev1.EchoReply, error) { return pid.Echo(t.Context(), &probev1.EchoRequest{Text: "note"}) })
		<-g.entered
		began := time.Now()
		drained := async(func() (struct{}, error) { return struct{}{}, w.Node(0).Drain(testContext(t)) })
		time.Sleep(time.Second)
		g.release()
		if r := receive(t, "the reply", call); r.err != nil {
			t.Errorf("the call got %v", r.err)
		}
		if r := receive(t, "the drain", drained); r.err != nil || time.Since(began) > 4*time.Second {
			t.Errorf("the drain took %v: %v", time.Since(began), r.err)
		}
	})
}

// TestAliasWithOtherMessages: a caller that knows an older version of a service
// is understood here as it is over the link.
func TestAliasWithOtherMessages(t *testing.T) {
	now := &cajun.Kind{Name: "alias.v1.Echo", Aliases: []string{"alias.v0.Echo"}}
	then := &cajun.Kind{Name: "alias.v0.Echo"}
	echo := cajun.NewMethod[*probev1.EchoRequest, *probev1.EchoReply](now, "Echo", cajun.MethodOptions{})
	old := cajun.NewMethod[*probev1.KeyRequest, *probev1.KeyRequest](then, "Echo", cajun.MethodOptions{})
	note := cajun.NewOneWay[*probev1.EchoRequest](now, "Note", cajun.MethodOptions{})
	oldNote := cajun.NewMethod[*probev1.KeyRequest, *probev1.KeyRequest](then, "Note", cajun.MethodOptions{})
	host := cajun.Host(now, func(*cajun.Self) (*struct{}, error) { return new(struct{}), nil },
		cajun.Handle(echo, func(_ *struct{}, _ context.Context, r *probev1.EchoRequest) (*probev1.EchoReply, error) {
			if r.GetText() == "no" {
				return nil, errors.New("no")
			}
			return &probev1.EchoReply{Text: strings.ToUpper(r.GetText())}, nil
		}),
		cajun.HandleOneWay(note, func(*struct{}, context.Context, *probev1.EchoRequest) error { return nil }))
	bubble.Test(t, func(t *testing.T) {
		c := cajuntest.Start(t, 1, host)
		caller := c.Add()
		for _, from := range []int{0, caller} {
			pid := cajun.NewPid(c.Node(from), then, "a")
			if r, err := old.Call(testContext(t), pid, &probev1.KeyRequest{Actor: "hi"}); err != nil || r.GetActor() != "HI" {
				t.Errorf("from node %d: %v, %v", from, r, err)
			}
			_, err := old.Call(testContext(t), pid, &probev1.KeyRequest{Actor: "no"})
			wantOutcome(t, err, guarantee.Answered, "no")
			_, err = oldNote.Call(testContext(t), pid, &probev1.KeyRequest{})
			wantOutcome(t, err, guarantee.NotExecuted, "one-way")
		}
	})
}

// TestCallTimeoutIsNotDoubled: what a call has waited for before it reached its
// actor counts.
func TestCallTimeoutIsNotDoubled(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, cajun.WithCallTimeout(2*time.Second))
		pid := w.echoOn(1, 0, "a")
		g := w.hold("hold")
		busy := async(func() (*probev1.EchoReply, error) {
			return pid.Echo(testContext(t), &probev1.EchoRequest{Text: "hold"})
		})
		<-g.entered
		drained := async(func() (struct{}, error) { return struct{}{}, w.Node(0).Drain(testContext(t)) })
		time.Sleep(time.Second)
		stuck := w.hold("stuck")
		began := time.Now()
		late := async(func() (*probev1.EchoReply, error) {
			return pid.Echo(context.Background(), &probev1.EchoRequest{Text: "stuck"})
		})
		time.Sleep(time.Second)
		g.release() // the actor moves, and the call reaches it
		r := receive(t, "the late call", late)
		if took := time.Since(began); r.err == nil || took > 2100*time.Millisecond {
			t.Errorf("the call took %v: %v", took, r.err)
		}
		stuck.release()
		receive(t, "the held call", busy)
		receive(t, "the drain", drained)
	})
}
