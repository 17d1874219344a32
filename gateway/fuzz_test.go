package gateway_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cajun-go/cajun/gateway"
)

// lockedLog is a log that several goroutines write to.
type lockedLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

var statusLine = regexp.MustCompile(`HTTP/1\.[01] (\d{3}) `)

// fine are the statuses above 499 that say something about the request: its
// encoding is not known, its own deadline has passed, or it needs HTTP/2.
var fine = map[string]bool{"501": true, "504": true, "505": true}

// FuzzDoor sends whatever to a gateway. Nothing but 4xx comes back for what is
// wrong, nothing panics, and no actor is reached by it.
func FuzzDoor(f *testing.F) {
	for _, path := range []string{
		"/actors/a/desk.v1.Desk/Add", "/desk.v1.Desk/Try", "/actors/%2F/desk.v1.Desk/Look?connect=v1&encoding=json&message=%7B%7D", "/", "/actors//desk.v1.Desk/Tell",
		"/actors/%ff/desk.v1.Desk/Add", "//actors/a/desk.v1.Desk/Add", "/actors/a/b/c/desk.v0.Desk/Add", "/grpc.health.v1.Health/Check",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/cajun.link.v1.LinkService/Exchange", "*", "/actors/a/desk.v1.Desk/../Add",
	} {
		f.Add("POST", path, "Cajun-Key", "a", "application/json", []byte(`{"amount": "1"}`))
		f.Add("GET", path, "Idempotency-Key", "k", "", []byte(nil))
		f.Add("POST", path, "Connect-Timeout-Ms", "1000", "application/proto", []byte("\x0a\x01a\x10\x01"))
		f.Add("POST", path, "Grpc-Timeout", "1S", "application/grpc", []byte("\x00\x00\x00\x00\x03\x0a\x01a"))
		f.Add("POST", path, "Content-Encoding", "gzip", "application/grpc-web+json", []byte("\x00\x00\x00\x00\x02{}"))
		f.Add("OPTIONS", path, "Origin", "https://example.com", "application/connect+proto", []byte("\xff\xff"))
	}
	log := new(lockedLog)
	o := open(f, gateway.WithLogger(slog.New(slog.NewTextHandler(log, nil))), gateway.WithHeaderTimeout(100*time.Millisecond),
		gateway.WithTransferTimeout(100*time.Millisecond), gateway.WithIdleTimeout(100*time.Millisecond), gateway.WithMaxMessage(64<<10))
	hosts := []string{strings.TrimPrefix(o.here, "http://"), strings.TrimPrefix(o.elsewhere, "http://")}
	f.Fuzz(func(t *testing.T, method, path, name, value, contentType string, body []byte) {
		for _, host := range hosts {
			before := o.runsAsked()
			request := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: %s\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s", method, path, contentType, name, value, len(body), body)
			text := exchange(t, host, request)
			succeeded, timedOut := false, false
			for _, m := range statusLine.FindAllStringSubmatch(text, -1) {
				succeeded = succeeded || m[1] == "200"
				timedOut = timedOut || m[1] == "504"
				if m[1] >= "500" && !fine[m[1]] {
					t.Errorf("status %s for %q: %s", m[1], request, text)
				}
			}
			if after := o.runsAsked(); after != before && !succeeded && !timedOut {
				t.Errorf("an actor was reached by %q, which got %q", request, text)
			}
		}
		if strings.Contains(log.String(), "panic") {
			t.Fatalf("a panic: %s", log)
		}
	})
}

// exchange sends text and returns all that comes back.
func exchange(t *testing.T, host, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(conn, text)
	}()
	answer, err := io.ReadAll(conn) // a reset ends it, too
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the gateway still waits for a client that has sent %q and got %q", text, answer)
	}
	conn.Close()
	<-sent
	return string(answer)
}
