package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/gateway"
	deskv1 "github.com/cajun-go/cajun/gateway/internal/gen/desk/v1"
	"github.com/cajun-go/cajun/gateway/internal/gen/desk/v1/deskv1cajun"
	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
)

// follow opens a desk's Watch.
func follow(ctx context.Context, t *testing.T, client *connect.Client, key string) connect.ClientStream {
	t.Helper()
	stream, err := client.CallServerStream(ctx, specOf(t, "Watch"), &deskv1.LookRequest{Desk: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stream.Close() })
	return stream
}

// wantSum takes one event.
func wantSum(t *testing.T, stream connect.ClientStream, want int64) {
	t.Helper()
	var event deskv1.AddResponse
	if err := stream.Receive(&event); err != nil || event.GetSum() != want {
		t.Fatalf("got %v, %v; want the sum %d", &event, err, want)
	}
}

func (o *office) add(t *testing.T, key string, amount int64) {
	t.Helper()
	if _, err := deskv1cajun.NewDeskPid(o.Client(), key).Add(testContext(t), &deskv1.AddRequest{Amount: amount}); err != nil {
		t.Fatal(err)
	}
}

func TestStreams(t *testing.T) {
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		for protocol, opts := range protocols {
			t.Run(protocol, func(t *testing.T) {
				key := t.Name()
				stream := follow(testContext(t), t, clientFor(t, base, opts...), key)
				wantSum(t, stream, 0)
				for i := range int64(200) {
					o.add(t, key, 1)
					wantSum(t, stream, i+1)
				}
			})
		}
	})
}

// curl shows a stream of Connect's own protocol, whose messages are framed.
func TestStreamOverHTTP1(t *testing.T) {
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		o.add(t, t.Name(), 7)
		body := `{}`
		frame := string([]byte{0, 0, 0, 0, byte(len(body))}) + body
		ctx, cancel := context.WithCancel(testContext(t))
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/desk.v1.Desk/Watch", strings.NewReader(frame))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/connect+json")
		req.Header.Set(gateway.KeyHeader, strings.ReplaceAll(t.Name(), " ", "%20"))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		r := bufio.NewReader(res.Body)
		head := make([]byte, 5)
		if _, err := io.ReadFull(r, head); err != nil {
			t.Fatal(err)
		}
		message := make([]byte, head[4])
		var event struct{ Sum string }
		if _, err := io.ReadFull(r, message); err != nil || json.Unmarshal(message, &event) != nil || event.Sum != "7" {
			t.Errorf("got %s, %v", message, err)
		}
	})
}

func TestStreamsThatAreRefused(t *testing.T) {
	o := open(t)
	o.on("watch refused", func(context.Context) error { return connect.NewError(connect.CodeAborted, "not now") })
	o.doors(t, func(t *testing.T, base string) {
		receive := func(ctx context.Context, key string) error {
			stream, err := clientFor(t, base).CallServerStream(ctx, specOf(t, "Watch"), &deskv1.LookRequest{Desk: key})
			if err == nil {
				defer stream.Close()
				err = stream.Receive(new(deskv1.AddResponse))
			}
			return err
		}
		if err := receive(testContext(t), "refused"); connect.CodeOf(err) != connect.CodeAborted || cajun.OutcomeOf(err) != guarantee.Answered {
			t.Errorf("got %v", err)
		}
		if err := receive(testContext(t), ""); connect.CodeOf(err) != connect.CodeInvalidArgument || cajun.OutcomeOf(err) != guarantee.NotExecuted {
			t.Errorf("without a key: got %v", err)
		}
		ctx, info := connect.NewClientContext(testContext(t))
		info.RequestHeader().Set(cajun.IdempotencyKeyHeader, "k")
		if err := receive(ctx, "keyed"); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("with an idempotency key: got %v", err)
		}
	})
}

// TestStreamReaderThatLeaves: the handler's context ends with the client's, and so
// does it with the client's deadline, of which it knows.
func TestStreamReaderThatLeaves(t *testing.T) {
	o := open(t)
	handlers := make(chan context.Context, 1)
	o.on("watch left", func(ctx context.Context) error {
		handlers <- ctx
		return nil
	})
	o.doors(t, func(t *testing.T, base string) {
		ctx, cancel := context.WithCancel(testContext(t))
		stream := follow(ctx, t, clientFor(t, base), "left")
		wantSum(t, stream, 0)
		handler := <-handlers
		if handler.Err() != nil {
			t.Fatal(handler.Err())
		}
		cancel()
		select {
		case <-handler.Done():
		case <-testContext(t).Done():
			t.Fatal("the stream goes on without its reader")
		}
		ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		stream = follow(ctx, t, clientFor(t, base), "left")
		wantSum(t, stream, 0)
		handler = <-handlers
		if d, ok := handler.Deadline(); !ok || time.Until(d) > 300*time.Millisecond {
			t.Errorf("the handler's deadline is %v, %v", d, ok)
		}
		if err := stream.Receive(new(deskv1.AddResponse)); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
			t.Errorf("got %v", err)
		}
		select {
		case <-handler.Done():
		case <-testContext(t).Done():
			t.Fatal("the stream goes on after its time")
		}
	})
}

// TestStreamEndsWithItsActor drains the actor's node, and then the gateway's.
func TestStreamEndsWithItsActor(t *testing.T) {
	o := open(t)
	client := clientFor(t, o.elsewhere)
	stream := follow(testContext(t), t, client, "moving")
	wantSum(t, stream, 0)
	owner := o.Owner(deskv1cajun.NewDeskPid(o.Client(), "moving"))
	if err := o.Node(owner).Drain(testContext(t)); err != nil {
		t.Fatal(err)
	}
	err := stream.Receive(new(deskv1.AddResponse))
	if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "open it again") {
		t.Fatalf("got %v", err)
	}
	stream = follow(testContext(t), t, client, "moving")
	wantSum(t, stream, 0)
	began := time.Now()
	closed := make(chan error, 1)
	go func() { closed <- o.Node(2).Close() }()
	err = stream.Receive(new(deskv1.AddResponse))
	if e := new(connect.Error); !errors.As(err, &e) || e.Code() != connect.CodeUnavailable {
		t.Fatalf("got %v", err)
	}
	if err := <-closed; err != nil || time.Since(began) > gateway.DefaultGrace {
		t.Errorf("closing took %v: %v", time.Since(began), err)
	}
}

// TestStreamThatIsOpenedWhileTheGatewayCloses ends like one that is open: its
// client did not cancel it.
func TestStreamThatIsOpenedWhileTheGatewayCloses(t *testing.T) {
	o := open(t, gateway.WithLogger(discard()))
	entered := make(chan struct{}, 1)
	o.on("watch opening", func(ctx context.Context) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	got := make(chan error, 1)
	go func() {
		stream, err := clientFor(t, o.elsewhere).CallServerStream(testContext(t), specOf(t, "Watch"), &deskv1.LookRequest{Desk: "opening"})
		if err == nil {
			err = stream.Receive(new(deskv1.AddResponse))
			stream.Close()
		}
		got <- err
	}()
	<-entered
	o.Node(2).Close()
	if err := <-got; connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "open the stream again") {
		t.Errorf("got %v", err)
	}
}

// TestStreamsCountAsRequests: what is open at once is bounded.
func TestStreamsCountAsRequests(t *testing.T) {
	o := open(t, gateway.WithMaxRequests(2))
	client := clientFor(t, o.here)
	first := follow(testContext(t), t, client, "first")
	wantSum(t, first, 0)
	second := follow(testContext(t), t, client, "second")
	wantSum(t, second, 0)
	stream, err := client.CallServerStream(testContext(t), specOf(t, "Watch"), &deskv1.LookRequest{Desk: "third"})
	if err == nil {
		err = stream.Receive(new(deskv1.AddResponse))
		stream.Close()
	}
	if connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("got %v", err)
	}
}

// TestDynamicStreams calls by descriptor, as gateways do.
func TestDynamicStreams(t *testing.T) {
	o := open(t)
	for node := range 3 {
		n := o.Node(node)
		kind, err := n.Kind(testContext(t), deskv1cajun.DeskKind)
		if err != nil {
			t.Fatal(err)
		}
		watch, _ := kind.Method("Watch")
		add, _ := kind.Method("Add")
		if !watch.Streams() || add.Streams() {
			t.Error("the methods are not what they are")
		}
		for _, binary := range []bool{false, true} {
			ctx, cancel := context.WithCancel(testContext(t))
			events, err := watch.Open(ctx, n, "dynamic", watch.NewRequest(binary))
			if err != nil {
				t.Fatal(err)
			}
			for event, err := range events {
				var got deskv1.AddResponse
				b, _ := proto.Marshal(event)
				if err != nil || proto.Unmarshal(b, &got) != nil || got.GetDesk() != "dynamic" {
					t.Errorf("got %v, %v", event, err)
				}
				break
			}
			cancel()
		}
		if _, err := watch.Call(testContext(t), n, "dynamic", watch.NewRequest(false)); connect.CodeOf(err) != connect.CodeUnimplemented {
			t.Errorf("Call of a stream: %v", err)
		}
		if _, err := add.Open(testContext(t), n, "dynamic", add.NewRequest(false)); connect.CodeOf(err) != connect.CodeUnimplemented {
			t.Errorf("Open of a call: %v", err)
		}
	}
}
