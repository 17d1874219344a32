package connectlink

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/cajun-go/cajun/gen/cajun/link/v1"
	"github.com/cajun-go/cajun/link"
)

const (
	// maxMaxMessage keeps a batch within what the length in front of it, and
	// the sizes on 32-bit machines, can say.
	maxMaxMessage = 1 << 30
	// maxHello bounds the names in a Hello, in bytes each.
	maxHello = 1 << 10
)

// batchLimit is the size of the largest batch for a receiver that takes
// payloads of maxMessage bytes.
func batchLimit(maxMessage int) int { return maxMessage + link.MaxOverhead + 64 }

// appendHello appends a batch that holds nothing but a Hello.
func appendHello(b []byte, h *linkv1.Hello) ([]byte, error) {
	encoded, err := proto.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("connectlink: the cluster's or the session's name: %w", err)
	}
	b = protowire.AppendTag(b, link.BatchHello, protowire.BytesType)
	return protowire.AppendBytes(b, encoded), nil
}

// firstBatch is the first message of a stream in either direction, which has
// to begin with a Hello and may have frames behind it.
type firstBatch []byte

func (b firstBatch) hello() (*linkv1.Hello, error) {
	var hello *linkv1.Hello
	err := link.WalkBatch(b, func(encoded []byte) error {
		if hello != nil {
			return fmt.Errorf("%w: a second Hello", link.ErrMalformed)
		}
		hello = &linkv1.Hello{}
		if err := proto.Unmarshal(encoded, hello); err != nil {
			return fmt.Errorf("%w: %w", link.ErrMalformed, err)
		}
		return nil
	}, func([]byte) error {
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case hello == nil:
		return nil, fmt.Errorf("%w: a stream has to begin with a Hello", link.ErrMalformed)
	case len(hello.Cluster) > maxHello || len(hello.From) > maxHello || len(hello.To) > maxHello:
		return nil, fmt.Errorf("%w: a name of more than %d bytes in Hello", link.ErrTooLarge, maxHello)
	case hello.From == "":
		return nil, fmt.Errorf("%w: a Hello from no session", link.ErrMalformed)
	case hello.MaxMessage == 0:
		hello.MaxMessage = link.DefaultMaxMessage
	case hello.MaxMessage > maxMaxMessage:
		hello.MaxMessage = maxMaxMessage
	}
	return hello, nil
}

// inbound reads the batches of one stream and calls the receiver.
type inbound struct {
	from     string
	receiver link.Receiver
	decoder  *link.Decoder
	// hello is what a Hello in a batch is answered with.
	hello func([]byte) error
}

func newInbound(cfg *link.Config, from string) *inbound {
	return &inbound{
		from: from, receiver: cfg.Receiver, decoder: link.NewDecoder(cfg.MaxMessage),
		hello: func([]byte) error { return errSecondHello },
	}
}

var errSecondHello = fmt.Errorf("%w: a second Hello", link.ErrMalformed)

// read delivers all frames of a batch, up to the first that is malformed.
func (in *inbound) read(batch []byte) error {
	return link.WalkBatch(batch, in.hello, in.readFrame)
}

// readFirst delivers the frames behind the Hello.
func (in *inbound) readFirst(batch firstBatch) error {
	return link.WalkBatch(batch, func([]byte) error { return nil }, in.readFrame)
}

func (in *inbound) readFrame(encoded []byte) error {
	f, err := in.decoder.Frame(encoded)
	if err != nil {
		return err
	}
	if f != (link.Frame{}) {
		in.receiver.Receive(in.from, f)
	}
	return nil
}

// checkFrame refuses what the peer would refuse.
func checkFrame(f *link.Frame, peerMax int) error {
	size := 0
	switch {
	case f.Request != nil:
		size = len(f.Request.Payload)
	case f.Response != nil:
		size = len(f.Response.Payload)
	}
	if size > peerMax {
		return fmt.Errorf("%w: %d payload bytes, the peer takes %d", link.ErrTooLarge, size, peerMax)
	}
	return nil
}

func toUint32(n int) uint32 { return uint32(min(n, math.MaxUint32)) }

// isMalformed reports whether a peer's message, not its connection, was at
// fault.
func isMalformed(err error) bool {
	return errors.Is(err, link.ErrMalformed) || errors.Is(err, link.ErrTooLarge)
}
