package bench

import (
	"context"
	"fmt"
	"testing"

	benchv1 "github.com/cajun-go/cajun/bench/gen/bench/v1"
	"github.com/cajun-go/cajun/bench/gen/bench/v1/benchv1cajun"
	"github.com/cajun-go/cajun/cajunetcd"
)

// BenchmarkLocal compares a call of an actor of the same node with the floor of
// handing a message to another goroutine and back.
func BenchmarkLocal(b *testing.B) {
	req := &benchv1.EchoRequest{Payload: make([]byte, 32)}
	b.Run("channel-ping-pong", func(b *testing.B) {
		there, back := make(chan *benchv1.EchoRequest), make(chan *benchv1.EchoRequest)
		go func() {
			for r := range there {
				back <- r
			}
		}()
		defer close(there)
		run(b, 1, func(int) error { there <- req; <-back; return nil })
	})
	pid := benchv1cajun.NewEchoPid(start(b, inMemory(b), hosts()), "local")
	plain := context.Background()
	cancellable, cancel := context.WithCancel(plain)
	defer cancel()
	for _, c := range []struct {
		name string
		call func(int) error
	}{
		{"immutable", func(int) error { _, err := pid.EchoShared(plain, req); return err }},
		{"copied", func(int) error { _, err := pid.Echo(plain, req); return err }},
		{"immutable-cancellable", func(int) error { _, err := pid.EchoShared(cancellable, req); return err }},
		{"copied-cancellable", func(int) error { _, err := pid.Echo(cancellable, req); return err }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for range 200 { // past the first calls, which are only watched
				if err := c.call(0); err != nil {
					b.Fatal(err)
				}
			}
			run(b, 1, c.call)
		})
	}
}

// BenchmarkRemote compares calls of actors on another node with a plain TCP
// echo in batches, the limit, and with a unary grpc-go echo.
func BenchmarkRemote(b *testing.B) {
	req := &benchv1.EchoRequest{Payload: make([]byte, 32)}
	for _, n := range callers {
		b.Run(name(n), func(b *testing.B) {
			b.Run("tcp-limit", func(b *testing.B) { run(b, n, newTCPEcho(b, n)) })
			b.Run("grpc-unary", func(b *testing.B) { run(b, n, newGRPCEcho(b)) })
			b.Run("cajun", func(b *testing.B) {
				pids := remotePids(b, min(n, 256))
				run(b, n, func(c int) error {
					_, err := pids[c%len(pids)].Echo(context.Background(), req)
					return err
				})
			})
		})
	}
}

// BenchmarkRemoteOneWay sends calls that nobody waits for. A last call with a
// reply shows when they have arrived.
func BenchmarkRemoteOneWay(b *testing.B) {
	req := &benchv1.EchoRequest{Payload: make([]byte, 32)}
	for _, n := range callers {
		b.Run(name(n), func(b *testing.B) {
			pids := remotePids(b, min(n, 256))
			run(b, n, func(c int) error { return pids[c%len(pids)].Note(context.Background(), req) })
			if _, err := pids[0].Echo(context.Background(), req); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkColdActivation calls actors that are not in memory yet.
func BenchmarkColdActivation(b *testing.B) {
	node := start(b, inMemory(b), hosts())
	req := &benchv1.EchoRequest{}
	serial := 0
	run(b, 1, func(int) error {
		serial++
		_, err := benchv1cajun.NewEchoPid(node, fmt.Sprint("cold-", serial)).EchoShared(context.Background(), req)
		return err
	})
}

// BenchmarkIdleActor reports what an idle actor costs, its key and its place in
// the tables included.
func BenchmarkIdleActor(b *testing.B) {
	const actors = 200_000
	for b.Loop() {
		b.StopTimer()
		node := start(b, inMemory(b), hosts())
		for i := range 5000 { // the shards are claimed and the workers there
			if _, err := benchv1cajun.NewEchoPid(node, fmt.Sprint("warm-", i)).Echo(b.Context(), &benchv1.EchoRequest{}); err != nil {
				b.Fatal(err)
			}
		}
		before := heap()
		b.StartTimer()
		for i := range actors {
			if _, err := benchv1cajun.NewEchoPid(node, fmt.Sprint("idle-", i)).Echo(b.Context(), &benchv1.EchoRequest{}); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		b.ReportMetric(float64(heap()-before)/actors, "B/actor")
		node.Close()
		b.StartTimer()
	}
}

// BenchmarkHotActor makes EXACTLY_ONCE calls of one actor on an embedded etcd:
// those that wait in its mailbox share a commit.
func BenchmarkHotActor(b *testing.B) {
	for _, n := range callers {
		b.Run(name(n), func(b *testing.B) {
			node := start(b, cajunetcd.With(startEtcd(b).Config()), hosts())
			pid := benchv1cajun.NewCounterPid(node, "hot")
			run(b, n, func(int) error {
				_, err := pid.Add(context.Background(), &benchv1.AddRequest{Amount: 1})
				return err
			})
		})
	}
}

// BenchmarkExactlyOnce makes EXACTLY_ONCE calls on an embedded etcd with fsync,
// one actor per caller.
func BenchmarkExactlyOnce(b *testing.B) {
	for _, n := range callers {
		b.Run(name(n), func(b *testing.B) {
			node := start(b, cajunetcd.With(startEtcd(b).Config()), hosts())
			pids := make([]benchv1cajun.CounterPid, n)
			for i := range pids {
				pids[i] = benchv1cajun.NewCounterPid(node, fmt.Sprint("counter-", i))
				if _, err := pids[i].Add(b.Context(), &benchv1.AddRequest{}); err != nil {
					b.Fatal(err)
				}
			}
			run(b, n, func(c int) error {
				_, err := pids[c].Add(context.Background(), &benchv1.AddRequest{Amount: 1})
				return err
			})
		})
	}
}
