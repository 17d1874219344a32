package embedetcd_test

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/metadata/embedetcd"
)

// proxy is a stable address in front of servers that come and go.
type proxy struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex
	backend string
	conns   map[net.Conn]struct{}
	closed  bool
	muted   atomic.Bool
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, conns: make(map[net.Conn]struct{})}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.cut()
		p.wg.Wait()
	})
	return p
}

// config is how to connect through the proxy.
func (p *proxy) config(s *embedetcd.Server) clientv3.Config {
	cfg := s.Config()
	cfg.Endpoints = []string{"http://" + p.listener.Addr().String()}
	return cfg
}

// lead sends new connections to a server, or nowhere when it is nil.
func (p *proxy) lead(s *embedetcd.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.backend = ""
	if s != nil {
		p.backend = s.Config().Endpoints[0][len("http://"):]
	}
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// hold registers a connection; one that comes too late is closed.
func (p *proxy) hold(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		backend := p.backend
		p.mu.Unlock()
		out, err := net.Dial("tcp", backend)
		if err != nil {
			in.Close()
			continue
		}
		if !p.hold(in) || !p.hold(out) {
			in.Close()
			return
		}
		p.wg.Go(func() { p.copy(in, out) })
		p.wg.Go(func() { p.copy(out, in) })
	}
}

func (p *proxy) copy(to, from net.Conn) {
	io.Copy(muting{to, &p.muted}, from)
	to.Close()
	from.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, to)
	delete(p.conns, from)
}

// muting drops what is written while it is muted.
type muting struct {
	io.Writer
	muted *atomic.Bool
}

func (m muting) Write(b []byte) (int, error) {
	if m.muted.Load() {
		return len(b), nil
	}
	return m.Writer.Write(b)
}
