//go:build unix

package connectlink

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	linkv1 "github.com/cajun-go/cajun/gen/cajun/link/v1"
	"github.com/cajun-go/cajun/link"
)

// BenchmarkEcho measures calls there and back over loopback: this link, plain
// TCP with the same batches (the limit), and one request per call in grpc-go.
// Both ends share the process; read the ratios. On a busy machine the CPU time
// per call says more than the wall clock.
func BenchmarkEcho(b *testing.B) {
	for _, callers := range []int{1, 64, 256, 1024} {
		for _, impl := range []struct {
			name  string
			start func(*testing.B, int) func(caller int) error
		}{
			{"tcp", startTCP},
			{"connectlink", startLink},
			{"grpc", startGRPC},
		} {
			b.Run(fmt.Sprintf("callers=%d/%s", callers, impl.name), func(b *testing.B) {
				call := impl.start(b, callers)
				if err := call(0); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				b.ResetTimer()
				before := cpuTime(b)
				var wg sync.WaitGroup
				for c := range callers {
					wg.Go(func() {
						for i := c; i < b.N; i += callers {
							if err := call(c); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/call")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
			})
		}
	}
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// waiters hands replies to callers.
type waiters []chan struct{}

func newWaiters(n int) waiters {
	w := make(waiters, n)
	for i := range w {
		w[i] = make(chan struct{}, 1)
	}
	return w
}

func (w waiters) Receive(_ string, f link.Frame) { w[f.Response.ID-1] <- struct{}{} }
func (waiters) PeerDown(string, error)           {}

// requests are the frames of the callers, one each.
func requests(callers int) []link.Request {
	rs := make([]link.Request, callers)
	for i := range rs {
		rs[i] = link.Request{
			ID: uint64(i + 1), Kind: "bank.v1.Account", Key: fmt.Sprintf("account-%d", i), Method: "Deposit",
			Shard: uint32(i), Epoch: 7, Payload: make([]byte, 32),
		}
	}
	return rs
}

type echoer struct {
	link.Endpoint
	b     *testing.B
	reply link.Response // one stream, so one goroutine
}

func (e *echoer) Receive(from string, f link.Frame) {
	e.reply.ID, e.reply.Payload = f.Request.ID, f.Request.Payload
	if err := e.Send(context.Background(), link.Peer{Session: from}, link.Frame{Response: &e.reply}); err != nil {
		e.b.Error(err)
	}
}

func (*echoer) PeerDown(string, error) {}

func startLink(b *testing.B, callers int) func(int) error {
	server, client := &echoer{b: b}, newWaiters(callers)
	var err error
	server.Endpoint, err = New().Open(b.Context(), link.Config{Cluster: "c", Session: "server", Receiver: server})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Close() })
	e, err := New().Open(b.Context(), link.Config{Cluster: "c", Session: "client", Receiver: client, ClientOnly: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = e.Close() })
	to, rs := link.Peer{Session: "server", Address: server.Address()}, requests(callers)
	return func(c int) error {
		if err := e.Send(context.Background(), to, link.Frame{Request: &rs[c]}); err != nil {
			return err
		}
		<-client[c]
		return nil
	}
}

// startTCP sends the same frames in the same batches, each behind its length.
func startTCP(b *testing.B, callers int) func(int) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	client := newWaiters(callers)
	near, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	far, err := listener.Accept()
	if err != nil {
		b.Fatal(err)
	}
	toFar, toNear := newOutbox(defaultSendBuffer), newOutbox(defaultSendBuffer)
	var wg sync.WaitGroup
	wg.Go(func() { tcpWrite(near, toFar) })
	wg.Go(func() { tcpWrite(far, toNear) })
	wg.Go(func() {
		tcpRead(far, func(f link.Frame) {
			r := link.Response{ID: f.Request.ID, Payload: f.Request.Payload}
			if err := toNear.add(context.Background(), &link.Frame{Response: &r}); err != nil {
				b.Error(err)
			}
		})
	})
	wg.Go(func() { tcpRead(near, func(f link.Frame) { client.Receive("", f) }) })
	b.Cleanup(func() {
		_ = listener.Close()
		_ = near.Close()
		_ = far.Close()
		toFar.close(true)
		toNear.close(true)
		wg.Wait()
	})
	rs := requests(callers)
	return func(c int) error {
		if err := toFar.add(context.Background(), &link.Frame{Request: &rs[c]}); err != nil {
			return err
		}
		<-client[c]
		return nil
	}
}

func tcpWrite(w io.Writer, out *outbox) {
	var batch []byte
	for {
		var ok bool
		if batch, ok = out.take(batch); !ok {
			return
		}
		var head [4]byte
		binary.BigEndian.PutUint32(head[:], uint32(len(batch)))
		buffers := net.Buffers{head[:], batch}
		if _, err := buffers.WriteTo(w); err != nil {
			return
		}
	}
}

func tcpRead(r io.Reader, receive func(link.Frame)) {
	in := bufio.NewReaderSize(r, readBuffer)
	decoder := link.NewDecoder(0)
	var batch []byte
	for {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		size := int(binary.BigEndian.Uint32(head[:]))
		if cap(batch) < size {
			batch = make([]byte, size)
		}
		batch = batch[:size]
		if _, err := io.ReadFull(in, batch); err != nil {
			return
		}
		_ = link.WalkBatch(batch, nil, func(encoded []byte) error {
			f, err := decoder.Frame(encoded)
			if err == nil {
				receive(f)
			}
			return err
		})
	}
}

// startGRPC sends each call as a unary request of generated messages.
func startGRPC(b *testing.B, callers int) func(int) error {
	const method = "/bench.Echo/Echo"
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Echo",
			Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				var in linkv1.Request
				if err := decode(&in); err != nil {
					return nil, err
				}
				return &linkv1.Response{Id: in.Id, Payload: in.Payload}, nil
			},
		}},
	}, struct{}{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(listener) })
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		wg.Wait()
	})
	rs := make([]*linkv1.Request, callers)
	for i, r := range requests(callers) {
		rs[i] = &linkv1.Request{
			Id: r.ID, Kind: r.Kind, Key: r.Key, Method: r.Method, Shard: r.Shard, Epoch: r.Epoch, Payload: r.Payload,
		}
	}
	return func(c int) error {
		var reply linkv1.Response
		return conn.Invoke(context.Background(), method, rs[c], &reply)
	}
}
