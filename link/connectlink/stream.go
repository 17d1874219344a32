package connectlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/cajun-go/cajun/link"
)

// errPeerClosed is what PeerDown says when the peer closed its end in order.
var errPeerClosed = errors.New("connectlink: the peer closed its endpoint")

// messages is the part that both ends of a Connect stream share.
type messages interface {
	Send(msg any) error
	Receive(msg any) error
}

// stream is an open stream to a peer, after the introductions.
type stream struct {
	peer    *peer
	dialed  bool // by this node
	wire    messages
	out     *outbox
	in      *inbound
	peerMax int // the largest payload that the peer takes
	// endSend tells the peer that nothing more comes; the dialed side of a
	// stream can only do that by ending it.
	endSend func()
	// confirmed, guarded by peer.mu, is set when the peer has added the stream,
	// too.
	confirmed bool
	// ended is set when one side has ended the stream in order. Errors are
	// then its echo.
	ended atomic.Bool
	// abort makes Send and Receive of wire return soon.
	abort func()
}

// send hands a frame to the writer.
func (s *stream) send(ctx context.Context, f *link.Frame) error {
	if err := checkFrame(f, s.peerMax); err != nil {
		return err
	}
	return s.out.add(ctx, f)
}

// run carries frames until the stream ends. It returns nil when both sides
// ended it in order.
func (s *stream) run(first firstBatch) error {
	written := make(chan error, 1)
	go func() { written <- s.write() }()
	err := s.read(first)
	if err == nil {
		s.ended.Store(true)
		s.peer.retire(s)
		if err := <-written; err != nil {
			s.peer.lost(s, err)
		}
		return nil
	}
	s.giveUp()
	// The reader knows better than the writer what went wrong, but not when
	// the writer was first.
	if writeErr := <-written; writeErr != nil {
		err = fmt.Errorf("%w (and sending: %w)", err, writeErr)
	}
	s.peer.fail(s, err)
	return err
}

// giveUp makes the reader and the writer return.
func (s *stream) giveUp() {
	s.out.close(true)
	s.abort()
}

func (s *stream) write() error {
	batch := []byte{}
	if s.dialed {
		// An empty batch tells the peer that the stream is in use here.
		if err := s.wire.Send(batch); err != nil {
			s.giveUp()
			return err
		}
	}
	for {
		var ok bool
		if batch, ok = s.out.take(batch); !ok {
			if !s.out.isDropped() {
				s.endSend()
			}
			return nil
		}
		if err := s.wire.Send(batch); err != nil {
			s.giveUp()
			return err
		}
	}
}

// read returns nil when the peer has ended the stream in order.
func (s *stream) read(first firstBatch) error {
	if err := s.in.readFirst(first); err != nil {
		return err
	}
	for confirmed := s.dialed; ; {
		err := s.wire.Receive(s.in)
		switch {
		case err == nil && confirmed:
		case err == nil:
			confirmed = true
			s.peer.confirm(s)
		case errors.Is(err, io.EOF), s.ended.Load():
			return nil
		default:
			return err
		}
	}
}
