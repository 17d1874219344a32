package link

import (
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cajun-go/cajun/guarantee"
)

// A Decoder reads frames. It keeps and reuses memory, so that reading a frame
// allocates only the strings that were not seen lately. Make one for each
// goroutine that reads, with NewDecoder.
type Decoder struct {
	maxMessage int
	names      interner
	request    Request
	response   Response
	errand     Errand
	redirect   Redirect
	cancel     Cancel
	progress   Progress
}

// NewDecoder returns a Decoder that refuses payloads of more than maxMessage
// bytes; 0 is DefaultMaxMessage.
func NewDecoder(maxMessage int) *Decoder {
	if maxMessage <= 0 {
		maxMessage = DefaultMaxMessage
	}
	return &Decoder{maxMessage: maxMessage, names: newInterner()}
}

// Frame reads one cajun.link.v1.Frame. What it returns is valid until the next
// call; payloads and detail values are parts of b, strings are not and may be
// kept. Fields that are not known are skipped; a frame of a kind that is not
// known comes back with no field set, and a receiver ignores it. Errors are
// ErrMalformed or, for what is over a limit, ErrTooLarge.
func (d *Decoder) Frame(b []byte) (Frame, error) {
	var frame Frame
	in := fields{rest: b}
	bodies := 0
	for in.next() {
		switch in.num {
		case frameRequest:
			d.readRequest(&in, in.bytes())
			frame.Request = &d.request
		case frameResponse:
			d.readResponse(&in, in.bytes())
			frame.Response = &d.response
		case frameCancel:
			d.readCancel(&in, in.bytes())
			frame.Cancel = &d.cancel
		case frameProgress:
			d.readProgress(&in, in.bytes())
			frame.Progress = &d.progress
		default:
			in.skip()
			continue
		}
		if bodies++; bodies > 1 {
			in.fail("a frame with more than one message")
		}
	}
	if in.err != nil {
		return Frame{}, in.err
	}
	return frame, nil
}

// WalkBatch calls hello for each Hello and frame for each encoded Frame of a
// cajun.link.v1.ExchangeRequest or ExchangeResponse, in their order, until one
// of them returns an error.
func WalkBatch(b []byte, hello, frame func([]byte) error) error {
	in := fields{rest: b}
	for in.next() {
		switch in.num {
		case BatchHello:
			in.nest(in.bytes(), hello)
		case BatchFrames:
			in.nest(in.bytes(), frame)
		default:
			in.skip()
		}
	}
	return in.err
}

func (d *Decoder) readRequest(parent *fields, b []byte) {
	r := &d.request
	*r = Request{Chain: r.Chain[:0], Headers: r.Headers[:0], OpenBelow: r.OpenBelow[:0]}
	overhead := len(b)
	in := fields{rest: b, err: parent.err}
	for in.next() {
		switch in.num {
		case requestID:
			r.ID = in.uint64()
		case requestKind:
			r.Kind = d.names.text(&in)
		case requestKey:
			r.Key = d.names.text(&in)
		case requestMethod:
			r.Method = d.names.text(&in)
		case requestShard:
			r.Shard = in.uint32()
		case requestEpoch:
			r.Epoch = in.uint64()
		case requestLevel:
			r.Level = in.level()
		case requestOneWay:
			r.OneWay = in.bool()
		case requestCallSession:
			r.Call.Session = d.names.text(&in)
		case requestCallSequence:
			r.Call.Sequence = in.uint64()
		case requestCallKey:
			r.Call.Key = in.text()
		case requestWatermark:
			r.Watermark = in.uint64()
		case requestTimeout:
			r.Timeout = time.Duration(in.uint64())
		case requestChain:
			in.limit("chain entries", len(r.Chain)+1, MaxChain)
			r.Chain = append(r.Chain, d.names.text(&in))
		case requestHeaders:
			in.limit("headers", len(r.Headers)+1, MaxHeaders)
			r.Headers = append(r.Headers, d.readHeader(&in))
		case requestPayload:
			r.Payload = in.bytes()
		case requestRepeat:
			r.Repeat = in.bool()
		case requestCallPart:
			r.Call.Part = in.uint64()
		case requestHops:
			r.Hops = in.uint32()
		case requestErrand:
			d.readErrand(&in, r)
		case requestOpenBelow:
			r.OpenBelow = in.packed(r.OpenBelow, "open sequences", MaxOpen)
		case requestStream:
			r.Stream = in.bool()
		case requestStreamTime:
			r.StreamTimeout = time.Duration(in.uint64())
		default:
			in.skip()
		}
	}
	in.limit("payload bytes", len(r.Payload), d.maxMessage)
	in.limit("bytes beside the payload", overhead-len(r.Payload), MaxOverhead)
	parent.err = in.err
}

func (d *Decoder) readResponse(parent *fields, b []byte) {
	r := &d.response
	*r = Response{Details: r.Details[:0]}
	overhead := len(b)
	in := fields{rest: b, err: parent.err}
	for in.next() {
		switch in.num {
		case responseID:
			r.ID = in.uint64()
		case responseCode:
			r.Code = in.uint32()
		case responseMessage:
			r.Message = in.text()
		case responseDetails:
			in.limit("details", len(r.Details)+1, MaxDetails)
			r.Details = append(r.Details, d.readDetail(&in))
		case responseOutcome:
			r.Outcome = in.outcome()
		case responsePayload:
			r.Payload = in.bytes()
		case responseRedirect:
			if r.Redirect != nil {
				in.fail("a response with two redirects")
			}
			d.readRedirect(&in)
			r.Redirect = &d.redirect
		case responseRetryable:
			r.Retryable = in.bool()
		case responseInternalText:
			r.InternalText = in.bool()
		case responseReplayed:
			r.Replayed = in.bool()
		case responsePart:
			r.Part = in.uint64()
		case responseLast:
			r.Last = in.bool()
		case responseProbe:
			r.Probe = in.uint64()
		default:
			in.skip()
		}
	}
	in.limit("payload bytes", len(r.Payload), d.maxMessage)
	in.limit("bytes beside the payload", overhead-len(r.Payload), MaxOverhead)
	parent.err = in.err
}

func (d *Decoder) readCancel(parent *fields, b []byte) {
	d.cancel = Cancel{}
	in := fields{rest: b, err: parent.err}
	for in.next() {
		if in.num == cancelID {
			d.cancel.ID = in.uint64()
		} else {
			in.skip()
		}
	}
	parent.err = in.err
}

func (d *Decoder) readProgress(parent *fields, b []byte) {
	p := &d.progress
	*p = Progress{}
	in := fields{rest: b, err: parent.err}
	for in.next() {
		switch in.num {
		case progressID:
			p.ID = in.uint64()
		case progressReceived:
			p.Received = in.uint64()
		case progressConsumed:
			p.Consumed = in.uint64()
		case progressProbe:
			p.Probe = in.uint64()
		default:
			in.skip()
		}
	}
	parent.err = in.err
}

func (d *Decoder) readRedirect(parent *fields) {
	d.redirect = Redirect{}
	in := fields{rest: parent.bytes(), err: parent.err}
	for in.next() {
		switch in.num {
		case redirectOwner:
			d.redirect.Owner = d.names.text(&in)
		case redirectEpoch:
			d.redirect.Epoch = in.uint64()
		case redirectTarget:
			d.redirect.Target = d.names.text(&in)
		default:
			in.skip()
		}
	}
	parent.err = in.err
}

func (d *Decoder) readErrand(parent *fields, r *Request) {
	if r.Errand != nil {
		parent.fail("a request with two errands")
	}
	d.errand, r.Errand = Errand{}, &d.errand
	in := fields{rest: parent.bytes(), err: parent.err}
	for in.next() {
		switch in.num {
		case errandTask:
			d.errand.Task = Task(in.uint32())
		case errandName:
			d.errand.Name = in.text()
		case errandAfter:
			d.errand.After = time.Duration(in.uint64())
		case errandEvery:
			d.errand.Every = time.Duration(in.uint64())
		case errandSequence:
			d.errand.Sequence = in.uint64()
		default:
			in.skip()
		}
	}
	parent.err = in.err
}

func (d *Decoder) readHeader(parent *fields) (h Header) {
	in := fields{rest: parent.bytes(), err: parent.err}
	for in.next() {
		switch in.num {
		case headerKey:
			h.Key = d.names.text(&in)
		case headerValue:
			h.Value = in.text()
		default:
			in.skip()
		}
	}
	parent.err = in.err
	return h
}

func (d *Decoder) readDetail(parent *fields) (detail Detail) {
	in := fields{rest: parent.bytes(), err: parent.err}
	for in.next() {
		switch in.num {
		case detailType:
			detail.Type = d.names.text(&in)
		case detailValue:
			detail.Value = in.bytes()
		default:
			in.skip()
		}
	}
	parent.err = in.err
	return detail
}

// fields walks over the fields of one encoded message. After next has returned
// true, exactly one of the methods that read or skip a value must be called.
// The first problem stays in err and ends the walk.
type fields struct {
	rest []byte
	num  protowire.Number
	typ  protowire.Type
	err  error
}

func (in *fields) next() bool {
	if in.err != nil || len(in.rest) == 0 {
		return false
	}
	num, typ, n := protowire.ConsumeTag(in.rest)
	if n < 0 {
		in.fail(protowire.ParseError(n).Error())
		return false
	}
	in.num, in.typ, in.rest = num, typ, in.rest[n:]
	return true
}

func (in *fields) fail(problem string) {
	if in.err == nil {
		in.err = fmt.Errorf("%w: %s", ErrMalformed, problem)
	}
}

func (in *fields) limit(what string, n, limit int) {
	if n > limit && in.err == nil {
		in.err = fmt.Errorf("%w: %d %s, the limit is %d", ErrTooLarge, n, what, limit)
	}
}

func (in *fields) nest(value []byte, read func([]byte) error) {
	if in.err == nil {
		in.err = read(value)
	}
}

func (in *fields) skip() {
	n := protowire.ConsumeFieldValue(in.num, in.typ, in.rest)
	if n < 0 {
		in.fail(protowire.ParseError(n).Error())
		return
	}
	in.rest = in.rest[n:]
}

func (in *fields) uint64() uint64 {
	if in.typ != protowire.VarintType {
		in.fail(fmt.Sprintf("field %d is no number", in.num))
		return 0
	}
	v, n := protowire.ConsumeVarint(in.rest)
	if n < 0 {
		in.fail(protowire.ParseError(n).Error())
		return 0
	}
	in.rest = in.rest[n:]
	return v
}

// packed appends repeated numbers to list, in their packed form or one by one.
func (in *fields) packed(list []uint64, what string, limit int) []uint64 {
	if in.typ == protowire.VarintType {
		list = append(list, in.uint64())
		in.limit(what, len(list), limit)
		return list
	}
	numbers := fields{rest: in.bytes(), typ: protowire.VarintType, num: in.num, err: in.err}
	for len(numbers.rest) > 0 && numbers.err == nil {
		list = append(list, numbers.uint64())
		numbers.limit(what, len(list), limit)
	}
	in.err = numbers.err
	return list
}

func (in *fields) uint32() uint32 {
	v := in.uint64()
	if v > math.MaxUint32 {
		in.fail(fmt.Sprintf("field %d is over 32 bits", in.num))
		return 0
	}
	return uint32(v)
}

func (in *fields) bool() bool { return protowire.DecodeBool(in.uint64()) }

// level refuses levels that are not known: a call must not run under a lesser
// promise than its caller asked for.
func (in *fields) level() guarantee.Level {
	v := in.uint64()
	if v > uint64(guarantee.ExactlyOnce) {
		in.fail(fmt.Sprintf("%d is no delivery level", v))
		return guarantee.Unspecified
	}
	return guarantee.Level(v)
}

// outcome reads what is not known as the outcome that promises nothing.
func (in *fields) outcome() guarantee.Outcome {
	v := in.uint64()
	if v == 0 || v > uint64(guarantee.Answered)+1 {
		return guarantee.MaybeExecuted
	}
	return guarantee.Outcome(v - 1)
}

// bytes returns a part of the input, or nil after an error.
func (in *fields) bytes() []byte {
	if in.typ != protowire.BytesType {
		in.fail(fmt.Sprintf("field %d has no length", in.num))
		return nil
	}
	v, n := protowire.ConsumeBytes(in.rest)
	if n < 0 {
		in.fail(protowire.ParseError(n).Error())
		return nil
	}
	in.rest = in.rest[n:]
	return v
}

func (in *fields) text() string {
	v := in.bytes()
	in.checkText(v)
	if in.err != nil {
		return ""
	}
	return string(v)
}

func (in *fields) checkText(v []byte) {
	in.limit("bytes of text", len(v), MaxText)
	if in.err == nil && !utf8.Valid(v) {
		in.fail(fmt.Sprintf("field %d is not UTF-8", in.num))
	}
}
