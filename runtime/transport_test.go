package cajun_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// specOf is what generated Connect clients say of a method of the probe.
func specOf(t *testing.T, service, method string) connect.Spec {
	t.Helper()
	desc := probev1.File_probe_v1_probe_proto.Services().ByName(protoreflect.Name(service)).Methods().ByName(protoreflect.Name(method))
	if desc == nil {
		t.Fatalf("the probe has no %s/%s", service, method)
	}
	return connect.Spec{Procedure: "/probe.v1." + service + "/" + method, Schema: desc}
}

// viaTransport calls a method of an actor as generated clients do.
func viaTransport(ctx context.Context, t *testing.T, from cajun.Caller, key, service, method string, req, res proto.Message) error {
	t.Helper()
	return connect.NewClient(cajun.NewTransport(from, key)).CallUnary(ctx, specOf(t, service, method), req, res)
}

func TestTransportCallsActors(t *testing.T) {
	w := newWorld(t, 2)
	w.doors(t, func(t *testing.T, from *cajun.Node) {
		client := connect.NewClient(cajun.NewTransport(from, "a"))
		for _, text := range []string{"one", "two"} {
			var res probev1.EchoReply
			if err := client.CallUnary(testContext(t), specOf(t, "Echo", "Echo"), &probev1.EchoRequest{Text: text}, &res); err != nil || res.GetText() != text {
				t.Errorf("got %q, %v", res.GetText(), err)
			}
		}
		if err := client.CallUnary(testContext(t), specOf(t, "Counter", "NoteSure"), &probev1.AddRequest{}, new(emptypb.Empty)); err != nil {
			t.Errorf("a one-way call: %v", err)
		}
		var key probev1.EchoReply
		if err := client.CallUnary(testContext(t), specOf(t, "Echo", "EchoKey"), &probev1.KeyRequest{}, &key); err != nil || key.GetText() != "a" {
			t.Errorf("the key was not filled in: %q, %v", key.GetText(), err)
		}
	})
}

func TestTransportHandsHeadersOn(t *testing.T) {
	w := newWorld(t, 1)
	ctx, info := connect.NewClientContext(cajun.SetHeader(testContext(t), "own", "context"))
	info.RequestHeader().Set("X-One", "1")
	info.RequestHeader().Add("X-Two", "a")
	info.RequestHeader().Add("X-Two", "b")
	info.RequestHeader().Set(cajun.IdempotencyKeyHeader, "k")
	for attempt := range 2 {
		var res probev1.AddReply
		if err := viaTransport(ctx, t, w.Client(), "a", "Counter", "AddOnce", &probev1.AddRequest{Amount: 1}, &res); err != nil || res.GetSum() != 1 {
			t.Fatal(&res, err)
		}
		if got := info.ResponseHeader().Get(cajun.ReplayedHeader); (got == "true") != (attempt > 0) {
			t.Errorf("attempt %d: the header %s is %q", attempt, cajun.ReplayedHeader, got)
		}
	}
	calls := w.calls()
	if len(calls) != 1 {
		t.Fatalf("the handler ran %d times", len(calls))
	}
	for name, want := range map[string]string{"x-one": "1", "x-two": "a, b", "own": "context", "idempotency-key": "", "Idempotency-Key": ""} {
		if got := calls[0].Header(name); got != want {
			t.Errorf("header %s: got %q, want %q", name, got, want)
		}
	}
}

func TestTransportTellsErrorsAsAPidDoes(t *testing.T) {
	w := newWorld(t, 1)
	w.on("refuse", func(context.Context, *cajun.Self) error {
		return connect.NewError(connect.CodeNotFound, "no such thing")
	})
	gate := w.hold("wait")
	for what, from := range map[string]cajun.Caller{"here": w.Node(0), "elsewhere": w.Client()} {
		err := viaTransport(testContext(t), t, from, "a", "Echo", "Echo", &probev1.EchoRequest{Text: "refuse"}, new(probev1.EchoReply))
		wantOutcome(t, err, guarantee.Answered, "no such thing")
		if connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("%s: code %v", what, connect.CodeOf(err))
		}
		err = viaTransport(testContext(t), t, from, "", "Echo", "Echo", &probev1.EchoRequest{}, new(probev1.EchoReply))
		wantOutcome(t, err, guarantee.NotExecuted, "key")

		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err = viaTransport(ctx, t, from, what, "Echo", "Echo", &probev1.EchoRequest{Text: "wait"}, new(probev1.EchoReply))
		cancel()
		wantOutcome(t, err, guarantee.MaybeExecuted)
		if connect.CodeOf(err) != connect.CodeDeadlineExceeded {
			t.Errorf("%s: after its deadline: %v", what, err)
		}
	}
	gate.release()
}

// Cancel reaches the handler, and nested calls are nested.
func TestTransportCallsAreThoseOfTheirContext(t *testing.T) {
	w := newWorld(t, 1)
	ended := make(chan error, 1)
	entered := make(chan struct{})
	w.on("wait", func(ctx context.Context, _ *cajun.Self) error {
		close(entered)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return ctx.Err()
	})
	ctx, cancel := context.WithCancel(testContext(t))
	go func() {
		<-entered
		cancel()
	}()
	err := viaTransport(ctx, t, w.Client(), "a", "Echo", "Echo", &probev1.EchoRequest{Text: "wait"}, new(probev1.EchoReply))
	if connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("a cancelled call: %v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler's context ended with %v", err)
	}
	w.on("circle", func(ctx context.Context, self *cajun.Self) error {
		return viaTransport(ctx, t, self, self.Key(), "Echo", "Echo", &probev1.EchoRequest{}, new(probev1.EchoReply))
	})
	_, err = probev1cajun.NewEchoPid(w.Client(), "b").Echo(testContext(t), &probev1.EchoRequest{Text: "circle"})
	wantOutcome(t, err, guarantee.Answered, "wait for itself")
}

func TestTransportRefusesWhatIsNoActorsMethod(t *testing.T) {
	w := newWorld(t, 1)
	tr := cajun.NewTransport(w.Node(0), "a")
	for what, c := range map[string]struct {
		spec connect.Spec
		code connect.Code
	}{
		"no schema": {connect.Spec{Procedure: "/probe.v1.Echo/Echo"}, connect.CodeInvalidArgument},
		"a stream":  {connect.Spec{Procedure: "/x/y", StreamType: connect.StreamTypeServer, Schema: specOf(t, "Echo", "Echo").Schema}, connect.CodeUnimplemented},
	} {
		if _, err := tr.NewClientStream(t.Context(), c.spec); connect.CodeOf(err) != c.code {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestTransportStreams(t *testing.T) {
	w := newWorld(t, 2)
	w.doors(t, func(t *testing.T, from *cajun.Node) {
		ctx := testContext(t)
		client := connect.NewClient(cajun.NewTransport(from, t.Name()))
		spec := specOf(t, "Counter", "Watch")
		spec.StreamType = connect.StreamTypeServer
		stream, err := client.CallServerStream(ctx, spec, &probev1.GetRequest{})
		if err != nil {
			t.Fatal(err)
		}
		// The stream is open: nothing of what comes now is missed.
		if err := client.CallUnary(ctx, specOf(t, "Counter", "Add"), &probev1.AddRequest{Amount: 5}, new(probev1.AddReply)); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int64{0, 5} {
			var event probev1.AddReply
			if err := stream.Receive(&event); err != nil || event.GetSum() != want {
				t.Fatalf("got %v, %v; want the sum %d", &event, err, want)
			}
		}
		// Closing frees a Receive that waits.
		ended := async(func() (struct{}, error) { return struct{}{}, stream.Receive(new(probev1.AddReply)) })
		if err := stream.Close(); err != nil {
			t.Error(err)
		}
		if r := receive(t, "the end", ended); connect.CodeOf(r.err) != connect.CodeCanceled {
			t.Errorf("got %v", r.err)
		}
		// One that ends by itself does so with io.EOF.
		w.onWatch("two", counting(2, new(atomic.Int64)))
		if stream, err = client.CallServerStream(ctx, spec, &probev1.GetRequest{Script: "two"}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := stream.Receive(new(probev1.AddReply)); err != nil {
				t.Fatal(err)
			}
		}
		if err := stream.Receive(new(probev1.AddReply)); !errors.Is(err, io.EOF) {
			t.Errorf("got %v", err)
		}
		w.on("no", func(context.Context, *cajun.Self) error { return connect.NewError(connect.CodeAborted, "no") })
		stream, err = client.CallServerStream(ctx, spec, &probev1.GetRequest{Script: "no"})
		if err == nil {
			err = stream.Receive(new(probev1.AddReply))
		}
		wantOutcome(t, err, guarantee.Answered, "no")
	})
}
