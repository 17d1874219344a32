package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/cajun-go/cajun/gateway"
	deskv1 "github.com/cajun-go/cajun/gateway/internal/gen/desk/v1"
	cajun "github.com/cajun-go/cajun/runtime"
)

// outlast waits until the gateway has cut off so many connections, one after the
// other, on which no headers came: so often has its time for headers passed.
func outlast(t *testing.T, base string, times int) {
	t.Helper()
	for range times {
		if _, err := io.Copy(io.Discard, dial(t, base)); err != nil {
			t.Fatalf("a silent connection was not cut off: %v", err)
		}
	}
}

// TestQuietStreamsStay: the time between two events is nobody's fault.
func TestQuietStreamsStay(t *testing.T) {
	o := open(t, gateway.WithHeaderTimeout(100*time.Millisecond), gateway.WithTransferTimeout(100*time.Millisecond), gateway.WithIdleTimeout(100*time.Millisecond))
	for protocol, opts := range protocols {
		for _, version := range []string{"HTTP/2", "HTTP/1.1"} {
			if protocol == "grpc" && version == "HTTP/1.1" {
				continue
			}
			t.Run(protocol+" over "+version, func(t *testing.T) {
				t.Parallel()
				client := clientFor(t, o.here, opts...)
				if version == "HTTP/1.1" {
					transport := &http.Transport{}
					t.Cleanup(transport.CloseIdleConnections)
					client = connect.NewClient(connecthttp.NewTransport(&http.Client{Transport: transport}, o.here, opts...))
				}
				key := strings.ReplaceAll(t.Name(), " ", "-")
				stream := follow(testContext(t), t, client, key)
				wantSum(t, stream, 0)
				outlast(t, o.here, 5)
				o.add(t, key, 1)
				wantSum(t, stream, 1)
			})
		}
	}
}

// TestStreamReadersThatVanish close their connection, or take nothing any more, without
// a word.
func TestStreamReadersThatVanish(t *testing.T) {
	o := open(t, gateway.WithHeaderTimeout(100*time.Millisecond), gateway.WithTransferTimeout(200*time.Millisecond))
	handlers := make(chan context.Context, 1)
	o.on("watch gone", func(ctx context.Context) error {
		handlers <- ctx
		return nil
	})
	body := string([]byte{0, 0, 0, 0, 2}) + "{}"
	head := "POST /actors/gone/desk.v1.Desk/Watch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/connect+json\r\n"
	for name, request := range map[string]string{
		"length":  fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body),
		"chunked": fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", head, len(body), body),
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, o.here)
			_, _ = io.WriteString(conn, request)
			if line := readLine(t, conn); !strings.Contains(line, "200") {
				t.Fatal(line)
			}
			handler := <-handlers
			outlast(t, o.here, 3)
			if handler.Err() != nil {
				t.Fatal("the stream has ended by itself")
			}
			conn.Close()
			select {
			case <-handler.Done():
			case <-time.After(5 * time.Second):
				t.Error("the stream goes on without its reader")
			}
		})
	}
}

// TestGatewayThatClosesWhileAStreamOpens tells its client to come again.
func TestGatewayThatClosesWhileAStreamOpens(t *testing.T) {
	o := open(t)
	entered := make(chan struct{}, 1)
	o.on("watch opening", func(ctx context.Context) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	go func() {
		<-entered
		o.Node(2).Close()
	}()
	stream, err := clientFor(t, o.elsewhere).CallServerStream(testContext(t), specOf(t, "Watch"), &deskv1.LookRequest{Desk: "opening"})
	if err == nil {
		defer stream.Close()
		err = stream.Receive(new(deskv1.AddResponse))
	}
	if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "closing") {
		t.Errorf("got %v, %v", err, cajun.OutcomeOf(err))
	}
}
