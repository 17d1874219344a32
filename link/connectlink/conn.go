package connectlink

import (
	"bufio"
	"encoding/binary"
	"net"
	"sync"
)

const (
	readBuffer = 64 << 10
	// maxHeld bounds the sum of the window updates that a conn holds back. It
	// is far below the windows, see conn.
	maxHeld = streamWindow / 4

	frameHead         = 9 // of HTTP/2
	frameWindowUpdate = 0x8
	windowUpdateSize  = frameHead + 4
)

// conn saves system calls under HTTP/2 without TLS. It reads ahead, as
// net/http reads the head and the body of each frame apart. And it holds
// window updates back, which net/http writes for every 4 KiB that were read,
// until something else is written: replies follow soon, and an update that
// comes late does no harm as long as the window is not used up. When the peer
// has used it up, there is at least the window less maxHeld under way to this
// side, and reading that brings the sum over maxHeld.
type conn struct {
	net.Conn
	reader *bufio.Reader

	mu   sync.Mutex
	held []byte // window updates
	sum  uint64 // of their increments
}

func newConn(c net.Conn) net.Conn {
	return &conn{Conn: c, reader: bufio.NewReaderSize(c, readBuffer)}
}

func (c *conn) Read(p []byte) (int, error) { return c.reader.Read(p) }

func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum, updates := windowUpdates(p)
	if updates {
		c.sum += sum
	}
	if updates && c.sum < maxHeld {
		c.held = append(c.held, p...)
		return len(p), nil
	}
	if len(c.held) == 0 {
		c.sum = 0
		return c.Conn.Write(p)
	}
	c.held = append(c.held, p...)
	before := len(c.held) - len(p)
	n, err := c.Conn.Write(c.held)
	c.held, c.sum = c.held[:0], 0
	if cap(c.held) > keepBatch {
		c.held = nil
	}
	return max(0, n-before), err
}

// windowUpdates reports whether p consists of nothing but window updates, and
// their sum.
func windowUpdates(p []byte) (sum uint64, ok bool) {
	if len(p) == 0 || len(p)%windowUpdateSize != 0 {
		return 0, false
	}
	for ; len(p) > 0; p = p[windowUpdateSize:] {
		head := binary.BigEndian.Uint32(p) // the length in 24 bits, and the type
		if head != (windowUpdateSize-frameHead)<<8|frameWindowUpdate {
			return 0, false
		}
		sum += uint64(binary.BigEndian.Uint32(p[frameHead:]))
	}
	return sum, true
}

// listener makes a conn of each connection that it accepts.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newConn(c), nil
}
