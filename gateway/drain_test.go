package gateway_test

import (
	"bytes"
	"net"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestRefusalsDoNotResetStreams: a client of HTTP/2 that is refused for what is in
// its headers gets to send a small body first. A reset stream is all that some of
// them would tell of the response.
func TestRefusalsDoNotResetStreams(t *testing.T) {
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		conn := dial(t, base)
		if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
			t.Fatal(err)
		}
		f := http2.NewFramer(conn, conn)
		must(t, f.WriteSettings())
		for i, c := range []struct{ path, contentType string }{
			{"/actors/a/no.such.Service/Method", "application/json"}, {"/desk.v1.Desk/Nothing", "application/json"}, {"/", "application/json"},
			{"/actors/a/desk.v1.Desk/Try", "text/plain"}, {"/actors/%ff/desk.v1.Desk/Try", "application/json"},
		} {
			stream := uint32(2*i + 1)
			must(t, f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, EndHeaders: true, BlockFragment: headerBlock(t,
				":method", "POST", ":scheme", "http", ":authority", conn.RemoteAddr().(*net.TCPAddr).String(), ":path", c.path, "content-type", c.contentType, "content-length", "2")}))
			// The refusal has time to come.
			for range 3 {
				ping(t, f, stream)
			}
			must(t, f.WriteData(stream, true, []byte("{}")))
			for ended := false; !ended; {
				frame, err := f.ReadFrame()
				must(t, err)
				if _, reset := frame.(*http2.RSTStreamFrame); reset {
					t.Fatalf("%s: the stream was reset", c.path)
				}
				ended = frame.Header().StreamID == stream && frame.Header().Flags.Has(http2.FlagDataEndStream)
			}
			ping(t, f, stream)
		}
	})
}

// ping waits until the server has read all that was sent, and fails on a stream that
// is reset meanwhile.
func ping(t *testing.T, f *http2.Framer, stream uint32) {
	t.Helper()
	must(t, f.WritePing(false, [8]byte{byte(stream)}))
	for {
		frame, err := f.ReadFrame()
		must(t, err)
		switch frame := frame.(type) {
		case *http2.RSTStreamFrame:
			t.Fatalf("the stream %d was reset: %v", frame.StreamID, frame.ErrCode)
		case *http2.PingFrame:
			if frame.IsAck() {
				return
			}
		}
	}
}

// headerBlock encodes headers, which come in pairs.
func headerBlock(t *testing.T, headers ...string) []byte {
	t.Helper()
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for i := 0; i < len(headers); i += 2 {
		must(t, e.WriteField(hpack.HeaderField{Name: headers[i], Value: headers[i+1]}))
	}
	return block.Bytes()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
