package connectlink

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"testing"
	"testing/iotest"
)

// tape is a connection that records what is written.
type tape struct {
	net.Conn
	writes [][]byte
	err    error
}

func (t *tape) Write(p []byte) (int, error) {
	t.writes = append(t.writes, bytes.Clone(p))
	return len(p), t.err
}

func windowUpdate(stream, increment uint32) []byte {
	b := []byte{0, 0, 4, frameWindowUpdate, 0}
	b = binary.BigEndian.AppendUint32(b, stream)
	return binary.BigEndian.AppendUint32(b, increment)
}

func TestConnHoldsWindowUpdatesBack(t *testing.T) {
	under := &tape{}
	c := newConn(under)
	write := func(p []byte) {
		t.Helper()
		if n, err := c.Write(p); n != len(p) || err != nil {
			t.Fatalf("Write says %d, %v", n, err)
		}
	}
	write(windowUpdate(0, 4096))
	write(append(windowUpdate(0, 4096), windowUpdate(1, 4096)...))
	if len(under.writes) != 0 {
		t.Fatal("a window update was written at once")
	}
	data := []byte("data of some other kind")
	write(data)
	want := append(append(append(windowUpdate(0, 4096), windowUpdate(0, 4096)...), windowUpdate(1, 4096)...), data...)
	if len(under.writes) != 1 || !bytes.Equal(under.writes[0], want) {
		t.Fatalf("wrote %q", under.writes)
	}
	write(data)
	if len(under.writes) != 2 || !bytes.Equal(under.writes[1], data) {
		t.Fatalf("wrote %q", under.writes[1:])
	}
	for range maxHeld/4096 - 1 {
		write(windowUpdate(0, 4096))
	}
	if len(under.writes) != 2 {
		t.Fatal("too early")
	}
	write(windowUpdate(0, 4096))
	if len(under.writes) != 3 || len(under.writes[2]) != maxHeld/4096*windowUpdateSize {
		t.Fatal("updates of a good part of the window are still held")
	}
	write(windowUpdate(0, maxHeld))
	if len(under.writes) != 4 {
		t.Error("one large update is held")
	}
	for _, other := range [][]byte{
		{0, 0, 4, 0x6, 0, 0, 0, 0, 0, 1, 2, 3, 4}, // as long, but a PING's head
		append(windowUpdate(0, 1), make([]byte, windowUpdateSize)...),
	} {
		before := len(under.writes)
		write(other)
		if len(under.writes) != before+1 {
			t.Errorf("%v was held", other)
		}
	}
	write(windowUpdate(0, 1))
	under.err = io.ErrClosedPipe
	if n, err := c.Write(data); n != len(data) || err != io.ErrClosedPipe {
		t.Errorf("Write says %d, %v", n, err)
	}
}

func TestEnvelopeReader(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var wire []byte
		for range random.IntN(5) {
			message := make([]byte, random.IntN(50))
			wire = append(wire, 0)
			wire = binary.BigEndian.AppendUint32(wire, uint32(len(message)))
			wire = append(wire, message...)
		}
		for _, slow := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.DataErrReader, func(r io.Reader) io.Reader { return r }} {
			r := newEnvelopeReader(io.NopCloser(slow(bytes.NewReader(wire))))
			var got []byte
			p := make([]byte, 1+random.IntN(60))
			for {
				n, err := r.Read(p)
				got = append(got, p[:n]...)
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, wire) {
				t.Fatalf("read %v, want %v", got, wire)
			}
		}
	}
	whole := newEnvelopeReader(io.NopCloser(io.MultiReader(
		bytes.NewReader([]byte{0, 0, 0, 0, 3}), bytes.NewReader([]byte("abc")))))
	p := make([]byte, 100)
	if n, err := whole.Read(p); n != 8 || err != nil {
		t.Errorf("the length and the message come apart: %d bytes, %v", n, err)
	}
	cut := newEnvelopeReader(io.NopCloser(bytes.NewReader([]byte{0, 0})))
	if _, err := cut.Read(p); err != io.ErrUnexpectedEOF {
		t.Errorf("a cut length: %v", err)
	}
}

func TestEnvelopeWriter(t *testing.T) {
	recorder := httptest.NewRecorder()
	w := &envelopeWriter{ResponseWriter: recorder}
	for _, part := range []string{"length", "message"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if recorder.Body.Len() != 0 {
		t.Error("the length was written apart")
	}
	w.Flush()
	if recorder.Body.String() != "lengthmessage" || !recorder.Flushed {
		t.Errorf("wrote %q", recorder.Body)
	}
}
