package schema

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
	"github.com/cajun-go/cajun/guarantee"
)

const (
	// minTimeout catches seconds written as nanos.
	minTimeout = time.Millisecond
	// maxDuration catches milliseconds or nanoseconds written as seconds.
	maxDuration = 365 * 24 * time.Hour
)

// where is the service or method whose options are being read.
type where struct {
	reader  *reader
	file    protoreflect.FileDescriptor
	subject string
	// option gives the source path of a field of our option.
	option func(fields ...int32) protoreflect.SourcePath
}

// refuse notes a problem at path, about the subject.
func (w where) refuse(path protoreflect.SourcePath, format string, args ...any) {
	w.reader.problems.add(w.file, path, w.subject+": "+format, args...)
}

// refuseUnknown refuses fields that a newer options.proto has: a promise must
// not be dropped in silence.
func (w where) refuseUnknown(options proto.Message) {
	unknown := false
	inspect(options.ProtoReflect(), func(m protoreflect.Message) { unknown = unknown || len(m.GetUnknown()) > 0 })
	if unknown {
		w.refuse(w.option(), "(%s) sets a field that this protoc-gen-cajun does not know: update the plugin to the version of cajun/v1/options.proto",
			optionName(options))
	}
}

// inspect calls visit for m and every message in it.
func inspect(m protoreflect.Message, visit func(protoreflect.Message)) {
	visit(m)
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if field.Message() != nil && field.Cardinality() != protoreflect.Repeated {
			inspect(v.Message(), visit)
		}
		return true
	})
}

func optionName(options proto.Message) string {
	if _, ok := options.(*cajunv1.Actor); ok {
		return string(cajunv1.E_Actor.TypeDescriptor().FullName())
	}
	return string(cajunv1.E_Method.TypeDescriptor().FullName())
}

// level reads a delivery level.
func (w where) level(d cajunv1.Delivery, field int32) guarantee.Level {
	switch d {
	case cajunv1.Delivery_DELIVERY_UNSPECIFIED:
		return guarantee.Unspecified
	case cajunv1.Delivery_DELIVERY_AT_MOST_ONCE:
		return guarantee.AtMostOnce
	case cajunv1.Delivery_DELIVERY_AT_LEAST_ONCE:
		return guarantee.AtLeastOnce
	case cajunv1.Delivery_DELIVERY_EXACTLY_ONCE:
		return guarantee.ExactlyOnce
	}
	w.refuse(w.option(field), "delivery %d is a level that this protoc-gen-cajun does not know: update the plugin to the version of cajun/v1/options.proto", d)
	return guarantee.Unspecified
}

// timeout reads a duration that bounds a wait.
func (w where) timeout(d *durationpb.Duration, name string, fields ...int32) time.Duration {
	v := w.duration(d, name, fields...)
	if v > 0 && v < minTimeout {
		w.refuse(w.option(fields...), "%s %v is too short for anything: write at least %v, such as {seconds: 5}", name, v, minTimeout)
	}
	return v
}

// duration reads a positive duration; 0 stands for one that is left out or
// refused.
func (w where) duration(d *durationpb.Duration, name string, fields ...int32) time.Duration {
	if d == nil {
		return 0
	}
	path := w.option(fields...)
	if malformed(d) {
		w.refuse(path, "%s {seconds: %d, nanos: %d} is no valid duration: nanos have the sign of seconds and are less than a second",
			name, d.GetSeconds(), d.GetNanos())
		return 0
	}
	switch v := d.AsDuration(); {
	case v < 0:
		w.refuse(path, "%s %v is negative: write a positive duration such as {seconds: 5}, or leave it out", name, v)
	case v == 0:
		w.refuse(path, "%s is zero: write a positive duration such as {seconds: 5}, or leave it out for the default", name)
	case v > maxDuration:
		w.refuse(path, "%s is longer than a year (%d s): write a shorter duration; the fields are seconds and nanos", name, d.GetSeconds())
	default:
		return v
	}
	return 0
}

// malformed reports whether the two fields of d contradict each other.
func malformed(d *durationpb.Duration) bool {
	seconds, nanos := d.GetSeconds(), time.Duration(d.GetNanos())
	return nanos.Abs() >= time.Second || seconds > 0 && nanos < 0 || seconds < 0 && nanos > 0
}
