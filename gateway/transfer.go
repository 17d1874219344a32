package gateway

import (
	"io"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
)

// transfer watches over the body of a request and that of its response: a client
// that sends or takes them too slowly is cut off, so that it does not hold its
// place for ever. Neither the time that the actor takes nor that of a stream
// between two messages counts.
type transfer struct {
	http.ResponseWriter
	controller *http.ResponseController
	body       io.ReadCloser
	limit      time.Duration
	timer      *time.Timer // of the body, nil when there is none
	drains     bool        // see drain
	refused    int         // see WriteHeader

	mu    sync.Mutex
	ended bool // nothing may be done to the connection any more
	slow  bool // the body was cut off
	read  bool // the body was read to its end
}

// newTransfer begins to watch.
func newTransfer(w http.ResponseWriter, r *http.Request, limit time.Duration) *transfer {
	t := &transfer{ResponseWriter: w, controller: http.NewResponseController(w), body: r.Body, limit: limit,
		drains: r.ProtoMajor >= 2 && r.ContentLength > 0 && r.ContentLength <= maxDrain}
	if r.Body == nil || r.Body == http.NoBody {
		t.read = true
		return t
	}
	t.timer = time.AfterFunc(limit, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if !t.ended && !t.read {
			t.slow = true
			_ = t.controller.SetReadDeadline(time.Now())
		}
	})
	return t
}

// cut ends the body.
func (t *transfer) cut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		_ = t.controller.SetReadDeadline(time.Now())
	}
}

// Read implements io.Reader for the body.
func (t *transfer) Read(p []byte) (int, error) {
	if t.body == nil {
		return 0, io.EOF
	}
	n, err := t.body.Read(p)
	if err == nil {
		return n, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == io.EOF:
		t.read = true
		if t.timer != nil {
			t.timer.Stop()
		}
	case t.slow:
		return n, refuse(connect.CodeResourceExhausted, "the request's body took longer than %v to arrive", t.limit)
	}
	return n, err
}

// Close implements io.Closer for the body. The server closes what it has handed
// out by itself, and under the limit that end sets: over HTTP/1.1 that reads a
// part of what has not arrived yet.
func (t *transfer) Close() error { return nil }

// WriteHeader implements http.ResponseWriter. Where Connect refuses a request by its
// status alone, the response is left for explain to write.
func (t *transfer) WriteHeader(status int) {
	if status == http.StatusMethodNotAllowed || status == http.StatusUnsupportedMediaType {
		t.refused = status
		return
	}
	t.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (t *transfer) Write(p []byte) (int, error) {
	defer t.hurry()()
	return t.ResponseWriter.Write(p)
}

// Flush implements http.Flusher.
func (t *transfer) Flush() {
	defer t.hurry()()
	_ = t.controller.Flush()
}

// Unwrap lets a http.ResponseController find what w can do.
func (t *transfer) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// hurry gives the client until the returned function is called, and the limit at
// most, to take what is written.
func (t *transfer) hurry() (done func()) {
	over := false
	timer := time.AfterFunc(t.limit, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if !over && !t.ended {
			_ = t.controller.SetWriteDeadline(time.Now())
		}
	})
	return func() {
		if !timer.Stop() {
			t.mu.Lock()
			defer t.mu.Unlock()
			over = true
		}
	}
}

// maxDrain is how much of a body is read for nothing: as much as net/http reads over
// HTTP/1.1.
const maxDrain = 256 << 10

// drain takes what is left of a small body before a response to it ends that did
// not need it, such as a refusal. Over HTTP/2 the server would reset the stream, and
// some clients that are still sending, curl among them, tell that instead of the
// response. Over HTTP/1.1 the server does the same by itself. A body of unknown length
// is left alone, as it may be one that waits for the response.
func (t *transfer) drain() {
	t.mu.Lock()
	over := !t.drains || t.read || t.slow
	if !over {
		_ = t.controller.SetReadDeadline(time.Now().Add(min(t.limit, time.Second)))
	}
	t.mu.Unlock()
	if !over {
		_, _ = io.Copy(io.Discard, t)
	}
}

// end is called when the request was served. What the server still does for it
// is bounded, too: it reads a part of what is left of the body, and writes what
// it has kept back of the response. Deadlines end with the request: the server
// takes them back before the next one on the same connection.
func (t *transfer) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	if t.timer != nil {
		t.timer.Stop()
	}
	now := time.Now()
	if !t.read {
		now = now.Add(min(t.limit, time.Second)) // it writes after that
		_ = t.controller.SetReadDeadline(now)
	}
	_ = t.controller.SetWriteDeadline(now.Add(t.limit))
}
