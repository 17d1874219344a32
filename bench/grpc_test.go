package bench

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	benchv1 "github.com/cajun-go/cajun/bench/gen/bench/v1"
)

// plainMethod is the path of bench.v1.Plain.Echo.
const plainMethod = "/bench.v1.Plain/Echo"

// serveGRPC serves a unary echo with grpc-go.
func serveGRPC() (address string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.v1.Plain",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			req := new(benchv1.EchoRequest)
			if err := decode(req); err != nil {
				return nil, err
			}
			return &benchv1.EchoReply{Payload: req.GetPayload()}, nil
		}}},
	}, struct{}{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	return listener.Addr().String(), func() { server.Stop(); <-served }, nil
}

// newGRPCEcho connects to a server process and returns a call: one request
// each.
func newGRPCEcho(b *testing.B) func(int) error {
	conn, err := grpc.NewClient(startServer(b, "grpc"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	req := &benchv1.EchoRequest{Payload: make([]byte, 32)}
	return func(int) error {
		return conn.Invoke(context.Background(), plainMethod, req, new(benchv1.EchoReply))
	}
}
