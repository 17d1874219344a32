package cajun

import (
	"context"
	"iter"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
)

// Stream is a method whose reply is a stream of events, as generated code calls and
// hosts it. It is AT_MOST_ONCE.
type Stream[Req, Event proto.Message] struct{ spec methodSpec }

// NewStream describes the server-streaming method name of kind.
func NewStream[Req, Event proto.Message](kind *Kind, name string, opts MethodOptions) *Stream[Req, Event] {
	return &Stream[Req, Event]{methodSpec{kind: kind, name: name, opts: opts, streams: true, request: typeOf[Req](), reply: typeOf[Event]()}}
}

// Open calls the method of the actor that p names and returns its events once the
// handler has returned them. A deadline of ctx is one for the whole stream; without
// one, the call timeout bounds the opening only. The events are to be ranged over
// once. Leaving the loop, or the end of ctx, frees what the stream holds on both
// sides; who never ranges over it has to end ctx.
//
// The stream ends with an error when the handler's iterator does, when the actor
// moves or leaves memory, and when its node cannot serve any more: then with the
// code unavailable, and opening it anew finds the actor where it is. No event is
// left out or repeated before that. All errors are a *connect.Error, as of a call.
func (m *Stream[Req, Event]) Open(ctx context.Context, p Pid, req Req) (iter.Seq2[Event, error], error) {
	r, err := openStream(ctx, p, &m.spec, req)
	if err != nil {
		return nil, err
	}
	return func(yield func(Event, error) bool) {
		r.read(func(message proto.Message, err error) bool {
			event, _ := message.(Event)
			return yield(event, err)
		})
	}, nil
}

// HandleStream serves m with fn, which runs as a turn. The events that it returns
// are taken outside of any turn, while the actor handles other calls: what they
// read of the actor has to be made for that, as a Topic is. They have to end when
// fn's context does, which is the stream's and outlives the turn.
func HandleStream[A any, Req, Event proto.Message](m *Stream[Req, Event], fn func(A, context.Context, Req) (iter.Seq2[Event, error], error)) Handler[A] {
	return Handler[A]{&hostedMethod{spec: &m.spec, invoke: func(actor any, ctx context.Context, req proto.Message) (proto.Message, error) {
		f, ok := ctx.Value(feedKey{}).(*feed)
		if !ok {
			return nil, connect.Errorf(connect.CodeInternal, "an inbound interceptor has replaced the context of %s: derive the one that is passed on from the one that was given", m.spec.path())
		}
		ctx, done := f.outlast(ctx)
		defer done()
		events, err := fn(actor.(A), ctx, req.(Req))
		if err != nil {
			return nil, err
		}
		if events == nil {
			return nil, connect.Errorf(connect.CodeInternal, "the handler of %s returned neither events nor an error", m.spec.path())
		}
		f.events = func(yield func(proto.Message, error) bool) {
			for event, err := range events {
				if !yield(event, err) {
					return
				}
			}
		}
		return nil, nil
	}}}
}

// openStream calls a method that streams. Everything that generated code opens
// comes through here.
func openStream(ctx context.Context, p Pid, spec *methodSpec, req proto.Message) (*reader, error) {
	if capture, ok := ctx.Value(captureKey{}).(*capture); ok {
		return nil, capture.take(p, spec, req)
	}
	n, o, err := p.outgoing(spec)
	if err != nil {
		return nil, err
	}
	defer n.recycle(o)
	o.reading = ctx
	if _, err := n.call(ctx, o, req); err != nil {
		if o.reader != nil { // an interceptor has refused what was open already
			o.reader.close()
		}
		return nil, err
	}
	return o.reader, nil
}

// shape is what a caller takes a method for, or what it is.
type shape uint8

const (
	shapeAny shape = iota
	shapeReply
	shapeOneWay
	shapeStream
)

func (s *methodSpec) shape() shape {
	switch {
	case s.oneWay:
		return shapeOneWay
	case s.streams:
		return shapeStream
	}
	return shapeReply
}

// replies reports whether the method has a single reply.
func (s *methodSpec) replies() bool { return s.shape() == shapeReply }

// fits refuses callers that expect something else of a method than its host has.
// Who expects no reply can do without one.
func (s *methodSpec) fits(want shape, kind string) *failure {
	have := s.shape()
	if want == shapeAny || have == want || want == shapeOneWay && have == shapeReply {
		return nil
	}
	is := [...]string{shapeReply: "has one reply", shapeOneWay: "is one-way and gives no reply", shapeStream: "gives a stream of events"}[have]
	return refuse(connect.CodeUnimplemented, "the method %s of %s %s on the actor's node: it runs an older or newer version of the service", s.name, kind, is)
}
