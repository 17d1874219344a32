package connectlink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	linkv1 "github.com/cajun-go/cajun/gen/cajun/link/v1"
	"github.com/cajun-go/cajun/link"
)

// startDial begins an attempt to open a stream to p, with p.mu held.
func (e *endpoint) startDial(p *peer, address string) (*dial, error) {
	if !e.begin() {
		return nil, link.ErrClosed
	}
	if _, err := e.acquire(p.session); err != nil {
		e.wg.Done()
		return nil, err
	}
	d := new(dial)
	go func() {
		defer e.wg.Done()
		defer e.release(p)
		e.dial(p, d, address)
	}()
	return d, nil
}

// dial opens a stream and runs it.
func (e *endpoint) dial(p *peer, d *dial, address string) {
	ctx, cancel := context.WithTimeout(e.life, e.transport.dialTimeout)
	defer cancel()
	s, first, err := e.dialStream(ctx, p, address)
	if err == nil {
		err = p.attach(ctx, s)
		if err != nil {
			s.abort()
		}
	}
	if err != nil {
		select {
		case <-e.closing:
			err = link.ErrClosed
		default:
		}
		p.dialed(d, address, err)
		return
	}
	p.dialed(d, address, nil)
	err = s.run(first)
	s.abort()
	p.detach(s)
	e.logEnd(s, err)
}

// dialStream connects and introduces this node.
func (e *endpoint) dialStream(ctx context.Context, p *peer, address string) (*stream, firstBatch, error) {
	conn, err := e.connect(ctx, address)
	if err != nil {
		return nil, nil, err
	}
	// The stream outlives ctx, which only bounds its beginning.
	life, cancel := context.WithCancel(e.life)
	abort := func() {
		cancel()
		_ = conn.Close()
	}
	stop := context.AfterFunc(ctx, abort)
	wire, hello, first, err := e.introduce(life, conn, p.session, address)
	if err != nil || !stop() {
		abort()
		if ctx.Err() != nil {
			err = fmt.Errorf("connectlink: no answer from %q at %q within %v: %w",
				p.session, address, e.transport.dialTimeout, ctx.Err())
		}
		return nil, nil, err
	}
	s := e.newStream(p, wire, hello)
	s.dialed = true
	s.abort = abort
	s.endSend = func() { _ = wire.CloseSend() }
	return s, first, nil
}

// connect opens the one connection of a stream.
func (e *endpoint) connect(ctx context.Context, address string) (*http.ClientConn, error) {
	protocols := new(http.Protocols)
	tlsConfig := clientTLS(&e.cfg)
	// Not HTTP/1: with it, net/http would not speak HTTP/2 to http://.
	if tlsConfig == nil {
		protocols.SetUnencryptedHTTP2(true)
	} else {
		protocols.SetHTTP2(true)
	}
	t := &http.Transport{
		Protocols:              protocols,
		HTTP2:                  e.transport.http2(),
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    e.transport.dialTimeout,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			if tlsConfig != nil {
				return conn, nil
			}
			return newConn(conn), nil
		},
	}
	conn, err := t.NewClientConn(ctx, e.scheme(), address)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w: %w", link.ErrRefused, err)
	}
	return nil, fmt.Errorf("connectlink: cannot connect to %q: %w", address, err)
}

func (e *endpoint) scheme() string {
	if e.cfg.TLS != nil {
		return "https"
	}
	return "http"
}

// introduce opens the Connect stream and exchanges Hellos.
func (e *endpoint) introduce(life context.Context, conn *http.ClientConn, session, address string) (
	connect.ClientStream, *linkv1.Hello, firstBatch, error,
) {
	wire, err := e.openStream(life, conn, address)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("connectlink: %w", err)
	}
	mine, err := e.hello(session)
	if err != nil {
		return nil, nil, nil, err
	}
	// When the peer refuses the stream, Send may only know that it has ended;
	// Receive knows why.
	sendErr := wire.Send(mine)
	var first firstBatch
	if err := wire.Receive(&first); err != nil {
		return nil, nil, nil, errors.Join(refusal(err, session, address), sendErr)
	}
	hello, err := first.hello()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("connectlink: %q: %w", address, err)
	}
	if err := e.checkHello(hello, session); err != nil {
		return nil, nil, nil, refusal(err, session, address)
	}
	return wire, hello, first, nil
}

func (e *endpoint) openStream(life context.Context, conn *http.ClientConn, address string) (connect.ClientStream, error) {
	transport := connecthttp.NewTransport(oneConn{conn}, e.scheme()+"://"+address, e.connectOptions()...)
	return transport.NewClientStream(life, exchangeSpec())
}

// refusal says why a peer did not answer with its Hello.
func refusal(err error, session, address string) error {
	if connect.CodeOf(err) == codeWrongPeer {
		return fmt.Errorf("%w: %w", link.ErrWrongPeer, err)
	}
	return fmt.Errorf("connectlink: %q at %q refuses the stream: %w", session, address, err)
}

// oneConn is an HTTP client with one connection.
type oneConn struct{ conn *http.ClientConn }

func (c oneConn) Do(r *http.Request) (*http.Response, error) {
	r.Body = newEnvelopeReader(r.Body)
	return c.conn.RoundTrip(r)
}

// logEnd reports streams that did not end in order.
func (e *endpoint) logEnd(s *stream, err error) {
	switch {
	case err == nil:
	case isMalformed(err):
		e.cfg.Logger.Warn("a peer sent what the link does not take", "peer", s.peer.session, "error", err)
	default:
		e.cfg.Logger.Info("the stream to a peer broke", "peer", s.peer.session, "error", err)
	}
}
