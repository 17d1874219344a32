// Package connectlink is the link between nodes on a network: one long-lived
// Connect stream per pair of nodes, over HTTP/2 with or without TLS, whichever
// of the two dialed. Frames are written by hand into a batch that all senders
// share, and a whole batch is one protobuf message of cajun.link.v1, so that
// what is on the wire is plain Connect.
//
// # Trust
//
// Each node says in its first message which cluster and session it is, and
// whom it means to talk to. This keeps nodes that merely took over an address
// apart; it is not authentication. Whoever can reach the address of a link
// without mutual TLS can claim any session, call any actor, and end the stream
// of the session that it claims to be. So the link listens on loopback unless
// Config.TLS is set or Config.Insecure consents. With mutual TLS (ClientAuth
// set to tls.RequireAndVerifyClientCert, and ClientCAs) only holders of a
// certificate of the cluster get that far; between those, sessions are taken
// at their word.
//
// # Failure
//
// A stream that breaks is reported with PeerDown, and what was under way on it
// may be lost. A dead peer whose connection stays silent is found out by
// HTTP/2 pings. When two nodes dial each other at once both streams work, and
// the one that the lower session dialed stays. If either breaks, both end, so
// that PeerDown always covers everything that was lost.
package connectlink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cajun-go/cajun/link"
)

const (
	defaultDialTimeout = 5 * time.Second
	defaultPingAfter   = 5 * time.Second
	defaultPingTimeout = 5 * time.Second
	defaultSendBuffer  = 1 << 20
)

// New returns a transport over Connect.
func New(opts ...Option) link.Transport {
	t := &transport{
		dialTimeout: defaultDialTimeout,
		pingAfter:   defaultPingAfter,
		pingTimeout: defaultPingTimeout,
		sendBuffer:  defaultSendBuffer,
	}
	for _, o := range opts {
		o(t)
	}
	return t
}

// Option changes a transport.
type Option func(*transport)

// WithDialTimeout bounds the time from dialing a peer to a stream that is
// ready for frames, and on the side that was dialed the time from the first
// byte to the peer's introduction. The default is 5 s.
func WithDialTimeout(d time.Duration) Option {
	return func(t *transport) { t.dialTimeout = d }
}

// WithPing sets after how long without a sign of life a peer is asked for one,
// and how long it may take to answer before its connection is closed. The
// default is 5 s each.
func WithPing(after, timeout time.Duration) Option {
	return func(t *transport) { t.pingAfter, t.pingTimeout = after, timeout }
}

// WithSendBuffer bounds how many bytes wait for one peer to read them, before
// Send waits. The default is 1 MiB; a single larger frame still passes.
func WithSendBuffer(bytes int) Option {
	return func(t *transport) { t.sendBuffer = bytes }
}

type transport struct {
	dialTimeout, pingAfter, pingTimeout time.Duration
	sendBuffer                          int
}

// Open implements link.Transport.
func (t *transport) Open(ctx context.Context, cfg link.Config) (link.Endpoint, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if t.dialTimeout <= 0 || t.pingAfter <= 0 || t.pingTimeout <= 0 || t.sendBuffer <= 0 {
		return nil, errors.New("connectlink: the dial timeout, the ping times and the send buffer must be above zero")
	}
	if cfg.Session == "" || cfg.Receiver == nil {
		return nil, errors.New("connectlink: Config needs a Session and a Receiver")
	}
	if cfg.MaxMessage <= 0 {
		cfg.MaxMessage = link.DefaultMaxMessage
	}
	if cfg.MaxMessage > maxMaxMessage {
		return nil, fmt.Errorf("connectlink: Config.MaxMessage is %d, the limit is %d", cfg.MaxMessage, maxMaxMessage)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := newEndpoint(t, cfg)
	if cfg.ClientOnly {
		return e, nil
	}
	if err := e.listen(ctx); err != nil {
		return nil, err
	}
	return e, nil
}
