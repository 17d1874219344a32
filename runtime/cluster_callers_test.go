package cajun_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
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

// callers is a cluster that grows node by node, and a session of the test's own,
// the outsider, which calls the counter "a" as it likes.
type callers struct {
	t       *testing.T
	stage   *stage
	network *memlink.Network
	meta    *memmeta.Store
	records *memstate.Store
	space   metadata.Space

	spy     *spy
	id      string
	session *member.Session
	frames  uint64
}

func newCallers(t *testing.T) *callers {
	space, err := metadata.NewSpace(cajun.DefaultCluster)
	if err != nil {
		t.Fatal(err)
	}
	return &callers{t: t, stage: newStage(), network: memlink.NewNetwork(), meta: memmeta.New(), records: memstate.New(), space: space,
		spy: &spy{responses: make(chan link.Response, 16)}, id: member.NewID()}
}

// start starts a node that sees the metadata through a store of its own.
func (c *callers) start(meta metadata.Store) *cajun.Node {
	c.t.Helper()
	node, err := cajun.Start(c.t.Context(), c.stage.options(), cajun.WithMetadata(meta), cajun.WithState(c.records),
		cajun.WithTransport(c.network.Transport()), cajun.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		c.t.Fatal(err)
	}
	return node
}

// join makes the outsider a member.
func (c *callers) join() {
	c.t.Helper()
	var err error
	if c.spy.endpoint, err = c.network.Transport().Open(c.t.Context(), link.Config{Cluster: cajun.DefaultCluster, Session: c.id, Receiver: c.spy}); err != nil {
		c.t.Fatal(err)
	}
	c.session, err = member.Join(c.t.Context(), member.Config{Store: c.meta, Space: c.space, Member: member.Member{Session: c.id, ClientOnly: true}})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *callers) leave() {
	c.t.Helper()
	if err := c.session.Close(context.Background()); err != nil { // the test's context may have ended
		c.t.Fatal(err)
	}
}

// call makes the outsider's one and only call, again and again: add 10 to "a".
func (c *callers) call(owner *cajun.Node) link.Response {
	c.t.Helper()
	shard, owned := owner.Cluster().Owner(probev1cajun.NewCounterPid(owner, "a"))
	if !owned {
		c.t.Fatal("nobody owns the actor")
	}
	members := owner.Cluster().Members
	me := members[slices.IndexFunc(members, func(m cajun.ClusterMember) bool { return m.Session == owner.ID() })]
	payload, _ := proto.Marshal(&probev1.AddRequest{Amount: 10})
	c.frames++
	got := c.spy.ask(c.t, link.Peer{Session: owner.ID(), Address: me.Address}, link.Request{ID: c.frames, Kind: probev1cajun.CounterKind, Key: "a",
		Method: "AddOnce", Shard: shard.Number, Epoch: shard.Epoch, Level: guarantee.ExactlyOnce,
		Call: guarantee.CallID{Sequence: 1}, Watermark: 1, Repeat: c.frames > 1, Payload: payload})
	if len(got) != 1 {
		c.t.Fatalf("%d answers", len(got))
	}
	return got[0]
}

// rows are the names of what is stored beside "a".
func (c *callers) rows(owner *cajun.Node) []string {
	c.t.Helper()
	return rowsOf(c.t, c.records, owner, probev1cajun.NewCounterPid(owner, "a"))
}

// rowsOf are the names of what is stored beside an actor, whose owner the node
// knows.
func rowsOf(t testing.TB, records state.Store, node *cajun.Node, actor interface {
	cajun.Target
	fmt.Stringer
}) (names []string) {
	t.Helper()
	shard, _ := node.Cluster().Owner(actor)
	kind, key, _ := strings.Cut(actor.String(), "/")
	kept, err := records.Load(t.Context(), state.Actor{Shard: state.Shard{Kind: kind, Number: shard.Number}, Key: key},
		state.Fence{Epoch: shard.Epoch, Session: shard.Owner})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range kept.Rows {
		names = append(names, r.Name)
	}
	return names
}

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

// late is a metadata store whose watches of the members bring nothing while it
// is set.
type late struct {
	metadata.Store
	members string
	on      *atomic.Bool
}

func (l late) Watch(ctx context.Context, prefix string, after int64) <-chan metadata.Batch {
	in, out := l.Store.Watch(ctx, prefix, after), make(chan metadata.Batch)
	go func() {
		defer close(out)
		for batch := range in {
			if prefix == l.members && l.on.Load() {
				<-ctx.Done()
			}
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
		c := newCallers(t)
		c.join()
		defer c.spy.endpoint.Close()
		first := c.start(c.meta)
		defer first.Close()
		refused := func(what string, r link.Response) {
			t.Helper()
			if r.Outcome != guarantee.NotExecuted || r.Code == 0 || !strings.Contains(r.Message, "no member") {
				t.Errorf("%s: %+v", what, r)
			}
		}
		wantSum(t, probev1cajun.NewCounterPid(first, "a"), 0, 0)
		for range 2 {
			if r := c.call(first); r.Code != 0 {
				t.Fatalf("the call: %+v", r)
			}
		}
		wantSum(t, probev1cajun.NewCounterPid(first, "a"), 10, 1)
		next := c.start(blind{c.meta, c.id}) // it knows the session
		defer next.Close()
		during(balanceTime)
		c.leave()
		during(balanceTime)
		refused("after the session's end", c.call(first))
		if got := c.rows(first); !slices.Contains(got, "c/"+c.id) {
			t.Errorf("rows before the next commit: %q", got)
		}
		if _, err := probev1cajun.NewCounterPid(first, "a").Add(t.Context(), &probev1.AddRequest{Amount: 1}); err != nil {
			t.Fatal(err)
		}
		if got := c.rows(first); len(got) != 0 {
			t.Errorf("rows after the next commit: %q", got)
		}
		if err := first.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantSum(t, probev1cajun.NewCounterPid(next, "a"), 11, 2)
		refused("at the next owner", c.call(next))
		wantSum(t, probev1cajun.NewCounterPid(next, "a"), 11, 2)
	})
}

// TestCallersOfWhomTheOwnerHasNotHeard: a session that has joined but is not in
// the owner's view yet is not taken for one that has ended.
func TestCallersOfWhomTheOwnerHasNotHeard(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		c := newCallers(t)
		first := c.start(c.meta)
		defer first.Close()
		wantSum(t, probev1cajun.NewCounterPid(first, "a"), 0, 0)
		behind := late{c.meta, c.space.Members(), new(atomic.Bool)}
		next := c.start(behind)
		defer next.Close()
		during(balanceTime)
		behind.on.Store(true)
		c.join()
		defer c.spy.endpoint.Close()
		defer c.leave()
		if r := c.call(first); r.Code != 0 {
			t.Fatalf("the call: %+v", r)
		}
		if err := first.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := probev1cajun.NewCounterPid(next, "a").Add(t.Context(), &probev1.AddRequest{Amount: 1}); err != nil {
			t.Fatal(err)
		}
		c.call(next)
		wantSum(t, probev1cajun.NewCounterPid(next, "a"), 11, 2)
	})
}
