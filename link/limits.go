package link

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/cajun-go/cajun/guarantee"
)

// Limits of everything in a frame but its payload, which Config.MaxMessage
// bounds. They hold on both sides: Check refuses to send what a Decoder would
// refuse to read, as a receiver ends the whole stream over a malformed frame.
const (
	// MaxText bounds each string of a frame, in bytes.
	MaxText = 64 << 10
	// MaxChain bounds the number of actors in Request.Chain.
	MaxChain = 256
	// MaxOpen bounds the number of sequences in Request.OpenBelow.
	MaxOpen = guarantee.MaxOpen
	// MaxHeaders bounds the number of Request.Headers.
	MaxHeaders = 128
	// MaxDetails bounds the number of Response.Details.
	MaxDetails = 64
	// MaxOverhead bounds the encoded size of a frame without its payload, in
	// bytes.
	MaxOverhead = 512 << 10
)

// ErrMalformed says that a frame or a batch is not what cajun.link.v1 allows.
var ErrMalformed = errors.New("link: malformed frame")

// Check returns nil when a peer that takes payloads of maxMessage bytes (0 is
// DefaultMaxMessage) will accept f. Otherwise the error is ErrTooLarge, when
// f is over one of the limits, or ErrMalformed, when f does not have exactly
// one field set or holds text that is not UTF-8. Transports check every frame
// that they send.
func (f *Frame) Check(maxMessage int) error {
	if maxMessage <= 0 {
		maxMessage = DefaultMaxMessage
	}
	bodies := 0
	for _, set := range [...]bool{f.Request != nil, f.Response != nil, f.Cancel != nil, f.Progress != nil} {
		if set {
			bodies++
		}
	}
	switch {
	case bodies != 1:
		return fmt.Errorf("%w: exactly one of request, response, cancel and progress must be set", ErrMalformed)
	case f.Number != nil && f.Request == nil:
		return fmt.Errorf("%w: only requests are numbered", ErrMalformed)
	case f.Request != nil:
		return f.Request.check(maxMessage)
	case f.Response != nil:
		return f.Response.check(maxMessage)
	}
	return nil
}

func (r *Request) check(maxMessage int) error {
	c := checker{}
	c.count("chain entries", len(r.Chain), MaxChain)
	c.count("open sequences", len(r.OpenBelow), MaxOpen)
	c.count("headers", len(r.Headers), MaxHeaders)
	c.text("kind", r.Kind)
	c.text("key", r.Key)
	c.text("method", r.Method)
	c.text("call session", r.Call.Session)
	c.text("call key", r.Call.Key)
	if r.Errand != nil {
		c.text("errand name", r.Errand.Name)
	}
	for _, actor := range r.Chain {
		c.text("chain entry", actor)
	}
	for _, h := range r.Headers {
		c.text("header key", h.Key)
		c.text("header value", h.Value)
	}
	c.count("payload bytes", len(r.Payload), maxMessage)
	if c.err == nil {
		c.count("bytes beside the payload", r.size()-len(r.Payload), MaxOverhead)
	}
	return c.err
}

func (r *Response) check(maxMessage int) error {
	c := checker{}
	c.count("details", len(r.Details), MaxDetails)
	c.text("message", r.Message)
	for _, d := range r.Details {
		c.text("detail type", d.Type)
	}
	if r.Redirect != nil {
		c.text("redirect owner", r.Redirect.Owner)
		c.text("redirect target", r.Redirect.Target)
	}
	c.count("payload bytes", len(r.Payload), maxMessage)
	if c.err == nil {
		c.count("bytes beside the payload", r.size()-len(r.Payload), MaxOverhead)
	}
	return c.err
}

// checker keeps the first problem that it sees.
type checker struct{ err error }

func (c *checker) count(what string, n, limit int) {
	if n > limit && c.err == nil {
		c.err = fmt.Errorf("%w: %d %s, the limit is %d", ErrTooLarge, n, what, limit)
	}
}

func (c *checker) text(what, s string) {
	if len(s) > MaxText {
		c.count("bytes of "+what, len(s), MaxText)
	} else if c.err == nil && !utf8.ValidString(s) {
		c.err = fmt.Errorf("%w: the %s is not UTF-8", ErrMalformed, what)
	}
}
