package cajun

import (
	"context"
	"iter"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cajun-go/cajun/guarantee"
)

// DynamicKind is a kind that is known by its descriptor: who has no generated
// code of it, such as a gateway, calls its actors through one. Node.Kind returns
// it. It is immutable.
type DynamicKind struct {
	name    string
	service protoreflect.ServiceDescriptor
	methods map[string]*DynamicMethod
	// files and types are those of the cluster's schema; nil for a kind that
	// this node hosts, whose types are the generated ones.
	files protodesc.Resolver
	types *dynamicpb.Types
}

// Name is the full name that the kind was asked for by, which may be an alias.
func (k *DynamicKind) Name() string { return k.name }

// Descriptor describes the service. Its name differs from Name when the kind
// was asked for by an alias.
func (k *DynamicKind) Descriptor() protoreflect.ServiceDescriptor { return k.service }

// Types resolves the messages and extensions of a kind that is hosted elsewhere.
// It is nil for one that this node hosts: its types are the generated ones.
func (k *DynamicKind) Types() *dynamicpb.Types { return k.types }

// Method returns the method with this name and whether there is one.
func (k *DynamicKind) Method(name string) (*DynamicMethod, bool) {
	m, ok := k.methods[name]
	return m, ok
}

// DynamicMethod is a method that is known by its descriptor. It is immutable.
type DynamicMethod struct {
	desc protoreflect.MethodDescriptor
	// spec knows the messages by their types, and raw by their encoding alone;
	// raw is nil where the types are generated ones.
	spec, raw *methodSpec
	keyField  protoreflect.FieldDescriptor
}

// Descriptor describes the method.
func (m *DynamicMethod) Descriptor() protoreflect.MethodDescriptor { return m.desc }

// OneWay reports whether nobody waits for the handler.
func (m *DynamicMethod) OneWay() bool { return m.spec.oneWay }

// NoSideEffects reports whether the method changes nothing.
func (m *DynamicMethod) NoSideEffects() bool { return m.spec.opts.NoSideEffects }

// Level is how sure calls through the node are unless the caller asks for more.
func (m *DynamicMethod) Level(n *Node) guarantee.Level { return m.spec.declared(n.config.delivery) }

// NewRequest returns an empty message to decode a request into. With binary set
// it need only hold the encoding: where the types are not generated ones, that
// is an Empty, which keeps what it decodes as unknown fields and gives it back
// when it is encoded. That costs a small part of what a dynamic message does.
func (m *DynamicMethod) NewRequest(binary bool) proto.Message {
	if binary && m.raw != nil {
		return new(emptypb.Empty)
	}
	return m.spec.request().New().Interface()
}

// Key returns the actor's key that a request holds in the field that is marked
// for it, and whether it holds one. The request is one of NewRequest.
func (m *DynamicMethod) Key(req proto.Message) (string, bool) {
	if m.keyField == nil {
		return "", false
	}
	return keyIn(m.keyField, req)
}

// KeyField is the request's field that is marked for the actor's key, or nil.
func (m *DynamicMethod) KeyField() protoreflect.FieldDescriptor { return m.keyField }

// Reply is the answer to a call.
type Reply struct {
	// Message is the reply, of the same sort as the request (see NewRequest). It
	// is an Empty for a one-way method, and nil after an error.
	Message proto.Message
	// Replayed says that the answer, an error included, is one that an earlier
	// call with the same key (see Idempotent) got.
	Replayed bool
}

// Call calls the method of the actor with this key through from. Requests are
// made by NewRequest and belong to the runtime afterwards. What errors mean,
// deadlines, cancel, and what a one-way call waits for is as with a generated
// Pid, and so is what rides on the context.
func (m *DynamicMethod) Call(ctx context.Context, from Caller, key string, req proto.Message) (Reply, error) {
	spec, fail := m.specFor(req)
	if fail == nil && spec.streams {
		fail = refuse(connect.CodeUnimplemented, "%s gives a stream: use Open", spec.path())
	}
	if fail != nil {
		return Reply{}, fail.err()
	}
	var reply Reply
	ctx = context.WithValue(ctx, replayedKey{}, &reply.Replayed)
	message, err := invoke(ctx, NewPid(from, spec.kind, key), spec, req)
	if err == nil && message == nil {
		message = new(emptypb.Empty) // of a one-way method
	}
	if err == nil {
		reply.Message = message
	}
	return reply, err
}

// Open is Call for a method that gives a stream; see Stream.Open. The events are of
// the same sort as the request.
func (m *DynamicMethod) Open(ctx context.Context, from Caller, key string, req proto.Message) (iter.Seq2[proto.Message, error], error) {
	spec, fail := m.specFor(req)
	if fail == nil && !spec.streams {
		fail = refuse(connect.CodeUnimplemented, "%s gives no stream: use Call", spec.path())
	}
	if fail != nil {
		return nil, fail.err()
	}
	r, err := openStream(ctx, NewPid(from, spec.kind, key), spec, req)
	if err != nil {
		return nil, err
	}
	return r.read, nil
}

// Streams reports whether the method gives a stream of events.
func (m *DynamicMethod) Streams() bool { return m.spec.streams }

// specFor is what is known of the method for a request of NewRequest.
func (m *DynamicMethod) specFor(req proto.Message) (*methodSpec, *failure) {
	if m.desc.IsStreamingClient() {
		return nil, refuse(connect.CodeUnimplemented, "%s takes a stream of requests, which no actor does", m.spec.path())
	}
	if _, empty := req.(*emptypb.Empty); empty && m.raw != nil {
		return m.raw, nil
	}
	return m.spec, nil
}

// replayedKey is under which a call's context holds where to note that the
// answer was an earlier one.
type replayedKey struct{}

// noteReplay tells who asked for it that the answer was an earlier one.
func (o *outgoing) noteReplay(ctx context.Context) {
	if !o.replayed {
		return
	}
	if note, ok := ctx.Value(replayedKey{}).(*bool); ok {
		*note = true
	}
}

// hostedDynamic is a kind of this node, by a name that addresses it.
func hostedDynamic(h *hostedKind, name string) (*DynamicKind, *failure) {
	if h.kind.Schema == nil || *h.kind.Schema == nil {
		return nil, refuse(connect.CodeUnimplemented, "the kind %s is hosted without a schema: generate its code with a plugin of this version", h.kind.Name)
	}
	service, ok := serviceIn(*h.kind.Schema, h.kind.Name)
	if !ok {
		return nil, refuse(connect.CodeInternal, "the schema of the kind %s does not declare it", h.kind.Name)
	}
	k := &DynamicKind{name: name, service: service, methods: make(map[string]*DynamicMethod)}
	for i := range service.Methods().Len() {
		desc := service.Methods().Get(i)
		hosted, ok := h.methods[string(desc.Name())]
		if !ok {
			continue
		}
		spec := hosted.spec
		if name != h.kind.Name {
			alias := *spec
			alias.kind = &Kind{Name: name, Delivery: h.kind.Delivery}
			spec = &alias
		}
		k.methods[spec.name] = &DynamicMethod{desc: desc, spec: spec, keyField: keyFieldOf(desc.Input())}
	}
	return k, nil
}

// foreignDynamic is a kind that other nodes host, by a name that addresses it.
// raw says that calls may be made without their messages' types.
func foreignDynamic(service protoreflect.ServiceDescriptor, files files, name string, raw bool) (*DynamicKind, *failure) {
	kind, ok := describeKind(service, name)
	if !ok {
		return nil, refuse(connect.CodeNotFound, "the service %s is no actor", service.FullName())
	}
	k := &DynamicKind{name: name, service: service, methods: make(map[string]*DynamicMethod), files: files, types: dynamicpb.NewTypes(files.Files)}
	for i := range service.Methods().Len() {
		desc := service.Methods().Get(i)
		spec := describeMethod(kind, desc)
		spec.request, spec.reply = fixedType(dynamicpb.NewMessageType(desc.Input())), fixedType(dynamicpb.NewMessageType(desc.Output()))
		m := &DynamicMethod{desc: desc, spec: &spec, keyField: keyFieldOf(desc.Input())}
		if raw {
			encoded := spec
			encoded.request, encoded.reply = typeOf[*emptypb.Empty](), typeOf[*emptypb.Empty]()
			encoded.opts.KeyField, encoded.rawKey = 0, m.keyField
			m.raw = &encoded
		}
		k.methods[spec.name] = m
	}
	return k, nil
}

// fixedType is a message type that is known.
func fixedType(t protoreflect.MessageType) func() protoreflect.MessageType {
	return func() protoreflect.MessageType { return t }
}

// serviceIn finds a service in the file that declares it.
func serviceIn(file protoreflect.FileDescriptor, name string) (protoreflect.ServiceDescriptor, bool) {
	full := protoreflect.FullName(name)
	if file.Package() != full.Parent() {
		return nil, false
	}
	service := file.Services().ByName(full.Name())
	return service, service != nil
}
