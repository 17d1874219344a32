package connectlink

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	linkv1 "github.com/cajun-go/cajun/gen/cajun/link/v1"
	"github.com/cajun-go/cajun/link"
)

const (
	// maxAccepted bounds the streams that others may have open to this node.
	maxAccepted = 8192
	// codeWrongPeer is how a node refuses streams that are meant for another.
	codeWrongPeer = connect.CodeNotFound
)

// listen opens the door of the node.
func (e *endpoint) listen(ctx context.Context) error {
	if e.cfg.Listen == "" {
		e.cfg.Listen = "127.0.0.1:0"
	}
	if err := checkListen(&e.cfg); err != nil {
		return err
	}
	tlsConfig, err := serverTLS(&e.cfg)
	if err != nil {
		return err
	}
	door, err := new(net.ListenConfig).Listen(ctx, "tcp", e.cfg.Listen)
	if err != nil {
		return fmt.Errorf("connectlink: %w", err)
	}
	if e.address, err = advertised(&e.cfg, door.Addr()); err != nil {
		_ = door.Close()
		return err
	}
	e.server = e.newServer()
	e.server.TLSConfig = tlsConfig
	e.serving.Go(func() {
		var err error
		if tlsConfig != nil {
			err = e.server.ServeTLS(door, "", "")
		} else {
			err = e.server.Serve(listener{door})
		}
		if err != http.ErrServerClosed {
			e.cfg.Logger.Error("the link stopped listening", "address", e.address, "error", err)
		}
	})
	return nil
}

func (e *endpoint) newServer() *http.Server {
	service := connect.NewServer()
	service.Register(connect.Method{Spec: exchangeSpec(), Handler: e.exchange})
	mux := http.NewServeMux()
	connecthttp.Mount(mux, service, e.connectOptions()...)
	protocols := new(http.Protocols)
	// HTTP/1 only gets a proper answer that this is no place for it.
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(e.cfg.TLS != nil)
	protocols.SetUnencryptedHTTP2(e.cfg.TLS == nil)
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			control := &control{response: http.NewResponseController(w)}
			defer control.end()
			// Until the peer has introduced itself.
			control.setDeadlines(time.Now().Add(e.transport.dialTimeout), time.Time{})
			defer context.AfterFunc(e.life, func() { control.setDeadlines(longAgo(), time.Time{}) })()
			ctx := context.WithValue(r.Context(), controlKey{}, control)
			mux.ServeHTTP(&envelopeWriter{ResponseWriter: w}, r.WithContext(ctx))
		}),
		Protocols:         protocols,
		HTTP2:             e.transport.http2(),
		ReadHeaderTimeout: e.transport.dialTimeout,
		IdleTimeout:       e.transport.dialTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(e.cfg.Logger.Handler(), slog.LevelDebug),
	}
}

// controlKey is where a handler finds its *control.
type controlKey struct{}

// control interrupts the reads and writes of a handler. Unlike
// http.ResponseController it may be used when the handler has returned.
type control struct {
	mu       sync.Mutex
	response *http.ResponseController // nil when the handler has returned
}

// setDeadlines changes the deadlines for reading and writing; zero is none.
func (c *control) setDeadlines(read, write time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.response == nil {
		return
	}
	// They fail only for connections without deadlines, which HTTP/2 and what
	// is under it do not have.
	_ = c.response.SetReadDeadline(read)
	_ = c.response.SetWriteDeadline(write)
}

func (c *control) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.response = nil
}

// exchange serves one stream that a peer dialed.
func (e *endpoint) exchange(ctx context.Context, _ connect.Spec, wire connect.ServerStream) error {
	if !e.accept() {
		return connect.NewError(connect.CodeUnavailable, "the node is closing or has too many streams")
	}
	defer e.leave()
	control := ctx.Value(controlKey{}).(*control)
	var first firstBatch
	if err := wire.Receive(&first); err != nil {
		return err
	}
	hello, err := first.hello()
	if err != nil {
		return connect.Errorf(connect.CodeInvalidArgument, "%v", err)
	}
	if err := e.checkHello(hello, hello.From); err != nil {
		return err
	}
	control.setDeadlines(time.Time{}, time.Time{})
	p, err := e.acquire(hello.From)
	if err != nil {
		return connect.Errorf(connect.CodeUnavailable, "%v", err)
	}
	defer e.release(p)
	s := e.newStream(p, wire, hello)
	s.endSend = func() {
		s.ended.Store(true)
		control.setDeadlines(longAgo(), time.Time{})
	}
	s.abort = func() {
		control.setDeadlines(longAgo(), time.Now().Add(abortGrace))
	}
	return e.serve(ctx, s, first)
}

// serve introduces this node on a stream and runs it.
func (e *endpoint) serve(ctx context.Context, s *stream, first firstBatch) error {
	attaching, cancel := context.WithTimeout(ctx, e.transport.dialTimeout)
	defer cancel()
	if err := s.peer.attach(attaching, s); err != nil {
		return connect.Errorf(connect.CodeUnavailable, "%v", err)
	}
	defer s.peer.detach(s)
	mine, err := e.hello(s.peer.session)
	if err == nil {
		err = s.wire.Send(mine)
	}
	if err != nil {
		s.peer.fail(s, err)
		return err
	}
	err = s.run(first)
	e.logEnd(s, err)
	switch {
	case err == nil:
		return nil
	case isMalformed(err):
		return connect.Errorf(connect.CodeInvalidArgument, "%v", err)
	}
	return connect.Errorf(connect.CodeAborted, "the stream broke: %v", err)
}

// checkHello refuses peers that this node must not talk to. session is whom
// the peer has to be.
func (e *endpoint) checkHello(h *linkv1.Hello, session string) error {
	switch {
	case h.Version != link.Version:
		return connect.Errorf(connect.CodeFailedPrecondition,
			"the session %q speaks version %d of the link, %q speaks %d: run releases that share a version",
			h.From, h.Version, e.cfg.Session, link.Version)
	case h.Cluster != e.cfg.Cluster:
		return connect.Errorf(codeWrongPeer, "the session %q belongs to the cluster %q, %q to %q",
			h.From, h.Cluster, e.cfg.Session, e.cfg.Cluster)
	case h.To != e.cfg.Session:
		return connect.Errorf(codeWrongPeer, "the session %q looks for %q, but this is %q",
			h.From, h.To, e.cfg.Session)
	case h.From != session:
		return connect.Errorf(codeWrongPeer, "%q answers instead of %q", h.From, session)
	}
	return nil
}

// accept admits a stream that a peer opens; leave ends that.
func (e *endpoint) accept() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.accepted >= maxAccepted {
		return false
	}
	e.accepted++
	e.wg.Add(1)
	return true
}

func (e *endpoint) leave() {
	e.mu.Lock()
	e.accepted--
	e.mu.Unlock()
	e.wg.Done()
}

// longAgo is a deadline that interrupts at once.
func longAgo() time.Time { return time.Unix(1, 0) }
