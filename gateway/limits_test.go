package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/gateway"
	deskv1 "github.com/cajun-go/cajun/gateway/internal/gen/desk/v1"
)

func TestLargeRequestsAreRefused(t *testing.T) {
	o := open(t, gateway.WithMaxMessage(1<<10), gateway.WithMaxHeader(4<<10))
	o.doors(t, func(t *testing.T, base string) {
		for name, opts := range protocols {
			for what, size := range map[string]int{"much": 2 << 20, "little": 2 << 10} {
				_, err := try(testContext(t), t, clientFor(t, base+"/actors/large", opts...), &deskv1.TryRequest{Padding: make([]byte, size)})
				if connect.CodeOf(err) != connect.CodeResourceExhausted {
					t.Errorf("%s, %s too large: %v", name, what, err)
				}
			}
		}
		// Small on the way and large when it is unpacked.
		bomb := gzipped(t, append([]byte("\x12\x80\x80\x40"), make([]byte, 1<<20)...))
		req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, base+"/actors/large/desk.v1.Desk/Try", strings.NewReader(string(bomb)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/proto")
		o.do(req, "Content-Encoding", "gzip").want(t, 429, "resource_exhausted")
		for what, request := range map[string]string{
			"a large header": "POST /actors/large/desk.v1.Desk/Try HTTP/1.1\r\nX-Large: " + strings.Repeat("x", 16<<10),
			"a large query":  "GET /actors/large/desk.v1.Desk/Look?connect=v1&encoding=json&message=" + strings.Repeat("x", 16<<10),
		} {
			conn := dial(t, base)
			_, _ = io.WriteString(conn, request)
			// The rest may be lost with the connection.
			if text, _ := io.ReadAll(conn); len(text) > 0 && !strings.HasPrefix(string(text), "HTTP/1.1 431") {
				t.Errorf("%s: %s", what, text)
			}
		}
	})
	if o.runsOf("large") != 0 {
		t.Error("a large request reached the actor")
	}
}

func TestRequestsAtOnceAreBounded(t *testing.T) {
	o := open(t, gateway.WithMaxRequests(2))
	entered, release := make(chan struct{}, 2), make(chan struct{})
	o.on("wait", func(context.Context) error {
		entered <- struct{}{}
		<-release
		return nil
	})
	done := make(chan error, 2)
	for i := range 2 {
		go func() {
			_, err := try(testContext(t), t, clientFor(t, fmt.Sprintf("%s/actors/b%d", o.here, i)), &deskv1.TryRequest{Script: "wait"})
			done <- err
		}()
		<-entered
	}
	a := o.curl(o.here, "/actors/b/desk.v1.Desk/Try", `{}`)
	a.want(t, 429, "resource_exhausted", "as many requests as it may")
	if a.outcome() != "OUTCOME_NOT_EXECUTED" {
		t.Errorf("the outcome is %q", a.outcome())
	}
	for name, opts := range protocols {
		if _, err := try(testContext(t), t, clientFor(t, o.here+"/actors/b", opts...), &deskv1.TryRequest{}); connect.CodeOf(err) != connect.CodeResourceExhausted {
			t.Errorf("%s: %v", name, err)
		}
	}
	close(release)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if a := o.curl(o.here, "/actors/b/desk.v1.Desk/Try", `{}`); a.StatusCode != 200 {
		t.Errorf("a place is free again: %s %s", a.Status, a.body)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	o := open(t, gateway.WithMaxConnections(1), gateway.WithIdleTimeout(time.Minute))
	first := dial(t, o.here)
	request := "POST /actors/c/desk.v1.Desk/Try HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	_, _ = io.WriteString(first, request)
	if line := readLine(t, first); !strings.Contains(line, "200") {
		t.Fatalf("got %q", line)
	}
	second := dial(t, o.here) // the kernel accepts, the gateway does not
	_, _ = io.WriteString(second, request)
	answered := make(chan string, 1)
	go func() { answered <- readLine(t, second) }()
	_, _ = io.WriteString(first, request)
	if line := readLine(t, first); !strings.Contains(line, "200") {
		t.Errorf("the first connection does not go on: %q", line)
	}
	select {
	case line := <-answered:
		t.Errorf("a connection too many got %q", line)
	default:
	}
	first.Close()
	if line := <-answered; !strings.Contains(line, "200") {
		t.Errorf("got %q", line)
	}
}

// A client that sends nothing, or one byte now and then, does not stay.
func TestSlowClientsAreCutOff(t *testing.T) {
	o := open(t, gateway.WithHeaderTimeout(100*time.Millisecond), gateway.WithTransferTimeout(100*time.Millisecond), gateway.WithIdleTimeout(100*time.Millisecond))
	head := "POST /actors/slow/desk.v1.Desk/Try HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	t.Run("idle", func(t *testing.T) {
		if rest, err := io.ReadAll(dial(t, o.here)); err != nil {
			t.Errorf("%q, %v", rest, err)
		}
	})
	t.Run("headers", func(t *testing.T) {
		conn := dial(t, o.here)
		_, _ = io.WriteString(conn, head)
		if _, err := io.ReadAll(conn); err != nil {
			t.Error(err)
		}
	})
	t.Run("body", func(t *testing.T) {
		conn := dial(t, o.here)
		_, _ = io.WriteString(conn, head+"Content-Length: 1000\r\n\r\n{")
		stop := trickle(conn, " ")
		defer stop()
		text, err := io.ReadAll(conn)
		if !strings.Contains(string(text), "429") || !strings.Contains(string(text), "took longer") || strings.Count(string(text), "CallStatus") != 1 {
			t.Errorf("got %q, %v", text, err)
		}
	})
	t.Run("body over HTTP/2", func(t *testing.T) {
		body, sender := io.Pipe()
		stop := trickle(sender, " ")
		defer stop()
		defer body.Close()
		req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, o.here+"/actors/slow/desk.v1.Desk/Try", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetUnencryptedHTTP2(true)
		defer transport.CloseIdleConnections()
		res, err := transport.RoundTrip(req)
		if err != nil {
			return // the stream was reset
		}
		defer res.Body.Close()
		if res.StatusCode != 429 {
			t.Errorf("got %s", res.Status)
		}
	})
	t.Run("reader", func(t *testing.T) {
		conn := dial(t, o.here)
		body := `{"padding":"` + strings.Repeat("AAAA", 700<<10) + `"}`
		// Asked again and again, until the buffers of both ends are full.
		var err error
		for err == nil {
			_, err = fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a client that reads nothing is still there: %v", err)
		}
	})
	// Slow actors are another matter.
	o.on("long", func(ctx context.Context) error {
		timer := time.NewTimer(300 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	conn := dial(t, o.here)
	for range 2 {
		_, _ = io.WriteString(conn, head+"Content-Length: 17\r\n\r\n{\"script\":\"long\"}")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("a slow actor: %v, %v", res, err)
		}
		res.Body.Close()
	}
	for name, opts := range protocols {
		if _, err := try(testContext(t), t, clientFor(t, o.here+"/actors/long", opts...), &deskv1.TryRequest{Script: "long"}); err != nil {
			t.Errorf("%s: a slow actor: %v", name, err)
		}
	}
}
