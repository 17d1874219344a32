package schema

import (
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
)

// The field numbers of cajun.v1.Actor, for source positions.
const (
	actorState           = 1
	actorDelivery        = 2
	actorIdleTimeout     = 3
	actorMailboxCapacity = 4
	actorShards          = 5
	actorAliases         = 6
)

const (
	// maxShards bounds what a cluster has to agree on for one kind.
	maxShards = 1 << 16
	// maxInt is the largest count that fits Go's int on every platform.
	maxInt = 1<<31 - 1
)

func (r *reader) actor(file *protogen.File, service *protogen.Service, options *cajunv1.Actor) *Actor {
	in := where{r, file.Desc, string(service.Desc.Name()), func(fields ...int32) protoreflect.SourcePath {
		return actorOption(service, fields...)
	}}
	in.refuseUnknown(options)
	a := &Actor{
		FullName:        string(service.Desc.FullName()),
		GoName:          service.GoName,
		Comment:         remark(service.Comments),
		Deprecated:      isDeprecated(service),
		State:           r.state(in, options.GetState()),
		Aliases:         options.GetAliases(),
		Delivery:        in.level(options.GetDelivery(), actorDelivery),
		IdleTimeout:     in.timeout(options.GetIdleTimeout(), "idle_timeout", actorIdleTimeout),
		MailboxCapacity: options.GetMailboxCapacity(),
		Shards:          options.GetShards(),
	}
	if a.MailboxCapacity > maxInt {
		in.refuse(in.option(actorMailboxCapacity), "mailbox_capacity %d is more than any node can hold: write at most %d, or leave it out for 1024",
			a.MailboxCapacity, maxInt)
	}
	if a.Shards > maxShards {
		in.refuse(in.option(actorShards), "shards %d is out of range: write 1 to %d, or leave it out for 1024", a.Shards, maxShards)
	}
	for _, method := range service.Methods {
		a.Methods = append(a.Methods, r.method(file, method, a))
	}
	return a
}
