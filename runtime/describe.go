package cajun

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
	"github.com/cajun-go/cajun/guarantee"
)

// describeKind reads from a service's descriptor what its callers have to know,
// under the name that addresses its actors. It reports false for a service that
// is no actor.
func describeKind(service protoreflect.ServiceDescriptor, name string) (*Kind, bool) {
	options := service.Options()
	if !proto.HasExtension(options, cajunv1.E_Actor) {
		return nil, false
	}
	actor, ok := proto.GetExtension(options, cajunv1.E_Actor).(*cajunv1.Actor)
	if !ok {
		return nil, false
	}
	return &Kind{Name: name, Aliases: actor.GetAliases(), Delivery: level(actor.GetDelivery()), Shards: int(actor.GetShards())}, true
}

// describeMethod reads the same of a method. The types of its messages are left
// to the caller.
func describeMethod(kind *Kind, method protoreflect.MethodDescriptor) methodSpec {
	native, _ := method.Options().(*descriptorpb.MethodOptions)
	options, _ := proto.GetExtension(native, cajunv1.E_Method).(*cajunv1.Method)
	retry := options.GetRetry()
	spec := methodSpec{kind: kind, name: string(method.Name()), oneWay: options.GetOneWay(), streams: method.IsStreamingServer(), opts: MethodOptions{
		Delivery: level(options.GetDelivery()),
		Timeout:  span(options.GetTimeout()),
		Retry: guarantee.RetryPolicy{
			InitialBackoff: span(retry.GetInitialBackoff()), MaxBackoff: span(retry.GetMaxBackoff()), MaxAttempts: int(retry.GetMaxAttempts()),
		},
		NoSideEffects: native.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS,
		Immutable:     options.GetImmutable(),
	}}
	if field := keyFieldOf(method.Input()); field != nil {
		spec.opts.KeyField = field.Number()
	}
	return spec
}

// keyFieldOf returns the field that holds the actor's key, or nil.
func keyFieldOf(request protoreflect.MessageDescriptor) protoreflect.FieldDescriptor {
	fields := request.Fields()
	for i := range fields.Len() {
		if marked, _ := proto.GetExtension(fields.Get(i).Options(), cajunv1.E_Key).(bool); marked {
			return fields.Get(i)
		}
	}
	return nil
}

// level is a declared delivery; one that this version does not know promises
// the most that it can.
func level(d cajunv1.Delivery) guarantee.Level {
	if l := guarantee.Level(d); d >= 0 && l.Valid() {
		return l
	}
	return guarantee.ExactlyOnce
}

func span(d *durationpb.Duration) time.Duration { return d.AsDuration() }

// keyIn returns the actor's key that a request holds in field, and whether it
// holds one. A request may also be raw: a message of another type whose unknown
// fields are the encoded request.
func keyIn(field protoreflect.FieldDescriptor, req proto.Message) (string, bool) {
	m := req.ProtoReflect()
	if m.Descriptor() == field.ContainingMessage() {
		if !m.Has(field) {
			return "", false
		}
		return keyText(field, m.Get(field)), true
	}
	if m.Descriptor().FullName() == field.ContainingMessage().FullName() {
		own := m.Descriptor().Fields().ByNumber(field.Number())
		if own == nil || !m.Has(own) {
			return "", false
		}
		return keyText(own, m.Get(own)), true
	}
	var found protoreflect.Value
	for b := []byte(m.GetUnknown()); len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		size := protowire.ConsumeFieldValue(num, typ, b[max(n, 0):])
		if n < 0 || size < 0 {
			return "", false // its owner will say so
		}
		if num == field.Number() {
			if v := scalar(field.Kind(), typ, b[n:n+size]); v.IsValid() {
				found = v // the last one counts
			}
		}
		b = b[n+size:]
	}
	if !found.IsValid() || !field.HasPresence() && found.Equal(field.Default()) {
		return "", false
	}
	return keyText(field, found), true
}

// scalar reads the value of a field that may hold a key. It is invalid when the
// encoding is that of another type.
func scalar(kind protoreflect.Kind, typ protowire.Type, b []byte) (none protoreflect.Value) {
	switch {
	case kind == protoreflect.StringKind && typ == protowire.BytesType:
		v, _ := protowire.ConsumeString(b)
		return protoreflect.ValueOfString(v)
	case typ == protowire.VarintType:
		v, _ := protowire.ConsumeVarint(b)
		switch kind {
		case protoreflect.Int32Kind:
			return protoreflect.ValueOfInt32(int32(v))
		case protoreflect.Sint32Kind:
			return protoreflect.ValueOfInt32(int32(protowire.DecodeZigZag(v & 0xffffffff)))
		case protoreflect.Int64Kind:
			return protoreflect.ValueOfInt64(int64(v))
		case protoreflect.Sint64Kind:
			return protoreflect.ValueOfInt64(protowire.DecodeZigZag(v))
		case protoreflect.Uint32Kind:
			return protoreflect.ValueOfUint32(uint32(v))
		case protoreflect.Uint64Kind:
			return protoreflect.ValueOfUint64(v)
		case protoreflect.EnumKind:
			return protoreflect.ValueOfEnum(protoreflect.EnumNumber(int32(v)))
		}
	case typ == protowire.Fixed32Type:
		v, _ := protowire.ConsumeFixed32(b)
		switch kind {
		case protoreflect.Fixed32Kind:
			return protoreflect.ValueOfUint32(v)
		case protoreflect.Sfixed32Kind:
			return protoreflect.ValueOfInt32(int32(v))
		}
	case typ == protowire.Fixed64Type:
		v, _ := protowire.ConsumeFixed64(b)
		switch kind {
		case protoreflect.Fixed64Kind:
			return protoreflect.ValueOfUint64(v)
		case protoreflect.Sfixed64Kind:
			return protoreflect.ValueOfInt64(int64(v))
		}
	}
	return none
}
