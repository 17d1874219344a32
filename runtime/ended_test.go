package cajun_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/link/memlink"
	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/memmeta"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/memstate"
)

// blind is a metadata store whose watches do not tell of the end of a session.
type blind struct {
	metadata.Store
	session string
}

func (b blind) Watch(ctx context.Context, prefix string, after int64) <-chan metadata.Batch {
	in, out := b.Store.Watch(ctx, prefix, after), make(chan metadata.Batch)
	go func() {
		defer close(out)
		for batch := range in {
			batch.Events = slices.DeleteFunc(slices.Clone(batch.Events), func(e metadata.Event) bool {
				return e.Deleted && strings.HasSuffix(e.Entry.Key, b.session)
			})
			select {
			case out <- batch:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// TestEndedCallers: what an actor remembers of a session goes after the session
// has ended, and none of its calls that comes after that runs again: neither on
// the owner that forgot them nor on the next one, which was not told of the end.
func TestEndedCallers(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		stage, network, meta, records := newStage(), memlink.NewNetwork(), memmeta.New(), memstate.New()
		s := &spy{responses: make(chan link.Response, 16)}
		id := member.NewID()
		start := func(meta metadata.Store) *cajun.Node {
			node, err := cajun.Start(t.Context(), stage.options(), cajun.WithMetadata(meta), cajun.WithState(records),
				cajun.WithTransport(network.Transport()), cajun.WithLogger(slog.New(slog.DiscardHandler)))
			if err != nil {
				t.Fatal(err)
			}
			return node
		}
		space, err := metadata.NewSpace(cajun.DefaultCluster)
		if err != nil {
			t.Fatal(err)
		}
		if s.endpoint, err = network.Transport().Open(t.Context(), link.Config{Cluster: cajun.DefaultCluster, Session: id, Receiver: s}); err != nil {
			t.Fatal(err)
		}
		defer s.endpoint.Close()
		session, err := member.Join(t.Context(), member.Config{Store: meta, Space: space, Member: member.Member{Session: id, ClientOnly: true}})
		if err != nil {
			t.Fatal(err)
		}
		first := start(meta)
		defer first.Close()
		payload, _ := proto.Marshal(&probev1.AddRequest{Amount: 10})
		frames := uint64(0)
		call := func(node *cajun.Node) link.Response {
			t.Helper()
			shard, owned := node.Cluster().Owner(probev1cajun.NewCounterPid(node, "a"))
			if !owned {
				t.Fatal("nobody owns the actor")
			}
			frames++
			members := node.Cluster().Members
			me := members[slices.IndexFunc(members, func(m cajun.ClusterMember) bool { return m.Session == node.ID() })]
			got := s.ask(t, link.Peer{Session: node.ID(), Address: me.Address}, link.Request{ID: frames, Kind: probev1cajun.CounterKind, Key: "a",
				Method: "AddOnce", Shard: shard.Number, Epoch: shard.Epoch, Level: guarantee.ExactlyOnce,
				Call: guarantee.CallID{Sequence: 1}, Watermark: 1, Repeat: frames > 1, Payload: payload})
			if len(got) != 1 {
				t.Fatalf("%d answers", len(got))
			}
			return got[0]
		}
		rows := func(node *cajun.Node) (callers []string) {
			shard, _ := node.Cluster().Owner(probev1cajun.NewCounterPid(node, "a"))
			kept, err := records.Load(t.Context(), state.Actor{Shard: state.Shard{Kind: probev1cajun.CounterKind, Number: shard.Number}, Key: "a"},
				state.Fence{Epoch: shard.Epoch, Session: node.ID()})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range kept.Rows {
				callers = append(callers, r.Name)
			}
			return callers
		}
		refused := func(what string, r link.Response) {
			t.Helper()
			if r.Outcome != guarantee.NotExecuted || r.Code == 0 || !strings.Contains(r.Message, "no member") {
				t.Errorf("%s: %+v", what, r)
			}
		}

		wantSum(t, probev1cajun.NewCounterPid(first, "a"), 0, 0)
		for range 2 {
			if r := call(first); r.Code != 0 {
				t.Fatalf("the call: %+v", r)
			}
		}
		wantSum(t, probev1cajun.NewCounterPid(first, "a"), 10, 1)
		next := start(blind{meta, id}) // it knows the session
		defer next.Close()
		during(balanceTime)
		if err := session.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		during(balanceTime)
		refused("after the session's end", call(first))
		if got := rows(first); !slices.Contains(got, "c/"+id) {
			t.Errorf("rows before the next commit: %q", got)
		}
		if _, err := probev1cajun.NewCounterPid(first, "a").Add(t.Context(), &probev1.AddRequest{Amount: 1}); err != nil {
			t.Fatal(err)
		}
		if got := rows(first); len(got) != 0 {
			t.Errorf("rows after the next commit: %q", got)
		}

		if err := first.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantSum(t, probev1cajun.NewCounterPid(next, "a"), 11, 2)
		refused("at the next owner", call(next))
		wantSum(t, probev1cajun.NewCounterPid(next, "a"), 11, 2)
	})
}
