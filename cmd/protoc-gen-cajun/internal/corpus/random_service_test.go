package corpus_test

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
)

const emptyMessage = "google.protobuf.Empty"

// visible lists the messages that f may use.
func (s *schema) visible(f *descriptorpb.FileDescriptorProto) []string {
	names := append([]string(nil), s.messages[f.GetName()]...)
	for _, dep := range f.GetDependency() {
		names = append(names, s.messages[dep]...)
	}
	return append(names, emptyMessage)
}

func (s *schema) service(f *descriptorpb.FileDescriptorProto, scope string) {
	service := &descriptorpb.ServiceDescriptorProto{Name: proto.String(s.name(scope)), Options: new(descriptorpb.ServiceOptions)}
	index := int32(len(f.Service))
	s.locate(f, 6, index)
	s.locate(f, 6, index, 1)
	if !s.oneIn(6) {
		proto.SetExtension(service.Options, cajunv1.E_Actor, s.actor(f))
		s.locate(f, 6, index, 3, 57301)
	}
	if s.oneIn(6) {
		service.Options.Deprecated = proto.Bool(true)
	}
	for range s.choose(5) {
		s.method(f, service, full(scope, service.GetName()), index)
	}
	f.Service = append(f.Service, service)
}

func (s *schema) method(f *descriptorpb.FileDescriptorProto, service *descriptorpb.ServiceDescriptorProto, scope string, index int32) {
	messages := s.visible(f)
	method := &descriptorpb.MethodDescriptorProto{
		Name:       proto.String(s.name(scope)),
		InputType:  proto.String("." + pick(s, messages)),
		OutputType: proto.String("." + pick(s, messages)),
		Options:    new(descriptorpb.MethodOptions),
	}
	number := int32(len(service.Method))
	s.locate(f, 6, index, 2, number)
	if s.oneIn(3) && (proto.HasExtension(service.Options, cajunv1.E_Actor) || s.oneIn(20)) {
		options := s.options()
		if options.OneWay && !s.oneIn(20) {
			method.OutputType = proto.String("." + emptyMessage)
		}
		proto.SetExtension(method.Options, cajunv1.E_Method, options)
		s.locate(f, 6, index, 2, number, 4, 57302)
	}
	if s.oneIn(10) {
		method.ServerStreaming = proto.Bool(true)
	}
	if s.oneIn(6) {
		method.Options.Deprecated = proto.Bool(true)
	}
	if s.oneIn(6) && !proto.HasExtension(method.Options, cajunv1.E_Method) || s.oneIn(100) {
		method.Options.IdempotencyLevel = descriptorpb.MethodOptions_NO_SIDE_EFFECTS.Enum()
	}
	service.Method = append(service.Method, method)
}

// actor invents options, most of which are right.
func (s *schema) actor(f *descriptorpb.FileDescriptorProto) *cajunv1.Actor {
	actor := new(cajunv1.Actor)
	switch n := s.choose(60); {
	case n < 20:
		actor.State = pick(s, s.visible(f))
	case n == 20:
		actor.State = pick(s, words)
	}
	actor.Delivery = s.delivery()
	actor.IdleTimeout = s.duration()
	if s.oneIn(10) {
		actor.Shards = uint32(s.choose(256)) << uint(s.choose(10))
		actor.MailboxCapacity = uint32(s.choose(256)) << uint(s.choose(25))
	}
	if s.oneIn(6) {
		actor.Aliases = []string{"old." + s.name("old")}
	} else if s.oneIn(50) {
		actor.Aliases = []string{pick(s, words) + "." + pick(s, words)}
	}
	return actor
}

func (s *schema) options() *cajunv1.Method {
	options := &cajunv1.Method{Delivery: s.delivery(), Timeout: s.duration(), OneWay: s.oneIn(3), Immutable: s.oneIn(3)}
	if options.Delivery > cajunv1.Delivery_DELIVERY_AT_MOST_ONCE && s.oneIn(4) || s.oneIn(50) {
		options.Retry = &cajunv1.Retry{MaxBackoff: s.duration(), MaxAttempts: uint32(s.choose(4))}
		if s.oneIn(5) {
			options.Retry.InitialBackoff = s.duration()
		}
	}
	return options
}

func (s *schema) delivery() cajunv1.Delivery { return cajunv1.Delivery(s.choose(4)) }

func (s *schema) duration() *durationpb.Duration {
	switch n := s.choose(100); {
	case n < 25:
		return &durationpb.Duration{Seconds: int64(s.choose(200)) + 1, Nanos: 1000 * int32(s.choose(256))}
	case n == 25:
		return &durationpb.Duration{Seconds: int64(s.choose(2)) << uint(s.choose(63)), Nanos: int32(s.choose(256)) << uint(s.choose(31))}
	case n == 26:
		return &durationpb.Duration{Seconds: -1}
	}
	return nil
}
