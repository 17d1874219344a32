package gateway

import (
	"context"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// healthService is gRPC's own way to ask a server whether it serves.
const healthService = "grpc.health.v1.Health"

// The values of its enum ServingStatus.
const (
	statusServing        protoreflect.EnumNumber = 1
	statusNotServing     protoreflect.EnumNumber = 2
	statusServiceUnknown protoreflect.EnumNumber = 3
)

// healthPeriod is how often Watch looks: what health depends on is spread over node
// and cluster.
const healthPeriod = time.Second

// healthFile describes the service. It is written down here, and not registered,
// as programs that link gRPC have registered it already.
func healthFile() (protoreflect.FileDescriptor, error) {
	field := func(name string, kind descriptorpb.FieldDescriptorProto_Type, typeName *string) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{Name: &name, JsonName: &name, Number: proto.Int32(1), Type: &kind, TypeName: typeName, Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
	}
	status := &descriptorpb.EnumDescriptorProto{Name: proto.String("ServingStatus")}
	for i, name := range []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"} {
		status.Value = append(status.Value, &descriptorpb.EnumValueDescriptorProto{Name: &name, Number: proto.Int32(int32(i))})
	}
	request, response := ".grpc.health.v1.HealthCheckRequest", ".grpc.health.v1.HealthCheckResponse"
	return protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("grpc/health/v1/health.proto"), Package: proto.String("grpc.health.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("HealthCheckRequest"), Field: []*descriptorpb.FieldDescriptorProto{field("service", descriptorpb.FieldDescriptorProto_TYPE_STRING, nil)}},
			{
				Name:     proto.String("HealthCheckResponse"),
				Field:    []*descriptorpb.FieldDescriptorProto{field("status", descriptorpb.FieldDescriptorProto_TYPE_ENUM, proto.String(response+".ServingStatus"))},
				EnumType: []*descriptorpb.EnumDescriptorProto{status},
			},
		},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Health"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: proto.String("Check"), InputType: &request, OutputType: &response},
			{Name: proto.String("Watch"), InputType: &request, OutputType: &response, ServerStreaming: proto.Bool(true)},
		}}},
	}, nil)
}

// healthMethods serve the service.
func (h *handler) healthMethods(file protoreflect.FileDescriptor) []connect.Method {
	method := func(name protoreflect.Name, kind connect.StreamType, serve func(context.Context, string, func(protoreflect.EnumNumber) error) error) connect.Method {
		desc := file.Services().ByName("Health").Methods().ByName(name)
		return connect.Method{
			Spec: connect.Spec{Schema: desc, Procedure: "/" + healthService + "/" + string(name), StreamType: kind},
			Handler: func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
				req := dynamicpb.NewMessage(desc.Input())
				if err := stream.Receive(req); err != nil {
					return unread(err)
				}
				return serve(ctx, req.Get(desc.Input().Fields().ByName("service")).String(), func(status protoreflect.EnumNumber) error {
					reply := dynamicpb.NewMessage(desc.Output())
					reply.Set(desc.Output().Fields().ByName("status"), protoreflect.ValueOfEnum(status))
					return stream.Send(reply)
				})
			},
		}
	}
	return []connect.Method{
		method("Check", connect.StreamTypeUnary, h.checkHealth),
		method("Watch", connect.StreamTypeServer, h.watchHealth),
	}
}

// checkHealth tells the health of a service.
func (h *handler) checkHealth(ctx context.Context, service string, tell func(protoreflect.EnumNumber) error) error {
	status, err := h.health(ctx, service)
	if err != nil {
		return err
	}
	return tell(status)
}

// watchHealth tells the health of a service now and whenever it has changed, until
// the client leaves or the gateway closes. A service that is not known may become so.
func (h *handler) watchHealth(ctx context.Context, service string, tell func(protoreflect.EnumNumber) error) error {
	ticker := time.NewTicker(healthPeriod)
	defer ticker.Stop()
	for told := protoreflect.EnumNumber(-1); ; {
		status, err := h.health(ctx, service)
		if connect.CodeOf(err) == connect.CodeNotFound {
			status = statusServiceUnknown
		} else if err != nil {
			return err
		}
		if status != told {
			if err := tell(status); err != nil {
				return err
			}
			told = status
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-h.closing.Done():
			return refuse(connect.CodeUnavailable, "the gateway is closing: watch another one")
		}
	}
}

// health tells whether the node, or a service of the cluster, serves.
func (h *handler) health(ctx context.Context, service string) (protoreflect.EnumNumber, error) {
	if h.node.Ready() != nil || h.node.Draining() { // callers go elsewhere in time
		return statusNotServing, nil
	}
	if service == "" || service == healthService {
		return statusServing, nil
	}
	if reserved(service) {
		return 0, refuse(connect.CodeNotFound, "there is no service %s here", service)
	}
	switch _, err := h.door(ctx, service); {
	case err == nil:
		return statusServing, nil
	case connect.CodeOf(err) == connect.CodeNotFound:
		return 0, err
	}
	return statusNotServing, nil
}
