package schema

import (
	"cmp"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
	"github.com/cajun-go/cajun/guarantee"
)

// The field numbers of cajun.v1.Method and cajun.v1.Retry, for source
// positions.
const (
	methodDelivery      = 1
	methodTimeout       = 2
	methodOneWay        = 3
	methodRetry         = 4
	retryInitialBackoff = 1
	retryMaxBackoff     = 2
	retryMaxAttempts    = 3
)

func (r *reader) method(file *protogen.File, method *protogen.Method, a *Actor) *Method {
	subject := string(method.Parent.Desc.Name()) + "." + string(method.Desc.Name())
	in := where{r, file.Desc, subject, func(fields ...int32) protoreflect.SourcePath {
		return methodOption(method, fields...)
	}}
	options := methodOptions(method)
	if options != nil {
		in.refuseUnknown(options)
	}
	native := method.Desc.Options().(*descriptorpb.MethodOptions)
	m := &Method{
		Name:          string(method.Desc.Name()),
		GoName:        method.GoName,
		Comment:       remark(method.Comments),
		Deprecated:    native.GetDeprecated(),
		Request:       r.message(method.Input),
		Response:      r.message(method.Output),
		Delivery:      in.level(options.GetDelivery(), methodDelivery),
		Timeout:       in.timeout(options.GetTimeout(), "timeout", methodTimeout),
		Retry:         in.retry(options.GetRetry()),
		OneWay:        options.GetOneWay(),
		Streams:       method.Desc.IsStreamingServer(),
		NoSideEffects: native.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS,
		Immutable:     options.GetImmutable(),
		KeyField:      r.keyField(method.Input),
	}
	refuseStreaming(in, method, m, options)
	refuseContradictions(in, method, m, a, options)
	return m
}

// retry reads the pauses between attempts.
func (w where) retry(retry *cajunv1.Retry) guarantee.RetryPolicy {
	policy := guarantee.RetryPolicy{
		InitialBackoff: w.duration(retry.GetInitialBackoff(), "initial_backoff", methodRetry, retryInitialBackoff),
		MaxBackoff:     w.timeout(retry.GetMaxBackoff(), "max_backoff", methodRetry, retryMaxBackoff),
		MaxAttempts:    int(min(retry.GetMaxAttempts(), maxInt)),
	}
	if retry.GetMaxAttempts() > maxInt {
		w.refuse(w.option(methodRetry, retryMaxAttempts), "max_attempts %d is out of range: write at most %d, or leave it out for no limit but the deadline",
			retry.GetMaxAttempts(), maxInt)
	}
	if (policy.InitialBackoff == 0) != (retry.GetInitialBackoff() == nil) || (policy.MaxBackoff == 0) != (retry.GetMaxBackoff() == nil) {
		return policy // what is refused already says nothing of the other
	}
	initial := cmp.Or(policy.InitialBackoff, guarantee.DefaultInitialBackoff)
	limit := cmp.Or(policy.MaxBackoff, guarantee.DefaultMaxBackoff)
	switch {
	case initial <= limit:
	case policy.MaxBackoff == 0:
		w.refuse(w.option(methodRetry, retryInitialBackoff), "initial_backoff %v exceeds max_backoff, which is %v unless set: write a max_backoff of at least %v too",
			initial, limit, initial)
	case policy.InitialBackoff == 0:
		w.refuse(w.option(methodRetry, retryMaxBackoff), "max_backoff %v is below initial_backoff, which is %v unless set: write an initial_backoff of at most %v too",
			limit, initial, limit)
	default:
		w.refuse(w.option(methodRetry, retryInitialBackoff), "initial_backoff %v exceeds max_backoff %v: write an initial_backoff of at most %v",
			initial, limit, limit)
	}
	return policy
}

// refuseStreaming refuses what a stream of events cannot be.
func refuseStreaming(in where, method *protogen.Method, m *Method, options *cajunv1.Method) {
	if method.Desc.IsStreamingClient() {
		path := method.Location.Path
		in.refuse(append(path[:len(path):len(path)], pathClientStream),
			"an actor takes one request at a time: declare the request without stream and call once for each, or move the method to a service that is no actor")
	}
	if !m.Streams {
		return
	}
	if m.Delivery > guarantee.AtMostOnce {
		in.refuse(in.option(methodDelivery), "a stream is DELIVERY_AT_MOST_ONCE, as a part of one cannot be repeated: remove delivery; a reader opens the stream again")
	}
	if m.OneWay {
		in.refuse(in.option(methodOneWay), "nobody waits for the events of a one_way method: remove one_way, or write returns (google.protobuf.Empty)")
	}
	if options.GetRetry() != nil {
		in.refuse(in.option(methodRetry), "a stream is never retried: remove retry; a reader opens the stream again")
	}
}

// refuseContradictions refuses promises that cannot be kept together.
func refuseContradictions(in where, method *protogen.Method, m *Method, a *Actor, options *cajunv1.Method) {
	if m.Streams {
		return // see refuseStreaming
	}
	if m.Delivery == guarantee.ExactlyOnce && m.NoSideEffects {
		in.refuse(in.option(methodDelivery), "a NO_SIDE_EFFECTS method has no effect to deduplicate, so it cannot be DELIVERY_EXACTLY_ONCE: write DELIVERY_AT_LEAST_ONCE, or remove its idempotency_level")
	}
	if m.OneWay && method.Desc.Output().FullName() != (*emptypb.Empty)(nil).ProtoReflect().Descriptor().FullName() {
		in.refuse(in.option(methodOneWay), "nobody waits for the reply of a one_way method: write returns (google.protobuf.Empty) in place of %s, or remove one_way",
			method.Desc.Output().FullName())
	}
	if m.OneWay && m.NoSideEffects {
		in.refuse(in.option(methodOneWay), "a one_way method without side effects would do nothing: remove its idempotency_level or one_way")
	}
	if options.GetRetry() == nil || a.Promise(m) != guarantee.AtMostOnce {
		return
	}
	if m.Delivery == guarantee.AtMostOnce {
		in.refuse(in.option(methodRetry), "a DELIVERY_AT_MOST_ONCE method is never retried: remove retry, or write DELIVERY_AT_LEAST_ONCE or DELIVERY_EXACTLY_ONCE")
		return
	}
	in.refuse(in.option(methodRetry), "service %s makes its methods DELIVERY_AT_MOST_ONCE, and such a method is never retried: remove retry, or give the method a delivery of DELIVERY_AT_LEAST_ONCE or DELIVERY_EXACTLY_ONCE",
		method.Parent.Desc.Name())
}
