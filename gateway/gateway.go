package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	cajun "github.com/cajun-go/cajun/runtime"
)

// stubborn is how long a closing gateway waits for calls whose contexts have
// ended.
const stubborn = 5 * time.Second

// lull is how long the gateway of a node that has drained serves connections that
// it has accepted, before the server stops: that drops requests which come then.
const lull = 250 * time.Millisecond

// gateway is a server that lives and dies with its node.
type gateway struct {
	handler  *handler
	listener net.Listener
	server   *http.Server
	address  string
	grace    time.Duration
	logger   *slog.Logger
	// serving ends when nothing is accepted any more, and connections are those
	// that are open.
	serving     chan struct{}
	connections connections
	// abort ends every request.
	abort  context.CancelFunc
	closed sync.Once
	err    error
}

// listen starts the gateway of a node.
func listen(n *cajun.Node, addr string, c *config) (cajun.Service, error) {
	if err := errors.Join(append(c.errs, checkAddress(addr, c))...); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	h := makeHandler(n, c)
	base, abort := context.WithCancel(context.Background())
	g := &gateway{handler: h, address: c.advertise, grace: c.grace, logger: h.logger, serving: make(chan struct{}), abort: abort}
	if g.address == "" {
		g.address = listener.Addr().String()
	}
	g.server = &http.Server{
		Handler:           h.cross(h),
		ReadHeaderTimeout: c.headerTimeout,
		IdleTimeout:       c.idleTimeout,
		MaxHeaderBytes:    c.maxHeader,
		ErrorLog:          slog.NewLogLogger(h.logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnState:         g.connections.observe,
		Protocols:         new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			SendPingTimeout:      30 * time.Second, // a peer that vanished is found out
			PingTimeout:          15 * time.Second,
			WriteByteTimeout:     c.transferTimeout,
		},
	}
	g.server.Protocols.SetHTTP1(true)
	g.listener = netutil.LimitListener(listener, c.maxConnections)
	if c.tls == nil {
		g.server.Protocols.SetUnencryptedHTTP2(true)
	} else {
		g.server.Protocols.SetHTTP2(true)
		g.server.TLSConfig = c.tls.Clone()
	}
	go g.serve(g.listener)
	g.logger.Info("gateway started", "address", listener.Addr().String(), "tls", c.tls != nil)
	return g, nil
}

// checkAddress refuses to listen where strangers are, unless the user knows.
func checkAddress(addr string, c *config) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("gateway: the address %q is not host:port: %w", addr, err)
	}
	if c.tls != nil && len(c.tls.Certificates) == 0 && c.tls.GetCertificate == nil && c.tls.GetConfigForClient == nil {
		return errors.New("gateway: the config of WithTLS has no certificate")
	}
	if c.tls != nil && c.tls.ClientAuth >= tls.VerifyClientCertIfGiven && c.tls.ClientCAs == nil && c.tls.GetConfigForClient == nil {
		return errors.New("gateway: the config of WithTLS verifies clients and has no ClientCAs: every authority that the system trusts could then name them; set ClientCAs")
	}
	c.hosts.any = len(c.hosts.names) == 0 && (c.tls != nil || !isLoopback(host))
	if c.tls != nil || c.insecure || isLoopback(host) {
		return nil
	}
	return fmt.Errorf("gateway: listening on %q without TLS would let everyone on that network call every actor and read every call: "+
		"use WithTLS, or consent with WithInsecure, or listen on a loopback address", addr)
}

// serve accepts connections until the server is closed.
func (g *gateway) serve(l net.Listener) {
	defer close(g.serving)
	var err error
	if g.server.TLSConfig != nil {
		err = g.server.ServeTLS(l, "", "")
	} else {
		err = g.server.Serve(l)
	}
	if !errors.Is(err, http.ErrServerClosed) && g.handler.closing.Err() == nil {
		g.logger.Error("the gateway accepts no more connections", "error", err)
	}
}

// GatewayAddress implements cajun.Announced.
func (g *gateway) GatewayAddress() string { return g.address }

// lull accepts nothing more and serves what was accepted, each connection for one
// more request, if the node has drained: none of its calls is to be lost.
func (g *gateway) lull(ctx context.Context) {
	if !g.handler.node.Draining() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lull)
	defer cancel()
	_ = g.listener.Close()
	g.connections.wait(ctx)
}

// Close implements cajun.Service. It accepts nothing more, gives requests until
// the grace is over to end, cuts off the others, and waits.
func (g *gateway) Close() error {
	g.closed.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), g.grace)
		defer cancel()
		g.handler.close() // streams end at once
		g.lull(ctx)
		if err := g.server.Shutdown(ctx); err != nil {
			_ = g.server.Close()
		}
		g.abort()
		late, stop := context.WithTimeout(context.Background(), stubborn)
		defer stop()
		<-g.serving
		if !g.handler.calls.wait(late) || !g.connections.wait(late) {
			g.err = fmt.Errorf("gateway: calls still run %v after they were cut off: an interceptor or the function of WithAuthorize ignores its context", stubborn)
		}
	})
	return g.err
}
