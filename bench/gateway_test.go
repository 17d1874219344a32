package bench

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	benchv1 "github.com/cajun-go/cajun/bench/gen/bench/v1"
)

// BenchmarkGateway calls an actor through a gateway as a Connect client does, over
// HTTP/2 without TLS, and a plain Connect server that echoes the same. Client and
// servers are processes of their own on the same cores.
func BenchmarkGateway(b *testing.B) {
	etcd := etcdVariable + "=" + strings.Join(startEtcd(b).Config().Endpoints, ",")
	plain := startServer(b, "connect")
	// The second gateway finds all actors on the node of the first one.
	local := startServer(b, "gateway", etcd)
	remote := startServer(b, "gateway alone", etcd)
	for _, n := range []int{1, 64, 256} {
		for _, c := range []struct{ name, address, path string }{
			{"plain", plain, ""},
			{"local", local, "/actors/echo"},
			{"remote", remote, "/actors/echo"},
		} {
			b.Run(name(n)+"/"+c.name, func(b *testing.B) {
				method := benchv1.File_bench_v1_bench_proto.Services().ByName("Echo").Methods().ByName("Echo")
				spec := connect.Spec{Procedure: "/bench.v1.Echo/Echo", Schema: method}
				clients := make([]*connect.Client, n)
				// Sixteen connections, as from several processes: one is bound by its own lock.
				transports := make([]*http.Transport, min(n, 16))
				for i := range transports {
					transports[i] = &http.Transport{Protocols: new(http.Protocols)}
					transports[i].Protocols.SetUnencryptedHTTP2(true)
					b.Cleanup(transports[i].CloseIdleConnections)
				}
				took := make([][]time.Duration, n)
				for i := range clients {
					hc := &http.Client{Transport: transports[i%len(transports)]}
					path := c.path
					if path != "" { // one actor per client
						path += "-" + name(i)
					}
					clients[i] = connect.NewClient(connecthttp.NewTransport(hc, "http://"+c.address+path))
				}
				req := &benchv1.EchoRequest{Payload: make([]byte, 32)}
				run(b, n, func(i int) error {
					began := time.Now()
					err := clients[i].CallUnary(context.Background(), spec, req, new(benchv1.EchoReply))
					took[i] = append(took[i], time.Since(began))
					return err
				})
				all := slices.Concat(took...)
				slices.Sort(all)
				b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-us")
				b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-us")
			})
		}
	}
}

// serveConnect serves a unary echo with Connect alone.
func serveConnect() (address string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	method := benchv1.File_bench_v1_bench_proto.Services().ByName("Echo").Methods().ByName("Echo")
	server := connect.NewServer()
	server.Register(connect.Method{
		Spec: connect.Spec{Procedure: "/bench.v1.Echo/Echo", Schema: method},
		Handler: func(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
			req := new(benchv1.EchoRequest)
			if err := stream.Receive(req); err != nil {
				return err
			}
			return stream.Send(&benchv1.EchoReply{Payload: req.GetPayload()})
		},
	})
	mux := http.NewServeMux()
	connecthttp.Mount(mux, server)
	hs := &http.Server{Handler: mux, Protocols: new(http.Protocols)}
	hs.Protocols.SetHTTP1(true)
	hs.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error, 1)
	go func() { served <- hs.Serve(listener) }()
	return listener.Addr().String(), func() { hs.Close(); <-served }, nil
}
