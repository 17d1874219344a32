package cajun_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/cajuntest"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/link/memlink"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// TestLevels walks through context, method, service and node.
func TestLevels(t *testing.T) {
	t.Parallel()
	const atMost, atLeast, exactly = guarantee.AtMostOnce, guarantee.AtLeastOnce, guarantee.ExactlyOnce
	for _, c := range []struct {
		asked, method, service, node, want guarantee.Level
	}{
		{want: atMost},
		{node: atLeast, want: atLeast},
		{service: atLeast, node: exactly, want: atLeast},
		{method: atMost, service: atLeast, node: exactly, want: atMost},
		{method: exactly, service: atMost, want: exactly},
		{asked: atLeast, want: atLeast},
		{asked: exactly, method: atMost, service: atMost, node: atMost, want: exactly},
		{asked: atMost, method: exactly, want: exactly},
		{asked: atMost, service: atLeast, want: atLeast},
		{asked: atMost, node: atLeast, want: atLeast},
	} {
		name := strings.NewReplacer(" ", "", "Unspecified", "-").Replace(fmt.Sprint(c.asked, ",", c.method, ",", c.service, ",", c.node))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind := &cajun.Kind{Name: "probe.v1.Level", Delivery: c.service, Shards: 1}
			m := cajun.NewMethod[*probev1.EchoRequest, *probev1.EchoReply](kind, "Echo", cajun.MethodOptions{Delivery: c.method})
			got := make(chan guarantee.Level, 1)
			nodes := cajuntest.Start(t, 1, cajun.WithDelivery(c.node), cajun.Host(kind, func(*cajun.Self) (*struct{}, error) { return new(struct{}), nil },
				cajun.Handle(m, func(_ *struct{}, ctx context.Context, _ *probev1.EchoRequest) (*probev1.EchoReply, error) {
					call, _ := cajun.CallFrom(ctx)
					got <- call.Level
					return &probev1.EchoReply{}, nil
				})))
			ctx := testContext(t)
			if c.asked != guarantee.Unspecified {
				ctx = cajun.Deliver(ctx, c.asked)
			}
			if _, err := m.Call(ctx, cajun.NewPid(nodes.Node(0), kind, "a"), &probev1.EchoRequest{}); err != nil {
				t.Fatal(err)
			}
			if l := <-got; l != c.want {
				t.Errorf("level %v, want %v", l, c.want)
			}
		})
	}
}

func TestCopies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	ctx := testContext(t)
	pid := probev1cajun.NewEchoPid(w.Node(0), "a")
	for name, call := range map[string]func(context.Context, *probev1.EchoRequest) (*probev1.EchoReply, error){"copied": pid.Echo, "shared": pid.EchoShared} {
		t.Run(name, func(t *testing.T) {
			req := &probev1.EchoRequest{Text: "look", Payload: []byte("payload")}
			reply, err := call(ctx, req)
			if err != nil {
				t.Fatal(err)
			}
			// The actor answers with the very bytes that it was given.
			shared := &reply.GetPayload()[0] == &req.GetPayload()[0]
			if want := name == "shared"; shared != want {
				t.Errorf("memory is shared: %v, want %v", shared, want)
			}
		})
	}
}

func TestReplyIsNotTheActorsMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	ctx := testContext(t)
	pid := probev1cajun.NewCounterPid(w.Node(0), "a")
	r, err := pid.Add(ctx, &probev1.AddRequest{Labels: map[string]int64{"x": 1}})
	if err != nil {
		t.Fatal(err)
	}
	r.ByLabel["x"] = 100 // the handler returned its own map
	r, err = pid.Add(ctx, &probev1.AddRequest{Labels: map[string]int64{"x": 1}})
	if err != nil || r.GetByLabel()["x"] != 2 {
		t.Errorf("%v, %v, want 2", r, err)
	}
}

func TestKeyFields(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	ctx := testContext(t)
	w.sites(t, func(t *testing.T, owner int) {
		pid := w.echoOn(0, owner, t.Name())
		key := ""
		if _, k, _ := strings.Cut(pid.String(), "/"); k != "" {
			key = k
		}
		empty := &probev1.KeyRequest{}
		r, err := pid.EchoKey(ctx, empty)
		if err != nil || r.GetText() != key {
			t.Errorf("empty: %v, %v, want %q", r, err, key)
		}
		if empty.GetActor() != "" {
			t.Error("the caller's request was changed")
		}
		if r, err = pid.EchoKey(ctx, &probev1.KeyRequest{Actor: key}); err != nil || r.GetText() != key {
			t.Errorf("equal: %v, %v", r, err)
		}
		_, err = pid.EchoKey(ctx, &probev1.KeyRequest{Actor: "other"})
		wantRefusal(t, err, connect.CodeInvalidArgument, `"other"`, key, "leave the field empty")
		_, err = pid.EchoNumber(ctx, &probev1.NumberRequest{})
		wantRefusal(t, err, connect.CodeInvalidArgument, "does not fit")
	})
	for _, key := range []string{"0", "7", "42"} {
		number := probev1cajun.NewEchoPid(w.Node(0), key)
		if r, err := number.EchoNumber(ctx, &probev1.NumberRequest{}); err != nil || r.GetText() != key {
			t.Errorf("number %s: %v, %v", key, r, err)
		}
	}
	seven := probev1cajun.NewEchoPid(w.Node(0), "7")
	_, err := seven.EchoNumber(ctx, &probev1.NumberRequest{Actor: 8})
	wantRefusal(t, err, connect.CodeInvalidArgument, `"8"`, `"7"`)
	_, err = probev1cajun.NewEchoPid(w.Node(0), "-1").EchoNumber(ctx, &probev1.NumberRequest{})
	wantRefusal(t, err, connect.CodeInvalidArgument, "does not fit")
	_, err = probev1cajun.NewEchoPid(w.Node(0), "07").EchoNumber(ctx, &probev1.NumberRequest{})
	wantRefusal(t, err, connect.CodeInvalidArgument, "does not fit")
	red := probev1cajun.NewEchoPid(w.Node(0), "1")
	if r, err := red.EchoColor(ctx, &probev1.ColorRequest{}); err != nil || r.GetText() != "COLOR_RED" {
		t.Errorf("red: %v, %v", r, err)
	}
	_, err = red.EchoColor(ctx, &probev1.ColorRequest{Actor: probev1.Color_COLOR_BLUE})
	wantRefusal(t, err, connect.CodeInvalidArgument, `"2"`, `"1"`)
}

type callerKey struct{}

// TestWhatAHandlerSees checks that nothing of the caller's context but its
// headers, deadline and end gets through.
func TestWhatAHandlerSees(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	var nested probev1cajun.EchoPid
	w.on("look", func(ctx context.Context, self *cajun.Self) error {
		if ctx.Value(callerKey{}) != nil {
			return errors.New("the caller's values came through")
		}
		call, ok := cajun.CallFrom(ctx)
		if !ok || call.Kind != probev1cajun.EchoKind || call.Key != self.Key() || call.Method != "EchoOnce" || call.ID == "" || call.Repeat ||
			call.Level != guarantee.ExactlyOnce || call.Peer != w.Node(0).ID() || call.Header("a") != "1" || call.Header("traceparent") != "00-1-2-01" {
			return fmt.Errorf("call %+v", call)
		}
		if n := len(headers(call)); n != 2 {
			return fmt.Errorf("%d headers", n)
		}
		if _, ok := ctx.Deadline(); !ok {
			return errors.New("no deadline")
		}
		_, err := nested.Echo(cajun.SetHeader(ctx, "b", "2"), &probev1.EchoRequest{Text: "nested"})
		return err
	})
	w.on("nested", func(ctx context.Context, self *cajun.Self) error {
		call, _ := cajun.CallFrom(ctx)
		if got := headers(call); call.Level != guarantee.AtMostOnce || call.ID == "" || !slices.Equal(got, []string{"b=2", "traceparent=00-1-2-01"}) {
			return fmt.Errorf("nested call %+v with headers %v", call, got)
		}
		return nil
	})
	w.sites(t, func(t *testing.T, owner int) {
		pid := w.echoOn(0, owner, t.Name())
		nested = w.echoOn(owner, 0, t.Name()+"-nested")
		ctx := context.WithValue(testContext(t), callerKey{}, "secret")
		ctx = cajun.SetHeader(cajun.SetHeader(ctx, "a", "1"), "traceparent", "00-1-2-01")
		if _, err := pid.EchoOnce(ctx, &probev1.EchoRequest{Text: "look"}); err != nil {
			t.Error(err)
		}
	})
	if _, ok := cajun.CallFrom(t.Context()); ok {
		t.Error("CallFrom finds a call outside a handler")
	}
}

func headers(c cajun.Call) (list []string) {
	for k, v := range c.Headers {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return list
}

// TestInterceptors checks their order and what they may do.
func TestInterceptors(t *testing.T) {
	t.Parallel()
	var mark func(string) cajun.Interceptor
	s := newStage()
	mark = func(name string) cajun.Interceptor {
		return func(next cajun.Invoker) cajun.Invoker {
			return func(ctx context.Context, call cajun.Call, req proto.Message) (proto.Message, error) {
				echo, ok := req.(*probev1.EchoRequest)
				if !ok || echo.GetText() == "" {
					return next(ctx, call, req)
				}
				s.note(name + ">")
				defer s.note("<" + name)
				switch action := strings.TrimPrefix(echo.GetText(), name+" "); action {
				case "change":
					return next(cajun.SetHeader(ctx, "added", name), call, &probev1.EchoRequest{Text: "changed"})
				case "answer":
					return &probev1.EchoReply{Text: "short cut"}, nil
				case "refuse":
					return nil, connect.NewError(connect.CodePermissionDenied, "not you")
				case "refuse late":
					_, _ = next(ctx, call, req)
					return nil, errors.New("spoilt")
				case "nil":
					return nil, nil
				case "other reply":
					return &probev1.AddReply{}, nil
				case "other request":
					return next(ctx, call, &probev1.AddRequest{})
				case "no deadline":
					return next(context.Background(), call, req)
				}
				return next(ctx, call, req)
			}
		}
	}
	w := &world{t: t, stage: s, Cluster: cajuntest.Start(t, 2, s.options(),
		cajun.WithOutbound(mark("out1"), mark("out2")), cajun.WithInbound(mark("in1"), mark("in2")))}
	ctx := testContext(t)
	w.sites(t, func(t *testing.T, owner int) {
		pid := w.echoOn(0, owner, t.Name())
		call := func(text string) (*probev1.EchoReply, error) {
			s.mu.Lock()
			s.hooks = nil
			s.mu.Unlock()
			return pid.Echo(ctx, &probev1.EchoRequest{Text: text})
		}
		if _, err := call("plain"); err != nil || s.noted() != "out1> out2> in1> in2> <in2 <in1 <out2 <out1" {
			t.Errorf("plain: %v, order %s", err, s.noted())
		}
		for _, by := range []string{"out1", "out2", "in1", "in2"} {
			if r, err := call(by + " change"); err != nil || r.GetText() != "changed" {
				t.Errorf("%s changes the request: %v, %v", by, r, err)
			}
			if r, err := call(by + " answer"); err != nil || r.GetText() != "short cut" || strings.Contains(s.noted(), "in2> in2>") {
				t.Errorf("%s answers: %v, %v", by, r, err)
			}
			inbound := strings.HasPrefix(by, "in")
			_, err := call(by + " refuse")
			if cajun.OutcomeOf(err) != guarantee.NotExecuted || connect.CodeOf(err) != connect.CodePermissionDenied {
				t.Errorf("%s refuses: %v (%v)", by, err, cajun.OutcomeOf(err))
			}
			_, err = call(by + " refuse late")
			if want := map[bool]guarantee.Outcome{true: guarantee.Answered, false: guarantee.MaybeExecuted}[inbound]; cajun.OutcomeOf(err) != want || err == nil {
				t.Errorf("%s refuses late: %v (%v)", by, err, cajun.OutcomeOf(err))
			}
			for _, bad := range []string{"nil", "other reply", "other request"} {
				if _, err = call(by + " " + bad); connect.CodeOf(err) != connect.CodeInternal {
					t.Errorf("%s, %s: %v", by, bad, err)
				}
			}
		}
		if _, err := call("out1 change"); err != nil {
			t.Fatal(err)
		}
		if seen := w.calls(); seen[len(seen)-1].Header("added") != "out1" {
			t.Error("a header that an outbound interceptor set did not arrive")
		}
	})
}

// TestInterceptorCannotDropTheDeadline gives the call on with a context that
// never ends.
func TestInterceptorCannotDropTheDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, cajun.WithOutbound(func(next cajun.Invoker) cajun.Invoker {
		return func(_ context.Context, call cajun.Call, req proto.Message) (proto.Message, error) {
			return next(context.Background(), call, req)
		}
	}))
	w.sites(t, func(t *testing.T, owner int) {
		g := w.hold(t.Name())
		pid := w.echoOn(0, owner, t.Name())
		_, err := pid.EchoQuick(t.Context(), &probev1.EchoRequest{Text: t.Name()})
		wantOutcome(t, err, guarantee.MaybeExecuted, "deadline")
		g.release()
	})
}

// TestFramesAndEpochs forges frames: one under another epoch must not run, and
// one that arrives twice must run once.
func TestFramesAndEpochs(t *testing.T) {
	t.Parallel()
	wire := newTap()
	w := newWorld(t, 2, cajun.WithTransport(wire))
	ctx := testContext(t)
	pid := w.echoOn(0, 1, "a")
	from, to := w.Node(0).ID(), w.Node(1).ID()

	requests := make(chan link.Request, 100)
	wire.watchSent(func(_ string, f link.Frame) {
		if f.Request != nil && f.Request.Method == "Echo" {
			copied := *f.Request
			copied.Payload = slices.Clone(f.Request.Payload)
			requests <- copied
		}
	})
	if _, err := pid.Echo(ctx, &probev1.EchoRequest{}); err != nil {
		t.Fatal(err)
	}
	again := receive(t, "the request", requests)
	wire.watchSent(nil)
	wire.inject(to, from, link.Frame{Request: &again})
	answers := make(chan link.Response, 100)
	wire.watch(func(_ string, f link.Frame) bool {
		if f.Response != nil {
			answers <- *f.Response
		}
		return true
	})
	for i, change := range []func(*link.Request){
		func(r *link.Request) { r.Epoch++ },
		func(r *link.Request) { r.Epoch-- },
		func(r *link.Request) { r.Shard = (r.Shard + 1) % 64; r.Epoch = 1000 },
		func(r *link.Request) { r.Shard = 64 },
		func(r *link.Request) { r.Kind = "probe.v1.Nobody" },
		func(r *link.Request) { r.Key = "" },
		func(r *link.Request) { r.Payload = []byte{0xff} },
		func(r *link.Request) { r.Level, r.Call = guarantee.ExactlyOnce, guarantee.CallID{} },
	} {
		forged := again
		forged.ID += uint64(1000 + i)
		change(&forged)
		wire.inject(to, from, link.Frame{Request: &forged})
		if r := receive(t, "the refusal", answers); r.Code == 0 || r.Outcome != guarantee.NotExecuted {
			t.Errorf("forged frame %d: %+v", i, r)
		}
	}
	if _, err := pid.Echo(ctx, &probev1.EchoRequest{}); err != nil {
		t.Fatal(err)
	}
	if n := w.runsOf(strings.TrimPrefix(pid.String(), probev1cajun.EchoKind+"/")); n != 2 {
		t.Errorf("the handler ran %d times, want 2", n)
	}
}

// TestOvertaken holds one request up on its way into the link while others
// overtake it, more than a receiver remembers frames.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	gate := &slowLink{Transport: memlink.NewNetwork().Transport(), held: make(chan struct{}), open: make(chan struct{})}
	w := newWorld(t, 2, cajun.WithTransport(gate))
	ctx := testContext(t)
	pid := w.echoOn(0, 1, "a")
	gate.method.Store("EchoShared")
	late := async(func() (*probev1.EchoReply, error) { return pid.EchoShared(ctx, &probev1.EchoRequest{}) })
	receive(t, "the request", gate.held)
	for range 5000 {
		if _, err := pid.Echo(ctx, &probev1.EchoRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	close(gate.open)
	if got := receive(t, "the reply", late); got.err != nil {
		t.Error(got.err)
	}
}

// slowLink holds the requests of a method until it is opened.
type slowLink struct {
	link.Transport
	method     atomic.Value
	held, open chan struct{}
}

func (s *slowLink) Open(ctx context.Context, cfg link.Config) (link.Endpoint, error) {
	e, err := s.Transport.Open(ctx, cfg)
	return slowEndpoint{e, s}, err
}

type slowEndpoint struct {
	link.Endpoint
	link *slowLink
}

func (e slowEndpoint) Send(ctx context.Context, to link.Peer, f link.Frame) error {
	if f.Request != nil && f.Request.Method != "" && f.Request.Method == e.link.method.Load() {
		e.link.held <- struct{}{}
		<-e.link.open
	}
	return e.Endpoint.Send(ctx, to, f)
}
