package cajun_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/link/memlink"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// TestQueuedCallsOfADrainingNode: all are sent away for the same reason, and
// each goes its own way: none fails, and none is told what became of another.
func TestQueuedCallsOfADrainingNode(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		door := w.hold("door")
		pid := w.echoOn(0, 0, "a")
		var all sync.WaitGroup
		for i := range 5 {
			all.Go(func() {
				text := ""
				if i == 0 {
					text = "door"
				}
				if _, err := pid.Echo(testContext(t), &probev1.EchoRequest{Text: text}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		all.Go(func() {
			if err := w.Node(0).Drain(testContext(t)); err != nil {
				t.Error(err)
			}
		})
		during(time.Second)
		door.release()
		all.Wait()
	})
}

// TestErrorOfAnotherCall: what an interceptor returns of another call's error
// says nothing about the call that it is around.
func TestErrorOfAnotherCall(t *testing.T) {
	t.Parallel()
	var w *world
	audit := func(next cajun.Invoker) cajun.Invoker {
		return func(ctx context.Context, call cajun.Call, req proto.Message) (proto.Message, error) {
			reply, err := next(ctx, call, req)
			if err == nil && req.(*probev1.EchoRequest).GetText() == "audited" {
				if _, err := probev1cajun.NewEchoPid(w.Node(0), "").Echo(ctx, &probev1.EchoRequest{}); err != nil {
					return nil, err
				}
			}
			return reply, err
		}
	}
	w = newWorld(t, 1, cajun.WithOutbound(audit))
	_, err := probev1cajun.NewEchoPid(w.Node(0), "a").Echo(testContext(t), &probev1.EchoRequest{Text: "audited"})
	wantOutcome(t, err, guarantee.MaybeExecuted, "key")
	if w.runsOf("a") != 1 {
		t.Errorf("the handler ran %d times", w.runsOf("a"))
	}
}

// TestSlowWayToTheCaller: answers wait for as long as the way to their caller
// stands still, and are not lost.
func TestSlowWayToTheCaller(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		network := memlink.NewNetwork()
		w := newWorld(t, 2, cajun.WithTransport(network.Transport()))
		door := w.hold("slow")
		var all sync.WaitGroup
		for i := range 10 {
			pid := w.echoOn(0, 1, fmt.Sprint("a", i))
			all.Go(func() {
				if _, err := pid.Echo(testContext(t), &probev1.EchoRequest{Text: "slow", Payload: make([]byte, 1<<20)}); err != nil {
					t.Errorf("call %d: %v", i, err)
				}
			})
		}
		synctest.Wait()
		network.Pause(w.Node(0).ID())
		door.release()
		during(8 * time.Second)
		network.Resume(w.Node(0).ID())
		began := time.Now()
		all.Wait()
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("the answers took %v", d)
		}
	})
}

// TestManyRefusals: more calls in a burst than an actor's mailbox takes, by far,
// are all answered, although the way back is blocked for a moment.
func TestManyRefusals(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		network := memlink.NewNetwork()
		w := newWorld(t, 2, cajun.WithTransport(network.Transport()))
		pid := w.echoOn(0, 1, "a")
		door := w.hold("door")
		var all sync.WaitGroup
		all.Go(func() { _, _ = pid.Echo(testContext(t), &probev1.EchoRequest{Text: "door"}) })
		synctest.Wait()
		began := time.Now()
		network.Pause(w.Node(1).ID())
		var refused sync.WaitGroup
		for range 8000 {
			refused.Go(func() {
				if _, err := pid.Echo(testContext(t), &probev1.EchoRequest{}); time.Since(began) > time.Minute {
					t.Errorf("%v after %v", err, time.Since(began))
				}
			})
		}
		synctest.Wait()
		network.Pause(w.Node(0).ID())
		network.Resume(w.Node(1).ID())
		during(time.Second)
		network.Resume(w.Node(0).ID())
		door.release()
		all.Wait()
		refused.Wait()
	})
}

// departing is a link that holds a request until its receiver has left the
// cluster, takes it then, and loses it with the stream.
type departing struct {
	link.Transport
	held, open chan struct{}
}

func (d *departing) Open(ctx context.Context, cfg link.Config) (link.Endpoint, error) {
	e, err := d.Transport.Open(ctx, cfg)
	return departingEndpoint{e, d, cfg}, err
}

type departingEndpoint struct {
	link.Endpoint
	link *departing
	cfg  link.Config
}

func (e departingEndpoint) Send(ctx context.Context, to link.Peer, f link.Frame) error {
	if f.Request == nil || f.Request.Method != "EchoShared" {
		return e.Endpoint.Send(ctx, to, f)
	}
	e.link.held <- struct{}{}
	<-e.link.open
	f.Settle()
	time.AfterFunc(100*time.Millisecond, func() { e.cfg.Receiver.PeerDown(to.Session, errors.New("broken")) })
	return nil
}

// TestReceiverLeftMeanwhile: a request that was on its way into the link when
// its receiver left is given up like those that were further.
func TestReceiverLeftMeanwhile(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		d := &departing{Transport: memlink.NewNetwork().Transport(), held: make(chan struct{}), open: make(chan struct{})}
		w := newWorld(t, 2, cajun.WithTransport(d))
		pid := w.echoOn(0, 1, "a")
		began := time.Now()
		call := async(func() (*probev1.EchoReply, error) { return pid.EchoShared(testContext(t), &probev1.EchoRequest{}) })
		receive(t, "the request", d.held)
		w.Node(1).Close()
		during(5 * time.Second)
		close(d.open)
		wantOutcome(t, (<-call).err, guarantee.MaybeExecuted)
		if d := time.Since(began); d > time.Minute {
			t.Errorf("the caller waited %v", d)
		}
	})
}
