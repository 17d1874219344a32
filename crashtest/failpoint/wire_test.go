//go:build unix

package failpoint

import (
	"bytes"
	"context"
	"net"
	"sync"
)

// wire is the connections to the store. It springs the trap once bytes that it
// expects were handed to the kernel: a request is then on its way, whatever
// becomes of the process, and no answer has come.
type wire struct {
	trap *trap

	mu      sync.Mutex
	needles [][]byte
}

// expect waits for a request with these bytes.
func (w *wire) expect(needle string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.needles = append(w.needles, []byte(needle))
}

func (w *wire) dial(ctx context.Context, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &watchedConn{c, w}, nil
}

type watchedConn struct {
	net.Conn
	wire *wire
}

// Write implements net.Conn.
func (c *watchedConn) Write(p []byte) (int, error) {
	awaited := c.wire.has(p)
	n, err := c.Conn.Write(p)
	if awaited && err == nil {
		c.wire.trap.strike()
	}
	return n, err
}

func (w *wire) has(p []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, needle := range w.needles {
		if bytes.Contains(p, needle) {
			w.needles = nil
			return true
		}
	}
	return false
}
