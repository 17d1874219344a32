package link

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cajun-go/cajun/guarantee"
)

// Field numbers of cajun.link.v1, as far as code writes or reads them by hand.
const (
	// BatchHello and BatchFrames are the fields of ExchangeRequest and of
	// ExchangeResponse, which are the same on the wire.
	BatchHello  protowire.Number = 1
	BatchFrames protowire.Number = 2

	frameRequest  protowire.Number = 1
	frameResponse protowire.Number = 2
	frameCancel   protowire.Number = 3
	frameProgress protowire.Number = 4

	requestID           protowire.Number = 1
	requestKind         protowire.Number = 2
	requestKey          protowire.Number = 3
	requestMethod       protowire.Number = 4
	requestShard        protowire.Number = 5
	requestEpoch        protowire.Number = 6
	requestLevel        protowire.Number = 7
	requestOneWay       protowire.Number = 8
	requestCallSession  protowire.Number = 9
	requestCallSequence protowire.Number = 10
	requestCallKey      protowire.Number = 11
	requestWatermark    protowire.Number = 12
	requestTimeout      protowire.Number = 13
	requestChain        protowire.Number = 14
	requestHeaders      protowire.Number = 15
	requestPayload      protowire.Number = 16
	requestRepeat       protowire.Number = 17
	requestCallPart     protowire.Number = 18
	requestHops         protowire.Number = 19
	requestErrand       protowire.Number = 20
	requestOpenBelow    protowire.Number = 21
	requestStream       protowire.Number = 22
	requestStreamTime   protowire.Number = 23

	errandTask     protowire.Number = 1
	errandName     protowire.Number = 2
	errandAfter    protowire.Number = 3
	errandEvery    protowire.Number = 4
	errandSequence protowire.Number = 5

	responseID           protowire.Number = 1
	responseCode         protowire.Number = 2
	responseMessage      protowire.Number = 3
	responseDetails      protowire.Number = 4
	responseOutcome      protowire.Number = 5
	responsePayload      protowire.Number = 6
	responseRedirect     protowire.Number = 7
	responseRetryable    protowire.Number = 8
	responseInternalText protowire.Number = 9
	responseReplayed     protowire.Number = 10
	responsePart         protowire.Number = 11
	responseLast         protowire.Number = 12
	responseProbe        protowire.Number = 13

	redirectOwner  protowire.Number = 1
	redirectEpoch  protowire.Number = 2
	redirectTarget protowire.Number = 3

	cancelID protowire.Number = 1

	progressID       protowire.Number = 1
	progressReceived protowire.Number = 2
	progressConsumed protowire.Number = 3
	progressProbe    protowire.Number = 4

	headerKey   protowire.Number = 1
	headerValue protowire.Number = 2
	detailType  protowire.Number = 1
	detailValue protowire.Number = 2
)

// AppendFrame appends f to b as a cajun.link.v1.Frame and returns the extended
// slice. It does not check f; see Check.
func AppendFrame(b []byte, f *Frame) []byte {
	num, size := f.body()
	return appendBody(b, f, num, size)
}

// AppendBatched appends f to b as one element of the frames of a
// cajun.link.v1.ExchangeRequest or ExchangeResponse: what AppendFrame appends,
// behind its tag and length. Appending again extends the same batch.
func AppendBatched(b []byte, f *Frame) []byte {
	num, size := f.body()
	b = protowire.AppendTag(b, BatchFrames, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(frameSize(num, size)))
	return appendBody(b, f, num, size)
}

// FrameSize returns how many bytes AppendFrame appends for f.
func FrameSize(f *Frame) int { return frameSize(f.body()) }

// BatchedSize returns how many bytes AppendBatched appends for f.
func BatchedSize(f *Frame) int {
	return protowire.SizeTag(BatchFrames) + protowire.SizeBytes(frameSize(f.body()))
}

// body returns which field of the Frame is set and the size of its message.
func (f *Frame) body() (protowire.Number, int) {
	switch {
	case f.Request != nil:
		return frameRequest, f.Request.size()
	case f.Response != nil:
		return frameResponse, f.Response.size()
	case f.Cancel != nil:
		return frameCancel, sizeUint(cancelID, f.Cancel.ID)
	case f.Progress != nil:
		return frameProgress, f.Progress.size()
	}
	return 0, 0
}

func frameSize(num protowire.Number, size int) int {
	if num == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeBytes(size)
}

func appendBody(b []byte, f *Frame, num protowire.Number, size int) []byte {
	if num == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	switch num {
	case frameRequest:
		return f.Request.append(b)
	case frameResponse:
		return f.Response.append(b)
	case frameProgress:
		return f.Progress.append(b)
	}
	return appendUint(b, cancelID, f.Cancel.ID)
}

func (r *Request) size() int {
	n := sizeUint(requestID, r.ID) +
		sizeString(requestKind, r.Kind) +
		sizeString(requestKey, r.Key) +
		sizeString(requestMethod, r.Method) +
		sizeUint(requestShard, uint64(r.Shard)) +
		sizeUint(requestEpoch, r.Epoch) +
		sizeUint(requestLevel, uint64(r.Level)) +
		sizeBool(requestOneWay, r.OneWay) +
		sizeString(requestCallSession, r.Call.Session) +
		sizeUint(requestCallSequence, r.Call.Sequence) +
		sizeString(requestCallKey, r.Call.Key) +
		sizeUint(requestWatermark, r.Watermark) +
		sizeUint(requestTimeout, uint64(r.Timeout)) +
		sizeBytes(requestPayload, r.Payload) +
		sizeBool(requestRepeat, r.Repeat) +
		sizeUint(requestCallPart, r.Call.Part) +
		sizeUint(requestHops, uint64(r.Hops)) +
		sizeBool(requestStream, r.Stream) +
		sizeUint(requestStreamTime, uint64(r.StreamTimeout))
	if r.Errand != nil {
		n += protowire.SizeTag(requestErrand) + protowire.SizeBytes(r.Errand.size())
	}
	if len(r.OpenBelow) > 0 {
		n += protowire.SizeTag(requestOpenBelow) + protowire.SizeBytes(sizePacked(r.OpenBelow))
	}
	for _, actor := range r.Chain {
		n += protowire.SizeTag(requestChain) + protowire.SizeBytes(len(actor))
	}
	for i := range r.Headers {
		n += protowire.SizeTag(requestHeaders) + protowire.SizeBytes(r.Headers[i].size())
	}
	return n
}

func (r *Request) append(b []byte) []byte {
	b = appendUint(b, requestID, r.ID)
	b = appendString(b, requestKind, r.Kind)
	b = appendString(b, requestKey, r.Key)
	b = appendString(b, requestMethod, r.Method)
	b = appendUint(b, requestShard, uint64(r.Shard))
	b = appendUint(b, requestEpoch, r.Epoch)
	b = appendUint(b, requestLevel, uint64(r.Level))
	b = appendBool(b, requestOneWay, r.OneWay)
	b = appendString(b, requestCallSession, r.Call.Session)
	b = appendUint(b, requestCallSequence, r.Call.Sequence)
	b = appendString(b, requestCallKey, r.Call.Key)
	b = appendUint(b, requestWatermark, r.Watermark)
	b = appendUint(b, requestTimeout, uint64(r.Timeout))
	for _, actor := range r.Chain {
		b = protowire.AppendTag(b, requestChain, protowire.BytesType)
		b = protowire.AppendString(b, actor)
	}
	for i := range r.Headers {
		h := &r.Headers[i]
		b = protowire.AppendTag(b, requestHeaders, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(h.size()))
		b = appendString(b, headerKey, h.Key)
		b = appendString(b, headerValue, h.Value)
	}
	b = appendBytes(b, requestPayload, r.Payload)
	b = appendBool(b, requestRepeat, r.Repeat)
	b = appendUint(b, requestCallPart, r.Call.Part)
	b = appendUint(b, requestHops, uint64(r.Hops))
	if e := r.Errand; e != nil {
		b = protowire.AppendTag(b, requestErrand, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(e.size()))
		b = appendUint(b, errandTask, uint64(e.Task))
		b = appendString(b, errandName, e.Name)
		b = appendUint(b, errandAfter, uint64(e.After))
		b = appendUint(b, errandEvery, uint64(e.Every))
		b = appendUint(b, errandSequence, e.Sequence)
	}
	if len(r.OpenBelow) > 0 {
		b = protowire.AppendTag(b, requestOpenBelow, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(sizePacked(r.OpenBelow)))
		for _, v := range r.OpenBelow {
			b = protowire.AppendVarint(b, v)
		}
	}
	b = appendBool(b, requestStream, r.Stream)
	return appendUint(b, requestStreamTime, uint64(r.StreamTimeout))
}

// sizePacked is the size of packed numbers.
func sizePacked(numbers []uint64) (n int) {
	for _, v := range numbers {
		n += protowire.SizeVarint(v)
	}
	return n
}

func (e *Errand) size() int {
	return sizeUint(errandTask, uint64(e.Task)) +
		sizeString(errandName, e.Name) +
		sizeUint(errandAfter, uint64(e.After)) +
		sizeUint(errandEvery, uint64(e.Every)) +
		sizeUint(errandSequence, e.Sequence)
}

func (r *Response) size() int {
	n := sizeUint(responseID, r.ID) +
		sizeUint(responseCode, uint64(r.Code)) +
		sizeString(responseMessage, r.Message) +
		sizeUint(responseOutcome, r.wireOutcome()) +
		sizeBytes(responsePayload, r.Payload) +
		sizeBool(responseRetryable, r.Retryable) +
		sizeBool(responseInternalText, r.InternalText) +
		sizeBool(responseReplayed, r.Replayed) +
		sizeUint(responsePart, r.Part) +
		sizeBool(responseLast, r.Last) +
		sizeUint(responseProbe, r.Probe)
	for i := range r.Details {
		n += protowire.SizeTag(responseDetails) + protowire.SizeBytes(r.Details[i].size())
	}
	if r.Redirect != nil {
		n += protowire.SizeTag(responseRedirect) + protowire.SizeBytes(r.Redirect.size())
	}
	return n
}

func (r *Response) append(b []byte) []byte {
	b = appendUint(b, responseID, r.ID)
	b = appendUint(b, responseCode, uint64(r.Code))
	b = appendString(b, responseMessage, r.Message)
	for i := range r.Details {
		d := &r.Details[i]
		b = protowire.AppendTag(b, responseDetails, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(d.size()))
		b = appendString(b, detailType, d.Type)
		b = appendBytes(b, detailValue, d.Value)
	}
	b = appendUint(b, responseOutcome, r.wireOutcome())
	b = appendBytes(b, responsePayload, r.Payload)
	if r.Redirect != nil {
		b = protowire.AppendTag(b, responseRedirect, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(r.Redirect.size()))
		b = appendString(b, redirectOwner, r.Redirect.Owner)
		b = appendUint(b, redirectEpoch, r.Redirect.Epoch)
		b = appendString(b, redirectTarget, r.Redirect.Target)
	}
	b = appendBool(b, responseRetryable, r.Retryable)
	b = appendBool(b, responseInternalText, r.InternalText)
	b = appendBool(b, responseReplayed, r.Replayed)
	b = appendUint(b, responsePart, r.Part)
	b = appendBool(b, responseLast, r.Last)
	return appendUint(b, responseProbe, r.Probe)
}

func (p *Progress) size() int {
	return sizeUint(progressID, p.ID) + sizeUint(progressReceived, p.Received) + sizeUint(progressConsumed, p.Consumed) + sizeUint(progressProbe, p.Probe)
}

func (p *Progress) append(b []byte) []byte {
	b = appendUint(b, progressID, p.ID)
	b = appendUint(b, progressReceived, p.Received)
	b = appendUint(b, progressConsumed, p.Consumed)
	return appendUint(b, progressProbe, p.Probe)
}

// wireOutcome is the outcome as cajun.v1.Outcome counts, where 0 says nothing.
// Successful responses, which are most, save the field.
func (r *Response) wireOutcome() uint64 {
	if r.Code == 0 && r.Outcome == guarantee.MaybeExecuted {
		return 0
	}
	return uint64(r.Outcome) + 1
}

func (h *Header) size() int {
	return sizeString(headerKey, h.Key) + sizeString(headerValue, h.Value)
}

func (d *Detail) size() int {
	return sizeString(detailType, d.Type) + sizeBytes(detailValue, d.Value)
}

func (r *Redirect) size() int {
	return sizeString(redirectOwner, r.Owner) +
		sizeUint(redirectEpoch, r.Epoch) +
		sizeString(redirectTarget, r.Target)
}

// The helpers below leave out zero values, as proto3 does.

func sizeUint(num protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeVarint(v)
}

func sizeBool(num protowire.Number, v bool) int {
	if !v {
		return 0
	}
	return protowire.SizeTag(num) + 1
}

func sizeString(num protowire.Number, s string) int {
	if s == "" {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeBytes(len(s))
}

func sizeBytes(num protowire.Number, v []byte) int {
	if len(v) == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeBytes(len(v))
}

func appendUint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

func appendBool(b []byte, num protowire.Number, v bool) []byte {
	if !v {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.VarintType)
	return append(b, 1)
}

func appendString(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendString(b, s)
}

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendBytes(b, v)
}
