package bench

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
)

// The limit: frames over one TCP connection in batches, with a yield before
// each write so that runnable callers join the batch. It has no routing, no
// encoding of messages and no actors.

// tcpEnd is one end of the connection. A frame is an ID, a length and a
// payload.
type tcpEnd struct {
	conn net.Conn
	mu   sync.Mutex
	room *sync.Cond
	out  []byte
	done bool
}

// serveTCP answers every frame of one connection with the same frame.
func serveTCP() (address string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	var all sync.WaitGroup
	all.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		end := newTCPEnd(conn)
		all.Go(end.write)
		end.read(end.send)
		end.close()
	})
	return listener.Addr().String(), func() { listener.Close(); all.Wait() }, nil
}

// newTCPEcho connects to a server process and returns a call.
func newTCPEcho(b *testing.B, callers int) func(int) error {
	conn, err := net.Dial("tcp", startServer(b, "tcp"))
	if err != nil {
		b.Fatal(err)
	}
	end := newTCPEnd(conn)
	replies := make([]chan struct{}, callers)
	for i := range replies {
		replies[i] = make(chan struct{}, 1)
	}
	var all sync.WaitGroup
	all.Go(end.write)
	all.Go(func() { end.read(func(id uint64, _ []byte) { replies[id] <- struct{}{} }) })
	b.Cleanup(func() {
		end.close()
		all.Wait()
	})
	payload := make([]byte, 32)
	return func(c int) error {
		end.send(uint64(c), payload)
		<-replies[c]
		return nil
	}
}

func newTCPEnd(conn net.Conn) *tcpEnd {
	e := &tcpEnd{conn: conn}
	e.room = sync.NewCond(&e.mu)
	return e
}

func (e *tcpEnd) send(id uint64, payload []byte) {
	e.mu.Lock()
	e.out = binary.AppendUvarint(e.out, id)
	e.out = binary.AppendUvarint(e.out, uint64(len(payload)))
	e.out = append(e.out, payload...)
	e.mu.Unlock()
	e.room.Signal()
}

func (e *tcpEnd) write() {
	var batch []byte
	for {
		e.mu.Lock()
		for len(e.out) == 0 && !e.done {
			e.room.Wait()
		}
		e.mu.Unlock()
		runtime.Gosched()
		e.mu.Lock()
		batch, e.out = e.out, batch[:0]
		done := e.done
		e.mu.Unlock()
		if done {
			return
		}
		if _, err := e.conn.Write(batch); err != nil {
			return
		}
	}
}

func (e *tcpEnd) read(receive func(id uint64, payload []byte)) {
	r := bufio.NewReaderSize(e.conn, 64<<10)
	var payload []byte
	for {
		id, err := binary.ReadUvarint(r)
		if err != nil {
			return
		}
		n, err := binary.ReadUvarint(r)
		if err != nil {
			return
		}
		if uint64(cap(payload)) < n {
			payload = make([]byte, n)
		}
		payload = payload[:n]
		if _, err := io.ReadFull(r, payload); err != nil {
			return
		}
		receive(id, payload)
	}
}

func (e *tcpEnd) close() {
	e.mu.Lock()
	e.done = true
	e.mu.Unlock()
	e.room.Signal()
	e.conn.Close()
}
