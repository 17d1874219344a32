package cajun

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cajun-go/cajun/guarantee"
)

// GeneratedV1 is named by generated code, so that code generated for another
// version of this surface does not compile: update the module and the plugin
// together.
const GeneratedV1 = true

// Defaults of what a kind declares.
const (
	DefaultIdleTimeout     = 60 * time.Second
	DefaultMailboxCapacity = 1024
	DefaultShards          = 1024
)

// Kind describes an actor kind as its proto service declares it. Generated
// code makes one per service; it is not modified after that. Zero fields stand
// for the defaults that cajun/v1/options.proto documents.
type Kind struct {
	// Name is the service's full name.
	Name string
	// Aliases are other full names that address the same actors.
	Aliases []string
	// Delivery is the level of methods that declare none.
	Delivery guarantee.Level
	// IdleTimeout is how long an unused actor stays in memory.
	IdleTimeout time.Duration
	// MailboxCapacity is how many messages may wait for one actor.
	MailboxCapacity int
	// Shards is into how many parts the kind's keys are cut.
	Shards int
	// Schema points to the descriptor of the file that declares the service. The
	// descriptor itself may be set later than the Kind, while packages
	// initialise. Nodes that host the kind publish it, so that gateways know it;
	// without one the kind is called by generated code only.
	Schema *protoreflect.FileDescriptor
}

// MethodOptions is what a proto method declares beyond its types.
type MethodOptions struct {
	// Delivery is the declared level, if any.
	Delivery guarantee.Level
	// Timeout bounds calls whose context has no deadline.
	Timeout time.Duration
	// Retry shapes the pauses between attempts.
	Retry guarantee.RetryPolicy
	// NoSideEffects says that the method changes nothing.
	NoSideEffects bool
	// Immutable says that requests and replies are not modified after they
	// were handed over, so that local calls pass pointers.
	Immutable bool
	// KeyField is the number of the request field that holds the actor's key;
	// 0 is none.
	KeyField protoreflect.FieldNumber
}

// methodSpec is what caller and host know of a method.
type methodSpec struct {
	kind   *Kind
	name   string
	oneWay bool
	// streams says that the method's reply is a stream of events.
	streams bool
	opts    MethodOptions
	// request and reply tell the types of the messages; reply is nil for
	// one-way methods, and the type of the events for a stream.
	request, reply func() protoreflect.MessageType
	// rawKey is the field that holds the actor's key where requests are known by
	// their encoding alone; KeyField is 0 then.
	rawKey protoreflect.FieldDescriptor
}

// declared returns the level that the method or its service declares. A
// service-wide EXACTLY_ONCE makes a method without side effects AT_LEAST_ONCE:
// it has no effect to deduplicate.
func (s *methodSpec) declared(node guarantee.Level) guarantee.Level {
	level := guarantee.Resolve(guarantee.Unspecified, s.opts.Delivery, s.kind.Delivery, node)
	if s.streams {
		return guarantee.AtMostOnce // what would a repeat of half a stream be?
	}
	if s.opts.NoSideEffects {
		level = min(level, guarantee.AtLeastOnce)
	}
	return level
}

// path names the method in messages.
func (s *methodSpec) path() string { return s.kind.Name + "/" + s.name }

// Method is a method with a reply, as generated code calls and hosts it.
type Method[Req, Res proto.Message] struct{ spec methodSpec }

// OneWay is a method without a reply.
type OneWay[Req proto.Message] struct{ spec methodSpec }

// NewMethod describes the method name of kind.
func NewMethod[Req, Res proto.Message](kind *Kind, name string, opts MethodOptions) *Method[Req, Res] {
	return &Method[Req, Res]{methodSpec{kind: kind, name: name, opts: opts, request: typeOf[Req](), reply: typeOf[Res]()}}
}

// NewOneWay describes the one-way method name of kind.
func NewOneWay[Req proto.Message](kind *Kind, name string, opts MethodOptions) *OneWay[Req] {
	return &OneWay[Req]{methodSpec{kind: kind, name: name, opts: opts, oneWay: true, request: typeOf[Req]()}}
}

// typeOf tells the message type of a generated message's Go type. It is looked
// up when it is asked for: methods are described while packages initialise,
// which may be before the messages' own package has done so.
func typeOf[M proto.Message]() func() protoreflect.MessageType {
	return sync.OnceValue(func() protoreflect.MessageType {
		var none M
		return none.ProtoReflect().Type()
	})
}

// Call calls the method of the actor that p names and returns its reply. The
// error is always a *connect.Error; OutcomeOf tells what it means for the
// call's effects.
func (m *Method[Req, Res]) Call(ctx context.Context, p Pid, req Req) (Res, error) {
	reply, err := invoke(ctx, p, &m.spec, req)
	if err != nil {
		var none Res
		return none, err
	}
	return reply.(Res), nil
}

// Send calls the one-way method of the actor that p names. At AT_MOST_ONCE nil
// means that the call was handed over, and nothing more.
func (m *OneWay[Req]) Send(ctx context.Context, p Pid, req Req) error {
	_, err := invoke(ctx, p, &m.spec, req)
	return err
}

// Handler binds a method to the function of the actor type A that serves it.
type Handler[A any] struct{ method *hostedMethod }

// hostedMethod is a method that this node can run.
type hostedMethod struct {
	spec   *methodSpec
	invoke func(actor any, ctx context.Context, req proto.Message) (proto.Message, error)
	// quick counts the latest calls in a row that were quick, and inlined those
	// that their callers ran; see observe.
	quick, inlined atomic.Int64
}

// Handle serves m with fn.
func Handle[A any, Req, Res proto.Message](m *Method[Req, Res], fn func(A, context.Context, Req) (Res, error)) Handler[A] {
	return Handler[A]{&hostedMethod{spec: &m.spec, invoke: func(actor any, ctx context.Context, req proto.Message) (proto.Message, error) {
		return fn(actor.(A), ctx, req.(Req))
	}}}
}

// HandleOneWay serves m with fn.
func HandleOneWay[A any, Req proto.Message](m *OneWay[Req], fn func(A, context.Context, Req) error) Handler[A] {
	return Handler[A]{&hostedMethod{spec: &m.spec, invoke: func(actor any, ctx context.Context, req proto.Message) (proto.Message, error) {
		return nil, fn(actor.(A), ctx, req.(Req))
	}}}
}

func (m *hostedMethod) newRequest() proto.Message { return m.spec.request().New().Interface() }

// checkReply refuses a reply that no caller could use: none at all, one of
// another type, which only an interceptor can return, or one too large to be
// sent.
func (m *hostedMethod) checkReply(reply proto.Message, limit int) *failure {
	if !m.spec.replies() {
		return nil
	}
	var f *failure
	if reply == nil || !reply.ProtoReflect().IsValid() {
		f = refuse(connect.CodeInternal, "the handler of %s returned neither a reply nor an error: return an empty message instead of nil", m.spec.path())
	} else if reply.ProtoReflect().Type() != m.spec.reply() {
		f = refuse(connect.CodeInternal, "an inbound interceptor returned a %s, which is no reply of %s: return what next returned, or an error", reply.ProtoReflect().Descriptor().FullName(), m.spec.path())
	} else if size := proto.Size(reply); size > limit {
		f = refuse(connect.CodeResourceExhausted, "the reply of %s has %d bytes, at most %d are taken: send less at a time", m.spec.path(), size, limit)
	} else {
		return nil
	}
	f.outcome = guarantee.NotCommitted
	return f
}

// Host makes the node host kind with actors without durable state, made by
// spawn when an actor enters memory.
func Host[A any](kind *Kind, spawn func(*Self) (A, error), handlers ...Handler[A]) Option {
	return optionFunc(func(c *config) {
		h := hosting[A](kind, handlers)
		if spawn != nil {
			h.spawn = func(self *Self, _ proto.Message) (any, error) { return spawn(self) }
		}
		c.hosted = append(c.hosted, h)
	})
}

// HostWithState makes the node host kind with actors that have durable state
// of type S. spawn gets the loaded state and keeps the pointer: handlers
// change it in place, and the runtime stores it before a reply leaves.
func HostWithState[A any, S proto.Message](kind *Kind, spawn func(*Self, S) (A, error), handlers ...Handler[A]) Option {
	return optionFunc(func(c *config) {
		h := hosting[A](kind, handlers)
		state := typeOf[S]()
		h.newState = func() proto.Message { return state().New().Interface() }
		if spawn != nil {
			h.spawn = func(self *Self, st proto.Message) (any, error) { return spawn(self, st.(S)) }
		}
		c.hosted = append(c.hosted, h)
	})
}

// hosting describes a kind to one node. Several nodes may be started with the
// same option, so each gets a value of its own.
func hosting[A any](kind *Kind, handlers []Handler[A]) *hostedKind {
	h := &hostedKind{kind: kind, actorType: reflect.TypeFor[A](), methods: make(map[string]*hostedMethod, len(handlers)), errands: &hostedMethod{spec: errandSpec(kind)}}
	for _, handler := range handlers {
		h.methods[handler.method.spec.name] = &hostedMethod{spec: handler.method.spec, invoke: handler.method.invoke}
	}
	return h
}

// hostedKind is a kind that this node can run.
type hostedKind struct {
	kind      *Kind
	actorType reflect.Type
	methods   map[string]*hostedMethod
	spawn     func(self *Self, state proto.Message) (any, error)
	newState  func() proto.Message // nil for kinds without state
	// errands stands in for a method in requests that are about none.
	errands *hostedMethod

	// What Start fills in.
	identity string
	capacity int
	idle     time.Duration
	shards   shardTable
}

// methodNames returns the names of the methods that this node can run.
func (h *hostedKind) methodNames() []string { return slices.Sorted(maps.Keys(h.methods)) }

// check finds what is wrong with a kind before the node starts.
func (h *hostedKind) check(hasState bool) error {
	if h.spawn == nil {
		return fmt.Errorf("cajun: %s is hosted without a function that makes its actors", h.kind.Name)
	}
	if err := checkHook(h.kind.Name, h.actorType, "OnActivate", reflect.TypeFor[Activator]()); err != nil {
		return err
	}
	if err := checkHook(h.kind.Name, h.actorType, "OnPassivate", reflect.TypeFor[Passivator]()); err != nil {
		return err
	}
	if hasState {
		return nil
	}
	if h.newState != nil {
		return fmt.Errorf("cajun: %s has durable state, and the node has no state store: add cajunetcd.With, which brings both stores, or WithState", h.kind.Name)
	}
	for _, m := range h.methods {
		if m.spec.declared(guarantee.Unspecified) == guarantee.ExactlyOnce {
			return fmt.Errorf("cajun: %s is EXACTLY_ONCE, and the node has no state store to remember its calls in: add WithState", m.spec.path())
		}
	}
	return nil
}

// checkHook refuses a method that has a hook's name but not its signature and
// would silently never be called. One that takes a message is of the actor's
// service, which may call its methods as it likes: such an actor has no such hook.
func checkHook(kind string, actor reflect.Type, name string, hook reflect.Type) error {
	if actor.Kind() == reflect.Interface || actor.Implements(hook) {
		return nil
	}
	m, found := actor.MethodByName(name)
	if !found && actor.Kind() != reflect.Pointer {
		m, found = reflect.PointerTo(actor).MethodByName(name)
	}
	if !found || m.Type.NumIn() > 2 && m.Type.In(2).Implements(reflect.TypeFor[proto.Message]()) {
		return nil
	}
	return fmt.Errorf("cajun: the actor type %v of %s has a method %s that will not be called, as its type is %v: it must be func(context.Context) error with the receiver that the actor is made with", actor, kind, name, m.Type)
}

func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Func, reflect.Interface, reflect.Slice, reflect.Chan:
		return r.IsNil()
	}
	return false
}
