package bench

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	benchv1 "github.com/cajun-go/cajun/bench/gen/bench/v1"
	"github.com/cajun-go/cajun/bench/gen/bench/v1/benchv1cajun"
	"github.com/cajun-go/cajun/cajunetcd"
	"github.com/cajun-go/cajun/metadata/embedetcd"
	"github.com/cajun-go/cajun/metadata/memmeta"
	cajun "github.com/cajun-go/cajun/runtime"
	"github.com/cajun-go/cajun/state/memstate"
)

// echo answers at once.
type echo struct{ benchv1cajun.UnimplementedEcho }

func (echo) Echo(_ context.Context, r *benchv1.EchoRequest) (*benchv1.EchoReply, error) {
	return &benchv1.EchoReply{Payload: r.GetPayload()}, nil
}

func (e echo) EchoShared(ctx context.Context, r *benchv1.EchoRequest) (*benchv1.EchoReply, error) {
	return e.Echo(ctx, r)
}

func (echo) Note(context.Context, *benchv1.EchoRequest) error { return nil }

// counter has durable state.
type counter struct{ state *benchv1.CounterState }

func (c *counter) Add(_ context.Context, r *benchv1.AddRequest) (*benchv1.AddReply, error) {
	c.state.Sum += r.GetAmount()
	return &benchv1.AddReply{Sum: c.state.Sum}, nil
}

func hosts() cajun.Option {
	return cajun.Options(
		benchv1cajun.HostEcho(func(*cajun.Self) (echo, error) { return echo{}, nil }),
		benchv1cajun.HostCounter(func(_ *cajun.Self, s *benchv1.CounterState) (*counter, error) { return &counter{s}, nil }),
		cajun.WithLogger(slog.New(slog.DiscardHandler)),
	)
}

// inMemory are stores in memory that several nodes share.
func inMemory(b *testing.B) cajun.Option {
	meta, records := memmeta.New(), memstate.New()
	b.Cleanup(func() {
		meta.Close()
		records.Close()
	})
	return cajun.Options(cajun.WithMetadata(meta), cajun.WithState(records))
}

// startEtcd starts an etcd in this process, with fsync.
func startEtcd(b *testing.B) *embedetcd.Server {
	server, err := embedetcd.Start(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { server.Close() })
	return server
}

func start(b *testing.B, opts ...cajun.Option) *cajun.Node {
	b.Helper()
	n, err := cajun.Start(b.Context(), opts...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { n.Close() })
	return n
}

// remotePids returns Pids, called through a node of this process, of actors
// that live in another process.
func remotePids(b *testing.B, count int) []benchv1cajun.EchoPid {
	etcd := startEtcd(b).Config()
	startServer(b, "cajun", etcdVariable+"="+strings.Join(etcd.Endpoints, ","))
	caller := start(b, cajunetcd.With(etcd), cajun.WithClientOnly(), cajun.WithLogger(slog.New(slog.DiscardHandler)))
	pids := make([]benchv1cajun.EchoPid, count)
	for i := range pids {
		pids[i] = benchv1cajun.NewEchoPid(caller, fmt.Sprint("actor-", i))
		if _, err := pids[i].Echo(b.Context(), &benchv1.EchoRequest{}); err != nil {
			b.Fatal(err)
		}
	}
	return pids
}
