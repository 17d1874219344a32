package connectlink

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"connectrpc.com/connect/v2"
)

// codec hands Connect batches that are encoded already and takes them from it
// unparsed. Under the name of the protobuf codec it is plain Connect on the
// wire. Messages are []byte to send, and to receive *firstBatch, which keeps a
// copy, or *inbound, which reads the batch in place.
type codec struct{}

func (codec) Name() string { return connect.CodecNameProto }

func (codec) MarshalWrite(_ context.Context, dst io.Writer, msg any) error {
	batch, ok := msg.([]byte)
	if !ok {
		return fmt.Errorf("connectlink: cannot send a %T", msg)
	}
	_, err := dst.Write(batch)
	return err
}

func (codec) UnmarshalRead(_ context.Context, src io.Reader, msg any) error {
	var batch []byte
	if buffer, ok := src.(*bytes.Buffer); ok {
		batch = buffer.Bytes()
	} else {
		var err error
		if batch, err = io.ReadAll(src); err != nil {
			return err
		}
	}
	switch msg := msg.(type) {
	case *firstBatch:
		*msg = bytes.Clone(batch)
		return nil
	case *inbound:
		return msg.read(batch)
	}
	return fmt.Errorf("connectlink: cannot receive a %T", msg)
}
