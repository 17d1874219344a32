package cajun_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/cajuntest"
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
	"github.com/cajun-go/cajun/state/memstate"
)

// spy is a member that speaks to nodes frame by frame.
type spy struct {
	endpoint  link.Endpoint
	responses chan link.Response
}

func (s *spy) Receive(_ string, f link.Frame) {
	if f.Response != nil {
		r := *f.Response
		if r.Redirect != nil {
			copied := *r.Redirect
			r.Redirect = &copied
		}
		s.responses <- r
	}
}

func (s *spy) PeerDown(string, error) {}

// ask sends a request and returns the responses that come.
func (s *spy) ask(t *testing.T, to link.Peer, r link.Request) []link.Response {
	t.Helper()
	if err := s.endpoint.Send(t.Context(), to, link.Frame{Request: &r}); err != nil {
		t.Fatal(err)
	}
	during(time.Second)
	var got []link.Response
	for len(s.responses) > 0 {
		got = append(got, <-s.responses)
	}
	return got
}

// What arrives under another epoch than the shard's present one does not run,
// and neither does what arrives twice: both may come from long ago.
func TestClusterReceiverChecks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		stage, network, meta, records := newStage(), memlink.NewNetwork(), memmeta.New(), memstate.New()
		node, err := cajun.Start(t.Context(), stage.options(), cajun.WithMetadata(meta), cajun.WithState(records),
			cajun.WithTransport(network.Transport()), cajun.WithLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		space, err := metadata.NewSpace(cajun.DefaultCluster)
		if err != nil {
			t.Fatal(err)
		}
		s := &spy{responses: make(chan link.Response, 16)}
		id := member.NewID()
		if s.endpoint, err = network.Transport().Open(t.Context(), link.Config{Cluster: cajun.DefaultCluster, Session: id, Receiver: s}); err != nil {
			t.Fatal(err)
		}
		defer s.endpoint.Close()
		session, err := member.Join(t.Context(), member.Config{Store: meta, Space: space, Member: member.Member{Session: id, ClientOnly: true}})
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close(context.Background()) // the test's context ends before

		pid := probev1cajun.NewEchoPid(node, "me")
		if _, err := pid.Echo(t.Context(), &probev1.EchoRequest{}); err != nil {
			t.Fatal(err)
		}
		shard, ok := node.Cluster().Owner(pid)
		if !ok {
			t.Fatal("nobody owns the actor")
		}
		to := link.Peer{Session: node.ID(), Address: node.Cluster().Members[0].Address}
		payload, _ := proto.Marshal(&probev1.EchoRequest{Text: "x"})
		request := func(id, epoch uint64) link.Request {
			return link.Request{ID: id, Kind: probev1cajun.EchoKind, Key: "me", Method: "Echo", Shard: shard.Number, Epoch: epoch,
				Level: guarantee.AtMostOnce, Payload: payload}
		}
		runs := stage.runsOf("me")
		for i, epoch := range []uint64{shard.Epoch + 1, shard.Epoch - 1} {
			got := s.ask(t, to, request(uint64(i+1), epoch))
			if len(got) != 1 || got[0].Outcome != guarantee.NotExecuted || got[0].Redirect == nil || got[0].Redirect.Epoch != shard.Epoch {
				t.Errorf("under epoch %d instead of %d: %+v", epoch, shard.Epoch, got)
			}
		}
		if got := stage.runsOf("me"); got != runs {
			t.Error("a handler ran under another epoch")
		}
		if got := s.ask(t, to, request(3, shard.Epoch)); len(got) != 1 || got[0].Code != 0 {
			t.Errorf("the right epoch: %+v", got)
		}
		if got := s.ask(t, to, request(3, shard.Epoch)); len(got) != 0 || stage.runsOf("me") != runs+1 {
			t.Errorf("the same frame again: %+v, and %d runs", got, stage.runsOf("me")-runs)
		}
	})
}

// numbered makes a kind that has the echo's messages and a name of its own.
func numbered(i int) (kind *cajun.Kind, method *cajun.Method[*probev1.EchoRequest, *probev1.EchoReply], host cajun.Option) {
	kind = &cajun.Kind{Name: fmt.Sprintf("probe.v1.Kind%d", i), Shards: 16}
	method = cajun.NewMethod[*probev1.EchoRequest, *probev1.EchoReply](kind, "Echo", cajun.MethodOptions{})
	stage := newStage()
	host = cajun.Host(kind, func(self *cajun.Self) (*echo, error) { return &echo{stage: stage, self: self}, nil },
		cajun.Handle(method, (*echo).Echo))
	return kind, method, host
}

// Nodes that host different kinds, and one that hosts none, reach them all.
func TestClusterOfManyKinds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const kinds = 12
		c := cajuntest.Start(t, 0)
		call := make([]func(through int, key string, limit time.Duration, level guarantee.Level) error, kinds)
		pids := make([]func(key string) cajun.Pid, kinds)
		hosts := make([][]cajun.Option, 3) // kind i is hosted by nodes i%3 and, for every second, i%3+1
		for i := range kinds {
			kind, method, host := numbered(i)
			hosts[i%3] = append(hosts[i%3], host)
			if i%2 == 0 {
				hosts[(i+1)%3] = append(hosts[(i+1)%3], host)
			}
			pids[i] = func(key string) cajun.Pid { return cajun.NewPid(c.Node(0), kind, key) }
			call[i] = func(through int, key string, limit time.Duration, level guarantee.Level) error {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				_, err := method.Call(cajun.Deliver(ctx, level), cajun.NewPid(c.Node(through), kind, key), &probev1.EchoRequest{Text: "x"})
				return err
			}
		}
		for i := range hosts {
			c.Add(hosts[i]...)
		}
		client := c.Add(cajun.WithClientOnly())
		for i := range kinds {
			for through := range client + 1 {
				for k := range 8 {
					key := fmt.Sprint("k", k)
					if err := call[i](through, key, time.Minute, guarantee.AtMostOnce); err != nil {
						t.Errorf("kind %d through node %d: %v", i, through, err)
					}
					if owner := c.Owner(pids[i](key)); owner != i%3 && (i%2 != 0 || owner != (i+1)%3) {
						t.Errorf("kind %d lives on node %d, which does not host it", i, owner)
					}
				}
			}
		}

		// Kind 1 is hosted by node 1 alone.
		c.Kill(1)
		during(2 * time.Second)
		err := call[1](client, "k0", time.Minute, guarantee.AtMostOnce)
		wantOutcome(t, err, guarantee.NotExecuted, "no live node", "probe.v1.Kind1")
		if err := call[4](client, "k0", time.Minute, guarantee.AtLeastOnce); err != nil {
			t.Error("a kind that another node hosts as well:", err)
		}
		patient := make(chan error, 1)
		go func() { patient <- call[1](client, "k0", 10*time.Minute, guarantee.AtLeastOnce) }()
		during(time.Minute)
		c.Restart(1)
		if err := <-patient; err != nil {
			t.Error("a call that waited for the only host:", err)
		}
		kind, method, _ := numbered(99)
		_, err = method.Call(t.Context(), cajun.NewPid(c.Node(client), kind, "k"), &probev1.EchoRequest{})
		if connect.CodeOf(err) != connect.CodeNotFound {
			t.Error("a kind that nobody ever hosted:", err)
		}
	})
}

// Moves cost nobody a call: neither those of a node that joins nor those of one
// that drains. Callers hold what comes in between.
func TestClusterMovesUnderLoad(t *testing.T) {
	seeds(t, testMovesUnderLoad)
}

func testMovesUnderLoad(t *testing.T, rnd *rand.Rand) {
	m := newModel(t, 2)
	m.actors = 60
	var grow sync.Once
	m.run(rnd, []int{0, 0, 2, 2, 2, 2, 2, 2}, func() {
		during(time.Second)
		for range 3 {
			grow.Do(func() { m.c.Add(m.stage.options()) })
			during(time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if err := m.c.Node(1).Drain(ctx); err != nil {
				t.Error("drain:", err)
			}
			cancel()
			m.c.Restart(1)
			during(time.Second)
		}
	})
	m.check()
	for actor, calls := range m.told {
		for label, v := range calls {
			if v.err != nil && connect.CodeOf(v.err) != connect.CodeResourceExhausted { // a mailbox takes four
				t.Errorf("%v call %s of %s failed although nothing crashed: %v", v.level, label, actor, v.err)
			}
		}
	}
}
