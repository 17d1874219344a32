package gateway

import (
	"context"

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
	statusServing    protoreflect.EnumNumber = 1
	statusNotServing protoreflect.EnumNumber = 2
)

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

// healthMethods serve the service. Watch is unimplemented, which clients take for
// a server whose health they have to ask for.
func (h *handler) healthMethods(file protoreflect.FileDescriptor) []connect.Method {
	service := file.Services().ByName("Health")
	check, watch := service.Methods().ByName("Check"), service.Methods().ByName("Watch")
	return []connect.Method{
		{
			Spec: connect.Spec{Schema: check, Procedure: "/" + healthService + "/Check"},
			Handler: func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
				req := dynamicpb.NewMessage(check.Input())
				if err := stream.Receive(req); err != nil {
					return unread(err)
				}
				status, err := h.health(ctx, req.Get(check.Input().Fields().ByName("service")).String())
				if err != nil {
					return err
				}
				reply := dynamicpb.NewMessage(check.Output())
				reply.Set(check.Output().Fields().ByName("status"), protoreflect.ValueOfEnum(status))
				return stream.Send(reply)
			},
		},
		{
			Spec: connect.Spec{Schema: watch, Procedure: "/" + healthService + "/Watch", StreamType: connect.StreamTypeServer},
			Handler: func(context.Context, connect.Spec, connect.ServerStream) error {
				return refuse(connect.CodeUnimplemented, "ask with Check")
			},
		},
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
