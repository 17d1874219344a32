package link_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/cajun-go/cajun/gen/cajun/link/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
)

// generator draws frames. Each field is zero half of the time.
type generator struct{ *rand.Rand }

func (g generator) number() uint64 {
	if g.IntN(2) == 0 {
		return 0
	}
	return g.Uint64() >> g.IntN(64)
}

func (g generator) text() string {
	if g.IntN(2) == 0 {
		return ""
	}
	alphabet := []string{"a", "Z", "/", ".", "0", "ä", "界", "\x00"}
	var b strings.Builder
	for range g.IntN(100) {
		b.WriteString(alphabet[g.IntN(len(alphabet))])
	}
	return b.String()
}

func (g generator) data() []byte {
	if g.IntN(2) == 0 {
		return nil
	}
	b := make([]byte, 1+g.IntN(300))
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

func (g generator) flag() bool { return g.IntN(2) == 0 }

func (g generator) frame() link.Frame {
	switch g.IntN(4) {
	case 0:
		r := &link.Request{
			ID: g.number(), Kind: g.text(), Key: g.text(), Method: g.text(),
			Shard: uint32(g.number()), Epoch: g.number(),
			Level:  guarantee.Level(g.IntN(4)),
			OneWay: g.flag(), Repeat: g.flag(),
			Call:      guarantee.CallID{Session: g.text(), Sequence: g.number(), Part: g.number(), Key: g.text()},
			Watermark: g.number(), Timeout: time.Duration(g.number()), Payload: g.data(), Hops: uint32(g.number()),
			Stream: g.flag(), StreamTimeout: time.Duration(g.number()),
		}
		if g.flag() {
			r.Errand = &link.Errand{Task: link.Task(g.IntN(8)), Name: g.text(), After: time.Duration(g.number()), Every: time.Duration(g.number()), Sequence: g.number()}
		}
		for range g.IntN(4) {
			r.Chain = append(r.Chain, g.text())
		}
		for range g.IntN(4) {
			r.OpenBelow = append(r.OpenBelow, g.number())
		}
		for range g.IntN(4) {
			r.Headers = append(r.Headers, link.Header{Key: g.text(), Value: g.text()})
		}
		return link.Frame{Request: r}
	case 1:
		r := &link.Response{
			ID: g.number(), Code: uint32(g.number()), Message: g.text(),
			Outcome:   guarantee.Outcome(g.IntN(4)),
			Retryable: g.flag(), InternalText: g.flag(), Replayed: g.flag(), Payload: g.data(), Part: g.number(), Last: g.flag(), Probe: g.number(),
		}
		for range g.IntN(4) {
			r.Details = append(r.Details, link.Detail{Type: g.text(), Value: g.data()})
		}
		if g.flag() {
			r.Redirect = &link.Redirect{Owner: g.text(), Epoch: g.number(), Target: g.text()}
		}
		return link.Frame{Response: r}
	case 2:
		return link.Frame{Progress: &link.Progress{ID: g.number(), Received: g.number(), Consumed: g.number(), Probe: g.number()}}
	}
	return link.Frame{Cancel: &link.Cancel{ID: g.number()}}
}

// toProto says the same as f in the generated messages. It is written apart
// from the codec on purpose.
func toProto(f link.Frame) *linkv1.Frame {
	switch {
	case f.Request != nil:
		r := f.Request
		m := &linkv1.Request{
			Id: r.ID, Kind: r.Kind, Key: r.Key, Method: r.Method, Shard: r.Shard, Epoch: r.Epoch,
			Level: uint32(r.Level), OneWay: r.OneWay, CallSession: r.Call.Session,
			CallSequence: r.Call.Sequence, CallKey: r.Call.Key, Watermark: r.Watermark,
			TimeoutNanos: int64(r.Timeout), Chain: r.Chain, Payload: r.Payload, Repeat: r.Repeat,
			CallPart: r.Call.Part, Hops: r.Hops, OpenBelow: r.OpenBelow,
			Stream: r.Stream, StreamTimeoutNanos: int64(r.StreamTimeout),
		}
		if e := r.Errand; e != nil {
			m.Errand = &linkv1.Errand{Task: linkv1.Errand_Task(e.Task), Name: e.Name, AfterNanos: int64(e.After), EveryNanos: int64(e.Every), Sequence: e.Sequence}
		}
		for _, h := range r.Headers {
			m.Headers = append(m.Headers, &linkv1.Header{Key: h.Key, Value: h.Value})
		}
		return &linkv1.Frame{Body: &linkv1.Frame_Request{Request: m}}
	case f.Response != nil:
		r := f.Response
		m := &linkv1.Response{
			Id: r.ID, Code: r.Code, Message: r.Message, Payload: r.Payload,
			Retryable: r.Retryable, InternalText: r.InternalText, Replayed: r.Replayed, Part: r.Part, Last: r.Last, Probe: r.Probe,
		}
		numbers := map[guarantee.Outcome]uint32{
			guarantee.MaybeExecuted: 1, guarantee.NotExecuted: 2,
			guarantee.NotCommitted: 3, guarantee.Answered: 4,
		}
		if r.Code != 0 || r.Outcome != guarantee.MaybeExecuted {
			m.Outcome = numbers[r.Outcome]
		}
		for _, d := range r.Details {
			m.Details = append(m.Details, &linkv1.Detail{Type: d.Type, Value: d.Value})
		}
		if r.Redirect != nil {
			m.Redirect = &linkv1.Redirect{
				Owner: r.Redirect.Owner, Epoch: r.Redirect.Epoch, Target: r.Redirect.Target,
			}
		}
		return &linkv1.Frame{Body: &linkv1.Frame_Response{Response: m}}
	case f.Progress != nil:
		p := f.Progress
		return &linkv1.Frame{Body: &linkv1.Frame_Progress{Progress: &linkv1.Progress{Id: p.ID, Received: p.Received, Consumed: p.Consumed, Probe: p.Probe}}}
	case f.Cancel != nil:
		return &linkv1.Frame{Body: &linkv1.Frame_Cancel{Cancel: &linkv1.Cancel{Id: f.Cancel.ID}}}
	}
	return &linkv1.Frame{}
}

func TestCodecAgainstGeneratedCode(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(1, 2))}
	decoder := link.NewDecoder(0)
	for i := range 5000 {
		frame := g.frame()
		want := toProto(frame)
		encoded := link.AppendFrame([]byte("kept"), &frame)
		var got linkv1.Frame
		if err := proto.Unmarshal(encoded[4:], &got); err != nil {
			t.Fatalf("frame %d: generated code cannot read it: %v", i, err)
		}
		if !proto.Equal(&got, want) {
			t.Fatalf("frame %d: generated code reads\n%v\nwant\n%v", i, &got, want)
		}
		marshalled, err := proto.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := decoder.Frame(marshalled)
		if err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		if back := toProto(decoded); !proto.Equal(back, want) {
			t.Fatalf("frame %d: reads\n%v\nwant\n%v", i, back, want)
		}
	}
}

func TestBatchAgainstGeneratedCode(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(3, 4))}
	for range 200 {
		var want linkv1.ExchangeRequest
		var encoded []byte
		for range g.IntN(10) {
			frame := g.frame()
			want.Frames = append(want.Frames, toProto(frame))
			before := len(encoded)
			encoded = link.AppendBatched(encoded, &frame)
			if n := len(encoded) - before; n != link.BatchedSize(&frame) {
				t.Fatalf("appended %d bytes, BatchedSize said %d", n, link.BatchedSize(&frame))
			}
		}
		var got linkv1.ExchangeRequest
		if err := proto.Unmarshal(encoded, &got); err != nil || !proto.Equal(&got, &want) {
			t.Fatalf("generated code reads %v, %v\nwant %v", &got, err, &want)
		}
		want.Hello = &linkv1.Hello{Version: 1, Cluster: "c"}
		marshalled, err := proto.Marshal(&want)
		if err != nil {
			t.Fatal(err)
		}
		decoder := link.NewDecoder(0)
		var hellos, frames int
		err = link.WalkBatch(marshalled, func([]byte) error {
			hellos++
			return nil
		}, func(b []byte) error {
			f, err := decoder.Frame(b)
			if err == nil && !proto.Equal(toProto(f), want.Frames[frames]) {
				err = fmt.Errorf("frame %d differs", frames)
			}
			frames++
			return err
		})
		if err != nil || hellos != 1 || frames != len(want.Frames) {
			t.Fatalf("walked %d hellos and %d of %d frames: %v", hellos, frames, len(want.Frames), err)
		}
	}
}

// TestCodecKnowsEveryField fails when the schema gets a field that the codec
// does not write: every scalar and message field is set once through the
// frame, and none may be left unset in the generated message.
func TestCodecKnowsEveryField(t *testing.T) {
	request := link.Frame{Request: &link.Request{
		ID: 1, Kind: "k", Key: "k", Method: "m", Shard: 1, Epoch: 1, Level: 1, OneWay: true, Repeat: true,
		Call:      guarantee.CallID{Session: "s", Sequence: 1, Part: 1, Key: "k"},
		Watermark: 1, OpenBelow: []uint64{1}, Timeout: 1, Chain: []string{"c"}, Headers: []link.Header{{Key: "a", Value: "b"}},
		Payload: []byte{1}, Hops: 1, Errand: &link.Errand{Task: 1, Name: "n", After: 1, Every: 1, Sequence: 1},
		Stream: true, StreamTimeout: 1,
	}}
	response := link.Frame{Response: &link.Response{
		ID: 1, Code: 1, Message: "m", Details: []link.Detail{{Type: "t", Value: []byte{1}}},
		Outcome: guarantee.Answered, Retryable: true, InternalText: true, Replayed: true,
		Redirect: &link.Redirect{Owner: "o", Epoch: 1, Target: "t"}, Payload: []byte{1},
		Part: 1, Last: true, Probe: 1,
	}}
	progress := link.Frame{Progress: &link.Progress{ID: 1, Received: 1, Consumed: 1, Probe: 1}}
	for _, f := range []link.Frame{request, response, progress, {Cancel: &link.Cancel{ID: 1}}} {
		var m linkv1.Frame
		if err := proto.Unmarshal(link.AppendFrame(nil, &f), &m); err != nil {
			t.Fatal(err)
		}
		var body proto.Message = m.GetRequest()
		if f.Response != nil {
			body = m.GetResponse()
		} else if f.Cancel != nil {
			body = m.GetCancel()
		} else if f.Progress != nil {
			body = m.GetProgress()
		}
		declared := body.ProtoReflect().Descriptor().Fields()
		for i := range declared.Len() {
			if !body.ProtoReflect().Has(declared.Get(i)) {
				t.Errorf("%s is not written", declared.Get(i).FullName())
			}
		}
	}
}

func TestOutcomeOnTheWire(t *testing.T) {
	for number, want := range map[uint32]guarantee.Outcome{
		0: guarantee.MaybeExecuted, 1: guarantee.MaybeExecuted, 2: guarantee.NotExecuted,
		3: guarantee.NotCommitted, 4: guarantee.Answered, 5: guarantee.MaybeExecuted, 300: guarantee.MaybeExecuted,
	} {
		b, err := proto.Marshal(&linkv1.Frame{Body: &linkv1.Frame_Response{
			Response: &linkv1.Response{Id: 1, Code: 2, Outcome: number},
		}})
		if err != nil {
			t.Fatal(err)
		}
		f, err := link.NewDecoder(0).Frame(b)
		if err != nil || f.Response.Outcome != want {
			t.Errorf("outcome %d reads as %v, %v; want %v", number, f.Response.Outcome, err, want)
		}
	}
}

func TestDecoderAliasesPayloads(t *testing.T) {
	f := link.Frame{Request: &link.Request{ID: 1, Key: "key", Payload: []byte("payload")}}
	b := link.AppendFrame(nil, &f)
	got, err := link.NewDecoder(0).Frame(b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = 'x'
	}
	if string(got.Request.Payload) != "xxxxxxx" {
		t.Errorf("the payload was copied: %q", got.Request.Payload)
	}
	if got.Request.Key != "key" {
		t.Errorf("the key changed with the input: %q", got.Request.Key)
	}
}

func TestDecoderStartsAfresh(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(5, 6))}
	decoder := link.NewDecoder(0)
	for range 100 {
		f := g.frame()
		if _, err := decoder.Frame(link.AppendFrame(nil, &f)); err != nil {
			t.Fatal(err)
		}
		for _, empty := range []link.Frame{
			{Request: &link.Request{}}, {Response: &link.Response{}}, {Cancel: &link.Cancel{}},
		} {
			got, err := decoder.Frame(link.AppendFrame(nil, &empty))
			if err != nil || !proto.Equal(toProto(got), toProto(empty)) {
				t.Fatalf("%v is left from the frame before, %v", toProto(got), err)
			}
		}
	}
}

func TestDecoderSkipsUnknownFields(t *testing.T) {
	unknown := protowire.AppendTag(nil, 1000, protowire.BytesType)
	unknown = protowire.AppendString(unknown, "from the future")
	unknown = protowire.AppendTag(unknown, 1001, protowire.StartGroupType)
	unknown = protowire.AppendTag(unknown, 1002, protowire.Fixed64Type)
	unknown = protowire.AppendFixed64(unknown, 7)
	unknown = protowire.AppendTag(unknown, 1001, protowire.EndGroupType)
	request := append(bytes.Clone(unknown), protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 9)...)
	request = append(request, unknown...)
	frame := append(bytes.Clone(unknown), protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), request)...)
	got, err := link.NewDecoder(0).Frame(append(frame, unknown...))
	if err != nil || got.Request == nil || got.Request.ID != 9 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if got, err = link.NewDecoder(0).Frame(unknown); err != nil || got != (link.Frame{}) {
		t.Fatalf("a frame of an unknown kind: %+v, %v", got, err)
	}
}

func TestDecoderRefuses(t *testing.T) {
	tag := func(num protowire.Number, typ protowire.Type) []byte { return protowire.AppendTag(nil, num, typ) }
	body := func(num protowire.Number, fields ...[]byte) []byte {
		return protowire.AppendBytes(tag(num, protowire.BytesType), bytes.Join(fields, nil))
	}
	number := func(num protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(tag(num, protowire.VarintType), v)
	}
	entry := func(num protowire.Number, value string) []byte {
		return protowire.AppendString(tag(num, protowire.BytesType), value)
	}
	repeat := func(n int, b []byte) []byte { return bytes.Repeat(b, n) }
	for name, test := range map[string]struct {
		frame []byte
		want  error
	}{
		"truncated tag":       {[]byte{0x80}, link.ErrMalformed},
		"truncated length":    {[]byte{0x0a, 0x05, 0x08}, link.ErrMalformed},
		"field zero":          {[]byte{0x00, 0x00}, link.ErrMalformed},
		"a number as message": {number(1, 1), link.ErrMalformed},
		"two messages":        {append(body(1), body(3)...), link.ErrMalformed},
		"the same twice":      {append(body(1), body(1)...), link.ErrMalformed},
		"text as ID":          {body(1, entry(1, "x")), link.ErrMalformed},
		"number as key":       {body(1, number(3, 5)), link.ErrMalformed},
		"text that is not UTF-8, short": {
			body(1, entry(3, "\xff")), link.ErrMalformed,
		},
		"text that is not UTF-8, long": {
			body(1, entry(3, strings.Repeat("\xff", 100))), link.ErrMalformed,
		},
		"header value not UTF-8": {body(1, body(15, entry(2, "\xff"))), link.ErrMalformed},
		"shard over 32 bits":     {body(1, number(5, 1<<32)), link.ErrMalformed},
		"code over 32 bits":      {body(2, number(2, math.MaxUint64)), link.ErrMalformed},
		"unknown level":          {body(1, number(7, 4)), link.ErrMalformed},
		"two redirects":          {body(2, body(7), body(7)), link.ErrMalformed},
		"unended group":          {tag(100, protowire.StartGroupType), link.ErrMalformed},
		"payload":                {body(1, entry(16, strings.Repeat("x", 1001))), link.ErrTooLarge},
		"response payload":       {body(2, entry(6, strings.Repeat("x", 1001))), link.ErrTooLarge},
		"chain":                  {body(1, repeat(link.MaxChain+1, entry(14, "a"))), link.ErrTooLarge},
		"headers":                {body(1, repeat(link.MaxHeaders+1, body(15))), link.ErrTooLarge},
		"details":                {body(2, repeat(link.MaxDetails+1, body(4))), link.ErrTooLarge},
		"message":                {body(2, entry(3, strings.Repeat("x", link.MaxText+1))), link.ErrTooLarge},
		"request overhead":       {body(1, repeat(100, entry(14, strings.Repeat("x", link.MaxText)))), link.ErrTooLarge},
		"response overhead":      {body(2, repeat(20, body(4, entry(2, strings.Repeat("x", link.MaxText))))), link.ErrTooLarge},
	} {
		got, err := link.NewDecoder(1000).Frame(test.frame)
		if !errors.Is(err, test.want) || got != (link.Frame{}) {
			t.Errorf("%s: got %+v, %v; want %v", name, got, err, test.want)
		}
	}
}

// TestCheckAgreesWithDecoder: what Check lets pass, a Decoder with the same
// limit reads.
func TestCheckAgreesWithDecoder(t *testing.T) {
	long := strings.Repeat("x", link.MaxText)
	many := func(n int) []string { return make([]string, n) }
	fits := []link.Frame{
		{Request: &link.Request{Key: long, Payload: make([]byte, 1000)}},
		{Request: &link.Request{Chain: many(link.MaxChain), Headers: make([]link.Header, link.MaxHeaders)}},
		{Response: &link.Response{Message: long, Details: make([]link.Detail, link.MaxDetails), Payload: make([]byte, 1000)}},
		{Request: &link.Request{Timeout: -1}},
		{Cancel: &link.Cancel{ID: 1}},
	}
	for i, f := range fits {
		if err := f.Check(1000); err != nil {
			t.Errorf("fitting frame %d: %v", i, err)
		}
		if _, err := link.NewDecoder(1000).Frame(link.AppendFrame(nil, &f)); err != nil {
			t.Errorf("fitting frame %d does not decode: %v", i, err)
		}
	}
	large := []link.Frame{
		{Request: &link.Request{Payload: make([]byte, 1001)}},
		{Request: &link.Request{Key: long + "x"}},
		{Request: &link.Request{Chain: many(link.MaxChain + 1)}},
		{Request: &link.Request{Headers: make([]link.Header, link.MaxHeaders+1)}},
		{Request: &link.Request{Chain: []string{long, long, long, long, long, long, long, long, "x"}}},
		{Response: &link.Response{Payload: make([]byte, 1001)}},
		{Response: &link.Response{Message: long + "x"}},
		{Response: &link.Response{Details: make([]link.Detail, link.MaxDetails+1)}},
		{Response: &link.Response{Details: []link.Detail{{Value: make([]byte, link.MaxOverhead)}}}},
		{Response: &link.Response{Redirect: &link.Redirect{Owner: long + "x"}}},
	}
	for i, f := range large {
		if err := f.Check(1000); !errors.Is(err, link.ErrTooLarge) {
			t.Errorf("large frame %d: Check says %v", i, err)
		}
		if _, err := link.NewDecoder(1000).Frame(link.AppendFrame(nil, &f)); !errors.Is(err, link.ErrTooLarge) {
			t.Errorf("large frame %d: Frame says %v", i, err)
		}
	}
	for i, f := range []link.Frame{
		{},
		{Request: &link.Request{}, Cancel: &link.Cancel{}},
		{Request: &link.Request{Headers: []link.Header{{Value: "\xff"}}}},
		{Response: &link.Response{Message: "\xff"}},
	} {
		if err := f.Check(0); !errors.Is(err, link.ErrMalformed) {
			t.Errorf("malformed frame %d: Check says %v", i, err)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	g := generator{rand.New(rand.NewPCG(7, 8))}
	for range 50 {
		frame := g.frame()
		f.Add(link.AppendFrame(nil, &frame))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = link.WalkBatch(b, func([]byte) error { return nil }, func([]byte) error { return nil })
		decoder := link.NewDecoder(0)
		got, err := decoder.Frame(b)
		if err != nil {
			return
		}
		// What is accepted, generated code reads alike; unknown fields and
		// outcomes aside.
		var want linkv1.Frame
		if err := proto.Unmarshal(b, &want); err != nil {
			t.Fatalf("accepted what generated code refuses: %v", err)
		}
		if got == (link.Frame{}) {
			return
		}
		if err := got.Check(0); err != nil {
			t.Fatalf("Check refuses what was accepted: %v", err)
		}
		again, err := link.NewDecoder(0).Frame(link.AppendFrame(nil, &got))
		if err != nil || !proto.Equal(toProto(again), toProto(got)) {
			t.Fatalf("does not survive a round trip: %v", err)
		}
		if r := want.GetRequest(); r != nil && r.GetId() != got.Request.ID {
			t.Fatalf("request ID %d, generated code reads %d", got.Request.ID, r.GetId())
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	f := link.Frame{Request: &link.Request{
		ID: 1 << 20, Kind: "bank.v1.Account", Key: "account-1234", Method: "Deposit", Shard: 77, Epoch: 12,
		Level: guarantee.ExactlyOnce, Call: guarantee.CallID{Session: "0123456789abcdef", Sequence: 1 << 20},
		Watermark: 1 << 20, Timeout: time.Second, Payload: make([]byte, 32),
	}}
	b.Run("append", func(b *testing.B) {
		var buf []byte
		b.ReportAllocs()
		for b.Loop() {
			buf = link.AppendBatched(buf[:0], &f)
		}
	})
	b.Run("check", func(b *testing.B) {
		for b.Loop() {
			if err := f.Check(0); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		buf := link.AppendFrame(nil, &f)
		decoder := link.NewDecoder(0)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := decoder.Frame(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}
