package connectlink

import (
	"encoding/binary"
	"io"
	"net/http"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
)

const (
	maxHeaderBytes = 16 << 10
	// Each stream has a connection of its own; the second is for the moment
	// in which it takes over from one that broke.
	maxStreamsPerConn = 2
	maxHTTPFrame      = 64 << 10
	streamWindow      = 2 << 20
	connWindow        = 3 << 20 // net/http takes values below 4 MiB
	envelopePrefix    = 5
)

// procedure is the one that this package serves.
const procedure = "/cajun.link.v1.LinkService/Exchange"

func exchangeSpec() connect.Spec {
	return connect.Spec{StreamType: connect.StreamTypeBidi, Procedure: procedure}
}

func (t *transport) http2() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          maxStreamsPerConn,
		MaxReadFrameSize:              maxHTTPFrame,
		MaxReceiveBufferPerStream:     streamWindow,
		MaxReceiveBufferPerConnection: connWindow,
		SendPingTimeout:               t.pingAfter,
		PingTimeout:                   t.pingTimeout,
	}
}

// connectOptions are those of both ends. Compression is off: it costs more
// than it saves for messages this small.
func (e *endpoint) connectOptions() []connecthttp.Option {
	return []connecthttp.Option{
		connecthttp.WithCodecs(codec{}),
		connecthttp.WithCompressors(),
		connecthttp.WithReadMaxBytes(batchLimit(e.cfg.MaxMessage)),
	}
}

// envelopeReader joins the length in front of a message, which Connect writes
// apart, with the message. Otherwise net/http would send each in a frame and
// with a system call of its own.
type envelopeReader struct {
	io.ReadCloser
	prefix [envelopePrefix]byte
	held   int // bytes of prefix that were not yet read
	rest   int // bytes of the message that were not yet read
}

func newEnvelopeReader(r io.ReadCloser) io.ReadCloser { return &envelopeReader{ReadCloser: r} }

func (r *envelopeReader) Read(p []byte) (int, error) {
	if r.held == 0 && r.rest == 0 {
		if _, err := io.ReadFull(r.ReadCloser, r.prefix[:]); err != nil {
			return 0, err
		}
		r.held = envelopePrefix
		r.rest = int(binary.BigEndian.Uint32(r.prefix[1:]))
	}
	n := copy(p, r.prefix[envelopePrefix-r.held:])
	r.held -= n
	if r.held > 0 || r.rest == 0 || n == len(p) {
		return n, nil
	}
	m, err := r.ReadCloser.Read(p[n:min(len(p), n+r.rest)])
	r.rest -= m
	return n + m, err
}

// envelopeWriter does the same for responses: Connect flushes after each
// message.
type envelopeWriter struct {
	http.ResponseWriter
	held []byte
	err  error
}

func (w *envelopeWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	w.held = append(w.held, p...)
	return len(p), nil
}

func (w *envelopeWriter) Flush() {
	if len(w.held) > 0 {
		// Flush cannot say that this fails; the next Write does.
		_, w.err = w.ResponseWriter.Write(w.held)
		if cap(w.held) > keepBatch {
			w.held = nil
		}
		w.held = w.held[:0]
	}
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

func (w *envelopeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
