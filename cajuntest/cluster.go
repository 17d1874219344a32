// Package cajuntest runs a cluster of several nodes inside a test: no ports, no
// etcd, and every fault on demand. The stores and the link live in memory, and
// the nodes are what they are in production.
//
//	c := cajuntest.Start(t, 3, bankv1cajun.HostAccount(newAccount))
//	alice := bankv1cajun.NewAccountPid(c.Client(), "alice")
//	_, err := alice.Deposit(t.Context(), &bankv1.DepositRequest{Cents: 100}) // now alice lives somewhere
//	c.Kill(c.Owner(alice))                                                 // and dies with that node
//	_, err = alice.Deposit(t.Context(), &bankv1.DepositRequest{Cents: 100}) // and is back on another
//
// A cluster may live in a bubble of [testing/synctest]. Go 1.26's race detector
// can crash on timers in bubbles (https://go.dev/issue/78156): run such tests
// with GOMAXPROCS=1 when you use -race.
package cajuntest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/link/memlink"
	"github.com/cajun-go/cajun/metadata/memmeta"
	cajun "github.com/cajun-go/cajun/runtime"
	"github.com/cajun-go/cajun/state/memstate"
)

// startTimeout bounds how long a node may take to start, and a cluster to see
// it.
const startTimeout = 10 * time.Second

// Cluster is a cluster inside a test. Nodes are known by numbers: 0 to n-1 for
// those of Start, and what Add returns for later ones. Its methods fail the
// test when they cannot do what they are asked for, and are safe for
// concurrent use.
type Cluster struct {
	t        testing.TB
	options  []cajun.Option
	metadata *memmeta.Store
	state    *memstate.Store
	network  *memlink.Network

	mu     sync.Mutex
	nodes  []*host
	client *cajun.Node // nil until Client
	// killed are nodes whose remains still have to be cleared away.
	killed sync.WaitGroup
	// making is full while the client is made, so that there is only one. It is no
	// mutex, as time stands still in a bubble of synctest while one is waited for.
	making chan struct{}
}

// host is one place of a node: a restart puts a new node there.
type host struct {
	name    string
	options []cajun.Option
	node    *cajun.Node
	gate    *gate
	alive   bool
}

// Start starts a cluster of this many nodes, one at least, with the same options, and returns
// when all of them are up and know each other. Everything is closed when the
// test ends. Logs at warning level and above go to the test's log, unless the
// options say otherwise.
func Start(t testing.TB, nodes int, opts ...cajun.Option) *Cluster {
	t.Helper()
	if nodes < 0 {
		t.Fatalf("cajuntest: a cluster of %d nodes: give none, to Add them one by one, or more", nodes)
	}
	c := &Cluster{t: t, options: opts, metadata: memmeta.New(), state: memstate.New(), network: memlink.NewNetwork(), making: make(chan struct{}, 1)}
	t.Cleanup(c.close)
	for range nodes {
		c.Add()
	}
	return c
}

// close stops every node and waits for it.
func (c *Cluster) close() {
	c.mu.Lock()
	nodes, client := slices.Clone(c.nodes), c.client
	c.mu.Unlock()
	if client != nil {
		client.Close()
	}
	for _, h := range nodes {
		if h.gate != nil {
			h.gate.resume()
		}
		if h.node != nil {
			h.node.Close()
		}
	}
	c.killed.Wait()
	c.metadata.Close()
	c.state.Close()
}

// Node returns a node. After Kill it is the dead one until Restart.
func (c *Cluster) Node(i int) *cajun.Node {
	c.t.Helper()
	h := c.host(i)
	c.mu.Lock()
	defer c.mu.Unlock()
	return h.node
}

// Size returns how many places for nodes there are, dead ones included.
func (c *Cluster) Size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.nodes)
}

func (c *Cluster) host(i int) *host {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if i == -1 {
		c.t.Fatal("cajuntest: node -1: no node holds it now: call the actor first, or name a node")
	}
	if i < 0 || i >= len(c.nodes) {
		c.t.Fatalf("cajuntest: there is no node %d: the cluster has nodes 0 to %d", i, len(c.nodes)-1)
	}
	return c.nodes[i]
}

// Add starts one more node, with the options of Start and then opts, and
// returns its number when all live nodes know it.
func (c *Cluster) Add(opts ...cajun.Option) int {
	c.t.Helper()
	c.mu.Lock()
	i := len(c.nodes)
	h := &host{name: fmt.Sprintf("node-%d", i), options: opts}
	c.nodes = append(c.nodes, h)
	c.mu.Unlock()
	c.start(h)
	return i
}

// start starts a node in a place.
func (c *Cluster) start(h *host) {
	c.t.Helper()
	g := newGate()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	node, err := cajun.Start(ctx, slices.Concat(c.base(h.name, g), c.options, h.options)...)
	if err != nil {
		c.t.Fatalf("cajuntest: %s: %v", h.name, err)
	}
	c.mu.Lock()
	h.node, h.gate, h.alive = node, g, true
	c.mu.Unlock()
	c.awaitMember(ctx, node)
}

// base are the options that make a node one of this cluster.
func (c *Cluster) base(name string, g *gate) []cajun.Option {
	log := slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})
	return []cajun.Option{
		cajun.WithMetadata(gatedMetadata{c.metadata, g}),
		cajun.WithState(gatedState{c.state, g}),
		cajun.WithTransport(c.network.Transport()),
		cajun.WithName(name),
		cajun.WithLogger(slog.New(gatedLog{log, g})),
	}
}

// awaitMember polls until every live node knows a new one.
func (c *Cluster) awaitMember(ctx context.Context, node *cajun.Node) {
	c.t.Helper()
	c.await(ctx, func(n *cajun.Node) bool {
		return slices.ContainsFunc(n.Cluster().Members, func(m cajun.ClusterMember) bool { return m.Session == node.ID() })
	})
}

// await polls until every live node fulfils the condition.
func (c *Cluster) await(ctx context.Context, holds func(*cajun.Node) bool) {
	c.t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		if !slices.ContainsFunc(c.live(), func(n *cajun.Node) bool { return !holds(n) }) {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			c.t.Fatal("cajuntest: the nodes do not agree on who is a member")
		}
	}
}

// live returns the nodes that run, with the client.
func (c *Cluster) live() (nodes []*cajun.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client != nil {
		nodes = append(nodes, c.client)
	}
	for _, h := range c.nodes {
		if h.alive {
			nodes = append(nodes, h.node)
		}
	}
	return nodes
}

// Kill ends a node as kill -9 would: nothing is handed over or flushed, its
// lease stays until it expires or the others notice, and connections to it are
// refused from now on. It logs nothing more either.
func (c *Cluster) Kill(i int) {
	c.t.Helper()
	h := c.host(i)
	c.mu.Lock()
	alive, node := h.alive, h.node
	h.alive = false
	c.mu.Unlock()
	if !alive {
		c.t.Fatalf("cajuntest: node %d is not running", i)
	}
	h.gate.kill()
	c.network.Kill(node.ID())
	// What is left of it can reach nobody any more. A Restart may put another
	// node in its place at once.
	c.killed.Go(func() { node.Close() })
}

// Restart starts a new node in the place of a killed or stopped one.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	h := c.host(i)
	c.mu.Lock()
	running := h.alive
	c.mu.Unlock()
	if running {
		select {
		case <-h.node.Done():
		default:
			c.t.Fatalf("cajuntest: node %d is running: Kill or Drain it first", i)
		}
	}
	c.start(h)
}

// Pause cuts a node off as SIGSTOP would: it neither sends nor receives nor
// reaches its stores, and its lease runs out. Its goroutines go on, as no test
// can stop them.
func (c *Cluster) Pause(i int) {
	c.t.Helper()
	h := c.host(i)
	h.gate.pause()
	c.network.Pause(h.node.ID())
}

// Resume ends a Pause; what was sent to the node meanwhile arrives.
func (c *Cluster) Resume(i int) {
	c.t.Helper()
	h := c.host(i)
	c.network.Resume(h.node.ID())
	h.gate.resume()
}

// Partition cuts the link between two nodes, both ways, until Heal. Both still
// reach the stores.
func (c *Cluster) Partition(a, b int) {
	c.t.Helper()
	c.network.Partition(c.host(a).node.ID(), c.host(b).node.ID())
}

// Heal ends every Partition.
func (c *Cluster) Heal() { c.network.Heal() }

// Faults disturbs the messages between all nodes from now on. The zero value
// ends that.
func (c *Cluster) Faults(f link.Faults) { c.network.SetFaults(f) }

// Owner returns the number of the live node that holds an actor, or -1 when
// none does at the moment, which is so before an actor's first call.
func (c *Cluster) Owner(t cajun.Target) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, h := range c.nodes {
		if !h.alive {
			continue
		}
		shard, ok := h.node.Cluster().Owner(t)
		if ok && shard.Owner == h.node.ID() {
			return i
		}
	}
	return -1
}
