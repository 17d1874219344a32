package cajun

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cajun-go/cajun/guarantee"
)

// IdempotencyKeyHeader is the header that names a call across repeats by its
// caller, and ReplayedHeader the one of a response whose answer an earlier call
// of that name got.
const (
	IdempotencyKeyHeader = "Idempotency-Key"
	ReplayedHeader       = "Idempotency-Replayed"
)

// NewTransport lets clients that are generated for Connect v2 call the actor
// with this key through from, without HTTP: give it to connect.NewClient. It is
// safe for concurrent use.
//
// Calls are those of a Pid: errors, outcomes (OutcomeOf), deadlines, cancel and
// what rides on the context (Deliver, Idempotent, SetHeader) are the same, and
// in a handler such a call is a nested one. The request's headers reach the
// handler as those of SetHeader, with names in lower case and values of one name
// joined by ", "; the header Idempotency-Key is not among them, as it stands for
// Idempotent. A replayed answer has the response header Idempotency-Replayed.
//
// A server stream is open when the client has sent its request; closing it, or the
// end of the context, frees it. Services that are no actors are refused as NotFound,
// and methods that take a stream of requests as Unimplemented.
func NewTransport(from Caller, key string) connect.Transport {
	return &transport{from: from, key: key}
}

type transport struct {
	from Caller
	key  string
	// specs are what the methods declare, by descriptor. There are no more than
	// the program has methods.
	specs sync.Map
}

// NewClientStream implements connect.Transport.
func (t *transport) NewClientStream(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
	method, fail := t.method(spec)
	if fail != nil {
		return nil, fail.err()
	}
	info, ok := connect.CallInfoForClientContext(ctx)
	if ok {
		info.Spec, info.Protocol, info.Codec = spec, "cajun", connect.CodecNameProto
	}
	call := &unaryStream{ctx: ctx, transport: t, spec: method, info: info}
	if method.streams {
		var end context.CancelFunc
		call.ctx, end = context.WithCancel(ctx)
		return &eventStream{unaryStream: call, end: end}, nil
	}
	return call, nil
}

// method finds what a procedure's schema declares.
func (t *transport) method(spec connect.Spec) (*methodSpec, *failure) {
	desc, ok := spec.Schema.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, refuse(connect.CodeInvalidArgument, "the call of %s comes without a proto schema: use a client that protoc-gen-connect-go has generated", spec.Procedure)
	}
	if desc.IsStreamingClient() {
		return nil, refuse(connect.CodeUnimplemented, "%s takes a stream of requests, which no actor does", spec.Procedure)
	}
	if desc.IsStreamingServer() != (spec.StreamType == connect.StreamTypeServer) {
		return nil, refuse(connect.CodeUnimplemented, "the client takes %s for a %v method, which it is not: generate the client anew", spec.Procedure, spec.StreamType)
	}
	if known, ok := t.specs.Load(desc); ok {
		return known.(*methodSpec), nil
	}
	service, ok := desc.Parent().(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, refuse(connect.CodeInvalidArgument, "the schema of %s belongs to no service", spec.Procedure)
	}
	kind, ok := describeKind(service, string(service.FullName()))
	if !ok {
		return nil, refuse(connect.CodeNotFound, "the service %s is no actor: give it the option (cajun.v1.actor)", service.FullName())
	}
	method := describeMethod(kind, desc)
	method.reply = fixedType(knownType(desc.Output()))
	t.specs.Store(desc, &method)
	return &method, nil
}

// knownType is the generated type of a message, if the program has it.
func knownType(message protoreflect.MessageDescriptor) protoreflect.MessageType {
	if t, err := protoregistry.GlobalTypes.FindMessageByName(message.FullName()); err == nil && t.Descriptor() == message {
		return t
	}
	return dynamicpb.NewMessageType(message)
}

// unaryStream is one call. It is made when the client asks for the reply, as the
// type of the message tells which one the client knows.
type unaryStream struct {
	ctx       context.Context
	transport *transport
	spec      *methodSpec
	info      *connect.CallInfo

	mu       sync.Mutex
	request  proto.Message
	sent     chan struct{} // made by who waits for the request
	closed   bool
	received bool
}

// SendHeaders implements connect.ClientStream: there is nobody to send them to
// before the request.
func (s *unaryStream) SendHeaders() error { return nil }

// Send implements connect.ClientStream.
func (s *unaryStream) Send(msg any) error {
	req, ok := msg.(proto.Message)
	if !ok {
		return refuse(connect.CodeInvalidArgument, "the request of %s is a %T and no proto message", s.spec.path(), msg).err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return io.EOF
	case s.request != nil:
		return refuse(connect.CodeInternal, "%s takes one request, and this is another one", s.spec.path()).err()
	}
	s.request = req
	s.wake()
	return nil
}

// CloseSend implements connect.ClientStream.
func (s *unaryStream) CloseSend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.wake()
	return nil
}

// Close implements connect.ClientStream. A call that is under way goes on until
// its context ends.
func (s *unaryStream) Close() error { return s.CloseSend() }

func (s *unaryStream) wake() {
	if s.sent != nil {
		close(s.sent)
		s.sent = nil
	}
}

// Receive implements connect.ClientStream: it makes the call.
func (s *unaryStream) Receive(msg any) error {
	if s.received {
		return io.EOF
	}
	s.received = true
	reply, ok := msg.(proto.Message)
	if !ok {
		return refuse(connect.CodeInvalidArgument, "the reply of %s cannot be read into a %T, which is no proto message", s.spec.path(), msg).err()
	}
	req, err := s.await()
	if err != nil {
		return err
	}
	spec := *s.spec
	spec.request, spec.reply = fixedType(req.ProtoReflect().Type()), fixedType(reply.ProtoReflect().Type())
	replayed := false
	ctx := context.WithValue(s.options(), replayedKey{}, &replayed)
	got, err := invoke(ctx, NewPid(s.transport.from, spec.kind, s.transport.key), &spec, req)
	if replayed && s.info != nil {
		s.info.ResponseHeader().Set(ReplayedHeader, "true")
	}
	if err != nil {
		return err
	}
	if got == nil {
		got = new(emptypb.Empty) // of a one-way method
	}
	proto.Reset(reply)
	proto.Merge(reply, got)
	return nil
}

// await waits for the request.
func (s *unaryStream) await() (proto.Message, error) {
	s.mu.Lock()
	for s.request == nil && !s.closed {
		sent := make(chan struct{})
		s.sent = sent
		s.mu.Unlock()
		select {
		case <-sent:
		case <-s.ctx.Done():
			return nil, interrupted(causeOf(s.ctx), guarantee.NotExecuted, "before the request was sent").err()
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	if s.request == nil {
		return nil, refuse(connect.CodeInvalidArgument, "the call of %s was closed before its request was sent", s.spec.path()).because(errors.New("no request")).err()
	}
	return s.request, nil
}

// options puts the request's headers on the call's context.
func (s *unaryStream) options() context.Context {
	if s.info == nil || s.info.RequestHeader().Len() == 0 {
		return s.ctx
	}
	o := callOptionsFrom(s.ctx)
	headers := make(map[string]string, len(o.headers)+s.info.RequestHeader().Len())
	for name, values := range s.info.RequestHeader().All() {
		if name == IdempotencyKeyHeader {
			if o.key == nil && len(values) > 0 {
				o.key = &callKey{key: values[0]}
			}
			continue
		}
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	for name, value := range o.headers {
		headers[name] = value
	}
	o.headers = headers
	return context.WithValue(s.ctx, callOptionsKey{}, &o)
}

// eventStream is one call that gives a stream. The call is made when the client has
// sent its request, so that it misses nothing of what comes after that.
type eventStream struct {
	*unaryStream
	// end ends the call's context, so that closing waits for no actor to open the stream.
	end     context.CancelFunc
	opening sync.Once
	reader  *reader
	err     error // why there is no reader, or how the stream has ended
}

// CloseSend implements connect.ClientStream.
func (s *eventStream) CloseSend() error {
	err := s.unaryStream.CloseSend()
	s.mu.Lock()
	sent := s.request != nil
	s.mu.Unlock()
	if sent {
		s.opening.Do(s.open)
	}
	return err
}

// open makes the call.
func (s *eventStream) open() {
	req, err := s.await()
	if err != nil {
		s.err = err
		return
	}
	spec := *s.spec
	spec.request = fixedType(req.ProtoReflect().Type())
	if s.reader, s.err = openStream(s.options(), NewPid(s.transport.from, spec.kind, s.transport.key), &spec, req); s.err != nil {
		s.end()
	}
}

// Receive implements connect.ClientStream.
func (s *eventStream) Receive(msg any) error {
	to, ok := msg.(proto.Message)
	if !ok {
		return refuse(connect.CodeInvalidArgument, "an event of %s cannot be read into a %T, which is no proto message", s.spec.path(), msg).err()
	}
	s.opening.Do(s.open)
	if s.err != nil {
		return s.err
	}
	e := s.reader.next()
	switch {
	case e.fail != nil:
		s.err = e.fail.err()
	case e.last:
		s.err = io.EOF
	default:
		return copyMessage(to, e.message)
	}
	s.reader.close()
	s.end()
	return s.err
}

// Close implements connect.ClientStream.
func (s *eventStream) Close() error {
	err := s.unaryStream.CloseSend()
	s.end()
	s.opening.Do(func() {
		s.err = interrupted(context.Canceled, guarantee.NotExecuted, "before the stream was opened").err()
	})
	if s.reader != nil {
		s.reader.fail(interrupted(context.Canceled, guarantee.MaybeExecuted, "while the stream was open"))
		s.reader.close()
	}
	return err
}

// copyMessage makes to equal to from, which may have another Go type.
func copyMessage(to, from proto.Message) error {
	if to.ProtoReflect().Type() == from.ProtoReflect().Type() {
		proto.Reset(to)
		proto.Merge(to, from)
		return nil
	}
	if err := transcribe(to, from); err != nil {
		return unreadableReply(err).err()
	}
	return nil
}
