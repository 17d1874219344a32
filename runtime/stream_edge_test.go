package cajun_test

import (
	"context"
	"io"
	"iter"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// TestOpeningDoesNotHoldTheActorUp: the node that has asked for the stream takes
// nothing at the moment.
func TestOpeningDoesNotHoldTheActorUp(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		ctx := testContext(t)
		p := w.counterOn(0, 1, "stuck")
		gate := w.hold("hold")
		cancelled, cancel := context.WithCancel(ctx)
		defer cancel()
		opening := async(func() (iter.Seq2[*probev1.AddReply, error], error) {
			return p.Watch(cancelled, &probev1.GetRequest{Script: "hold"})
		})
		receive(t, "the turn", gate.entered)
		w.Partition(0, 1)
		time.Sleep(2 * time.Second) // the link finds out
		gate.release()
		synctest.Wait()
		began := time.Now()
		if _, err := probev1cajun.NewCounterPid(w.Node(1), key(p)).Get(ctx, &probev1.GetRequest{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("the actor was held up for %v", took)
		}
		w.Heal()
		cancel()
		<-opening
	})
}

// TestReplyInPlaceOfAStream comes from a node whose generation of the service has one
// reply, and whose framework knows nothing of streams.
func TestReplyInPlaceOfAStream(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		tap := newTap()
		w := newWorld(t, 2, cajun.WithTransport(tap))
		ctx := testContext(t)
		p := w.counterOn(0, 1, "older")
		owner := w.Node(1).ID()
		tap.watch(func(from string, f link.Frame) bool {
			if f.Request == nil || f.Request.Method != "Watch" {
				return true
			}
			f.Settle()
			id := f.Request.ID
			go tap.inject(from, owner, link.Frame{Response: &link.Response{ID: id}})
			return false
		})
		_, err := p.Watch(ctx, &probev1.GetRequest{})
		wantOutcome(t, err, guarantee.MaybeExecuted, "one reply", "version")
	})
}

// TestInterceptorsInPlaceOfAStream answer without opening one.
func TestInterceptorsInPlaceOfAStream(t *testing.T) {
	t.Parallel()
	on := func(does func(ctx context.Context, c cajun.Call, req proto.Message, next cajun.Invoker) (proto.Message, error)) cajun.Interceptor {
		return func(next cajun.Invoker) cajun.Invoker {
			return func(ctx context.Context, c cajun.Call, req proto.Message) (proto.Message, error) {
				if c.Method != "Watch" {
					return next(ctx, c, req)
				}
				return does(ctx, c, req, next)
			}
		}
	}
	absent := on(func(context.Context, cajun.Call, proto.Message, cajun.Invoker) (proto.Message, error) {
		return new(probev1.AddReply), nil
	})
	swallow := on(func(ctx context.Context, c cajun.Call, req proto.Message, next cajun.Invoker) (proto.Message, error) {
		_, _ = next(ctx, c, req)
		return nil, nil
	})
	for name, opts := range map[string][]cajun.Option{
		"outbound absent":    {cajun.WithOutbound(absent)},
		"outbound swallowed": {cajun.WithOutbound(swallow)},
		"inbound absent":     {cajun.WithInbound(absent)},
		"inbound swallowed":  {cajun.WithInbound(swallow)},
	} {
		t.Run(name, func(t *testing.T) {
			fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
				ctx := testContext(t)
				p := w.counterOn(0, owner, "answered")
				w.on("fail", func(context.Context, *cajun.Self) error { return connect.NewError(connect.CodeAborted, "no") })
				_, err := p.Watch(ctx, &probev1.GetRequest{Script: "fail"})
				if connect.CodeOf(err) != connect.CodeInternal {
					t.Fatalf("got %v", err)
				}
				wantOutcome(t, err, cajun.OutcomeOf(err), "interceptor", "stream")
			}, opts...)
		})
	}
}

// TestInterceptorThatBoundsTurns ends its own context with the turn.
func TestInterceptorThatBoundsTurns(t *testing.T) {
	bound := cajun.WithInbound(func(next cajun.Invoker) cajun.Invoker {
		return func(ctx context.Context, c cajun.Call, req proto.Message) (proto.Message, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return next(ctx, c, req)
		}
	})
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "bounded")
		s := watch(ctx, t, p, "")
		s.want(0)
		time.Sleep(time.Minute)
		if _, err := p.Add(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
			t.Fatal(err)
		}
		s.want(1)
		w.on("wait", func(ctx context.Context, _ *cajun.Self) error {
			<-ctx.Done()
			return ctx.Err()
		})
		began := time.Now()
		_, err := p.Watch(ctx, &probev1.GetRequest{Script: "wait"})
		if took := time.Since(began); err == nil || took > 2*time.Second {
			t.Errorf("the interceptor's time has bound nothing: %v after %v", err, took)
		}
	}, bound)
}

// TestDrainLetsStreamsOpen: a turn that opens one is a turn like any other, and ends
// in its own time.
func TestDrainLetsStreamsOpen(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		if owner == 0 {
			t.Skip("the caller's own node is not drained")
		}
		ctx := testContext(t)
		p := w.counterOn(0, owner, "opening")
		entered := make(chan struct{}, 1)
		w.on("brief", func(ctx context.Context, _ *cajun.Self) error {
			entered <- struct{}{}
			select {
			case <-time.After(50 * time.Millisecond):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		opening := async(func() (iter.Seq2[*probev1.AddReply, error], error) {
			return p.Watch(ctx, &probev1.GetRequest{Script: "brief"})
		})
		receive(t, "the turn", entered)
		if err := w.Node(owner).Drain(ctx); err != nil {
			t.Fatal(err)
		}
		r := receive(t, "the stream", opening)
		if r.err != nil {
			t.Fatal(r.err)
		}
		last := error(nil)
		for _, err := range r.value {
			last = err
		}
		wantOutcome(t, last, guarantee.MaybeExecuted, "open it again")
	})
}

// TestClientThatGoesOnReceiving asks a stream for more after its end.
func TestClientThatGoesOnReceiving(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "ended")
		var yielded atomic.Int64
		w.onWatch("one", counting(1, &yielded))
		w.onWatch("error", func(context.Context) iter.Seq2[*probev1.AddReply, error] {
			return func(yield func(*probev1.AddReply, error) bool) {
				yield(nil, connect.NewError(connect.CodeOutOfRange, "enough"))
			}
		})
		open := func(script string) connect.ClientStream {
			method := probev1.File_probe_v1_probe_proto.Services().ByName("Counter").Methods().ByName("Watch")
			client := connect.NewClient(cajun.NewTransport(w.Node(0), key(p)))
			stream, err := client.CallServerStream(ctx, connect.Spec{Procedure: "/probe.v1.Counter/Watch", Schema: method, StreamType: connect.StreamTypeServer}, &probev1.GetRequest{Script: script})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { stream.Close() })
			return stream
		}
		s := open("one")
		if err := s.Receive(new(probev1.AddReply)); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := s.Receive(new(probev1.AddReply)); err != io.EOF {
				t.Fatalf("got %v", err)
			}
		}
		s = open("error")
		for range 3 {
			if err := s.Receive(new(probev1.AddReply)); connect.CodeOf(err) != connect.CodeOutOfRange {
				t.Fatalf("got %v", err)
			}
		}
	})
}

// follower is an actor of a kind that no proto file declares, whose stream has effects
// on others.
type follower struct {
	self *cajun.Self
	does func(ctx context.Context, self *cajun.Self) error
}

func (f *follower) follow(ctx context.Context, _ *probev1.GetRequest) (iter.Seq2[*probev1.AddReply, error], error) {
	if err := f.does(ctx, f.self); err != nil {
		return nil, err
	}
	return func(func(*probev1.AddReply, error) bool) { <-ctx.Done() }, nil
}

// TestLaterRunsOfATurnThatOpens leave no stream behind, as nobody is there to read it.
func TestLaterRunsOfATurnThatOpens(t *testing.T) {
	kind := &cajun.Kind{Name: "probe.v1.Follower"}
	method := cajun.NewStream[*probev1.GetRequest, *probev1.AddReply](kind, "Follow", cajun.MethodOptions{})
	ends := map[string]func() error{
		"goexit": func() error { runtime.Goexit(); return nil },
		"panic":  func() error { panic("follow") },
		"opened": func() error { return nil },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble.Test(t, func(t *testing.T) {
				ctx := testContext(t)
				var runs atomic.Int32
				w := newWorld(t, 1, cajun.Host(kind, func(self *cajun.Self) (*follower, error) {
					return &follower{self, func(ctx context.Context, self *cajun.Self) error {
						if _, err := probev1cajun.NewCounterPid(self, "called").AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
							return err
						}
						switch runs.Add(1) {
						case 1:
							runtime.Goexit()
						case 2, 3:
							return end()
						}
						return nil
					}}, nil
				}, cajun.HandleStream(method, (*follower).follow)))
				if _, err := method.Open(ctx, cajun.NewPid(w.Node(0), kind, "a"), &probev1.GetRequest{}); err == nil {
					t.Fatal("the stream was opened")
				}
				time.Sleep(time.Minute)
				if runs.Load() < 2 {
					t.Errorf("%d runs", runs.Load())
				}
				if n := cajun.Feeds(w.Node(0)); n != 0 {
					t.Errorf("%d streams are left", n)
				}
			})
		})
	}
}

// TestScheduleOpensNoStream: it looks which method it is given, and calls none.
func TestScheduleOpensNoStream(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "scheduled")
		err := cajun.Schedule(ctx, func(ctx context.Context, req *probev1.GetRequest) error {
			_, err := p.Watch(ctx, req)
			return err
		}, &probev1.GetRequest{}, cajun.Timer{Name: "t", After: time.Hour})
		wantRefusal(t, err, connect.CodeInvalidArgument, "one-way")
		if runs := w.runsOf(key(p)); runs != 0 {
			t.Errorf("the method was called %d times", runs)
		}
	})
}

// TestPublishNil refuses what no subscriber could get.
func TestPublishNil(t *testing.T) {
	var topic cajun.Topic[*probev1.AddReply]
	ctx, cancel := context.WithCancel(t.Context())
	next, stop := iter.Pull2(topic.Subscribe(ctx))
	defer stop()
	wantRefusal(t, topic.Publish(ctx, nil), connect.CodeInvalidArgument, "nil")
	cancel()
	if e, err, _ := next(); err != context.Canceled {
		t.Errorf("got %v, %v", e, err)
	}
}

// TestEventsThatWaitForTheirContext after the stream has ended for another reason.
func TestEventsThatWaitForTheirContext(t *testing.T) {
	for name, c := range map[string]struct {
		event *probev1.AddReply
		err   error
		code  connect.Code
	}{
		"huge":  {event: &probev1.AddReply{Padding: make([]byte, link.DefaultMaxMessage+1)}, code: connect.CodeResourceExhausted},
		"nil":   {code: connect.CodeInternal},
		"error": {err: connect.NewError(connect.CodeOutOfRange, "enough"), code: connect.CodeOutOfRange},
	} {
		t.Run(name, func(t *testing.T) {
			fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
				ctx := testContext(t)
				p := w.counterOn(0, owner, "lingering")
				w.onWatch("lingering", func(ctx context.Context) iter.Seq2[*probev1.AddReply, error] {
					return func(yield func(*probev1.AddReply, error) bool) {
						yield(c.event, c.err)
						<-ctx.Done()
					}
				})
				began := time.Now()
				watch(ctx, t, p, "lingering").wantEnd(c.code)
				if took := time.Since(began); took > time.Second {
					t.Errorf("the reader was told after %v", took)
				}
			})
		})
	}
}

// TestEventsThatIgnoreTheirContext do not keep the end from their reader.
func TestEventsThatIgnoreTheirContext(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "stubborn")
		release := make(chan struct{})
		w.onWatch("stubborn", func(context.Context) iter.Seq2[*probev1.AddReply, error] {
			return func(yield func(*probev1.AddReply, error) bool) {
				for i := int64(1); yield(&probev1.AddReply{Sum: i}, nil); i++ {
					<-release
				}
			}
		})
		w.on("leave", func(_ context.Context, self *cajun.Self) error {
			self.Passivate()
			return nil
		})
		s, late := watch(ctx, t, p, "stubborn"), watch(ctx, t, p, "stubborn")
		s.want(1)
		synctest.Wait()
		if _, err := p.Get(ctx, &probev1.GetRequest{Script: "leave"}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		s.wantEnd(connect.CodeUnavailable, "left", "open it again")
		if took := time.Since(began); took > time.Second {
			t.Errorf("the reader was told after %v", took)
		}
		close(release)
		synctest.Wait()
		late.want(1)
		late.wantEnd(connect.CodeUnavailable, "left")
		time.Sleep(time.Minute)
		for i := range 3 {
			reading, feeding := cajun.Streams(w.Node(i))
			if feeds := cajun.Feeds(w.Node(i)); feeds != 0 || reading+feeding != 0 {
				t.Errorf("node %d: %d feeds, %d readers and %d outlets are left", i, feeds, reading, feeding)
			}
		}
	})
}

// TestClosingAStreamThatOpens: who closes a stream need not wait until the actor gets to
// open it.
func TestClosingAStreamThatOpens(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		p := w.counterOn(0, owner, "opening")
		var ended atomic.Bool
		entered := make(chan struct{})
		w.onWatch("wait", func(ctx context.Context) iter.Seq2[*probev1.AddReply, error] {
			close(entered)
			<-ctx.Done()
			ended.Store(true)
			return nil
		})
		spec := specOf(t, "Counter", "Watch")
		spec.StreamType = connect.StreamTypeServer
		s, err := cajun.NewTransport(w.Node(0), key(p)).NewClientStream(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&probev1.GetRequest{Script: "wait"}); err != nil {
			t.Fatal(err)
		}
		go func() { _ = s.CloseSend() }()
		<-entered
		began := time.Now()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("closing took %v", took)
		}
		time.Sleep(time.Second) // the cancel is on its way
		if !ended.Load() {
			t.Error("the handler was not told")
		}
		if err := s.Receive(new(probev1.AddReply)); connect.CodeOf(err) != connect.CodeCanceled {
			t.Errorf("got %v", err)
		}
	})
}
