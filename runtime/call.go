package cajun

import (
	"context"
	"maps"
	"sync/atomic"
	"unicode/utf8"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/journal"
)

// Deliver asks for a delivery level for the calls made with the returned
// context. It may raise the level that a method declares and never lowers it.
func Deliver(ctx context.Context, l guarantee.Level) context.Context {
	o := callOptionsFrom(ctx)
	o.level = l
	return context.WithValue(ctx, callOptionsKey{}, &o)
}

// Idempotent gives the call made with the returned context a key of the
// caller's own, 1 to 256 bytes, and implies EXACTLY_ONCE: whoever repeats the
// call with the same key, from whatever node or process and within a day,
// gets the stored reply. The context binds to the first actor and method that
// it is used for and refuses another.
func Idempotent(ctx context.Context, key string) context.Context {
	o := callOptionsFrom(ctx)
	o.key = &callKey{key: key}
	return context.WithValue(ctx, callOptionsKey{}, &o)
}

// SetHeader sends a header along with the calls made with the returned
// context. It reaches the handler (see CallFrom) and goes no further.
func SetHeader(ctx context.Context, key, value string) context.Context {
	o := callOptionsFrom(ctx)
	o.headers = maps.Clone(o.headers)
	if o.headers == nil {
		o.headers = make(map[string]string)
	}
	o.headers[key] = value
	return context.WithValue(ctx, callOptionsKey{}, &o)
}

type callOptionsKey struct{}

// callOptions is what rides on a caller's context. Values are never modified
// after they were put there.
type callOptions struct {
	level   guarantee.Level
	key     *callKey
	headers map[string]string
}

// callKey is a caller's own key and what it was first used for.
type callKey struct {
	key   string
	bound atomic.Pointer[string]
}

func callOptionsFrom(ctx context.Context) callOptions {
	if o, ok := ctx.Value(callOptionsKey{}).(*callOptions); ok {
		return *o
	}
	return callOptions{}
}

// bind ties the key to one actor and method.
func (k *callKey) bind(target string) *failure {
	switch {
	case k.key == "":
		return refuse(connect.CodeInvalidArgument, "the key given to Idempotent is empty: use one that names this call, such as a request number")
	case len(k.key) > journal.MaxCallKey:
		return refuse(connect.CodeInvalidArgument, "the key given to Idempotent has %d bytes, at most %d are taken: use a hash of it", len(k.key), journal.MaxCallKey)
	case !utf8.ValidString(k.key):
		return refuse(connect.CodeInvalidArgument, "the key given to Idempotent is not UTF-8: encode it, for example in base64")
	}
	if k.bound.CompareAndSwap(nil, &target) {
		return nil
	}
	if first := *k.bound.Load(); first != target {
		return refuse(connect.CodeInvalidArgument, "the context of Idempotent was used for %s and cannot be used for %s: make one context per call", first, target)
	}
	return nil
}

// Call is what a handler or an interceptor sees of a call.
type Call struct {
	// Kind, Key and Method say what is called; Kind is the full name under
	// which the caller knows the actor.
	Kind, Key, Method string
	// ID names the call across all its attempts, the same for every repeat.
	// Hand it to other systems to make effects there idempotent. For an
	// interceptor around an outgoing call it is empty.
	ID string
	// Level is the delivery level that the call runs under.
	Level guarantee.Level
	// Repeat says that an earlier attempt by the same caller may have run. Who
	// repeats a call under a key of Idempotent from another context is not
	// known to repeat it.
	Repeat bool
	// Peer is the session that the call came from.
	Peer string

	headers map[string]string
	out     *outgoing
	in      *call
}

// Header returns the value that the caller set for key, or "".
func (c Call) Header(key string) string { return c.headers[key] }

// Headers calls yield for each header of the call, in no order.
func (c Call) Headers(yield func(key, value string) bool) {
	for k, v := range c.headers {
		if !yield(k, v) {
			return
		}
	}
}

// CallFrom returns the call that a handler runs for. It reports false outside
// a handler.
func CallFrom(ctx context.Context) (Call, bool) {
	if t := turnFrom(ctx); t != nil && !t.call.hook {
		return t.call.describe(), true
	}
	return Call{}, false
}

// Invoker carries out a call or a turn.
type Invoker func(ctx context.Context, call Call, req proto.Message) (proto.Message, error)

// Interceptor wraps every call that a node makes (WithOutbound) or every turn
// that it runs (WithInbound). It may change the context and the request, or
// return without calling next. It may call next again, but not while an earlier
// call of it is under way. The reply of a one-way call is nil, and so is that of one
// that opens a stream.
type Interceptor func(next Invoker) Invoker

// chain puts interceptors around an invoker, the first one outermost. It
// returns nil when there are none, so that the common case costs nothing.
func chainInterceptors(interceptors []Interceptor, last Invoker) Invoker {
	if len(interceptors) == 0 {
		return nil
	}
	for i := len(interceptors) - 1; i >= 0; i-- {
		last = interceptors[i](last)
	}
	return last
}
