package cajun

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cajun-go/cajun/guarantee"
)

// GeneratedV1 is named by generated code, so that code generated for another
// version of this surface does not compile: update the module and the plugin
// together.
const GeneratedV1 = true

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

// Method is a method with a reply, as generated code calls and hosts it.
type Method[Req, Res proto.Message] struct{ spec methodSpec }

// OneWay is a method without a reply.
type OneWay[Req proto.Message] struct{ spec methodSpec }

type methodSpec struct {
	kind *Kind
	name string
	opts MethodOptions
}

// NewMethod describes the method name of kind.
func NewMethod[Req, Res proto.Message](kind *Kind, name string, opts MethodOptions) *Method[Req, Res] {
	return &Method[Req, Res]{spec: methodSpec{kind: kind, name: name, opts: opts}}
}

// NewOneWay describes the one-way method name of kind.
func NewOneWay[Req proto.Message](kind *Kind, name string, opts MethodOptions) *OneWay[Req] {
	return &OneWay[Req]{spec: methodSpec{kind: kind, name: name, opts: opts}}
}

// Call calls the method of the actor that p names.
func (m *Method[Req, Res]) Call(ctx context.Context, p Pid, req Req) (Res, error) {
	panic("under construction")
}

// Send calls the one-way method of the actor that p names.
func (m *OneWay[Req]) Send(ctx context.Context, p Pid, req Req) error {
	panic("under construction")
}

// Handler binds a method to the function of the actor type A that serves it.
type Handler[A any] struct{ spec methodSpec }

// Handle serves m with fn.
func Handle[A any, Req, Res proto.Message](m *Method[Req, Res], fn func(A, context.Context, Req) (Res, error)) Handler[A] {
	return Handler[A]{spec: m.spec}
}

// HandleOneWay serves m with fn.
func HandleOneWay[A any, Req proto.Message](m *OneWay[Req], fn func(A, context.Context, Req) error) Handler[A] {
	return Handler[A]{spec: m.spec}
}

// Host makes the node host kind with actors without durable state, made by
// spawn.
func Host[A any](kind *Kind, spawn func(*Self) (A, error), handlers ...Handler[A]) Option {
	panic("under construction")
}

// HostWithState makes the node host kind with actors that have durable state
// of type S; spawn gets the loaded state and keeps the pointer.
func HostWithState[A any, S proto.Message](kind *Kind, spawn func(*Self, S) (A, error), handlers ...Handler[A]) Option {
	panic("under construction")
}
