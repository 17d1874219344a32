package leader

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/memmeta"
	"github.com/cajun-go/cajun/placement"
	"github.com/cajun-go/cajun/state"
)

const testKind = "bank.v1.Account"

// cluster is several nodes in one bubble.
type cluster struct {
	t     *testing.T
	meta  *memmeta.Store
	space metadata.Space
	net   *network
	nodes []*node
}

// node is one process: everything below the runtime.
type node struct {
	wire    *wire
	session *member.Session
	view    *member.View
	table   *placement.Table
	manager *placement.Manager
	leader  *Leader
	host    *host
	stopped bool
}

// run runs a test in a bubble on a cluster with so many shards and nodes.
func run(t *testing.T, nodes, shards int, test func(t *testing.T, c *cluster)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		space, err := metadata.NewSpace("test")
		if err != nil {
			t.Fatal(err)
		}
		c := &cluster{t: t, meta: memmeta.New(), space: space, net: newNetwork()}
		defer c.meta.Close()
		if shards > 0 {
			spec := placement.KindSpec{Names: []string{testKind}, Shards: shards}
			if _, err := placement.Register(t.Context(), c.meta, space, []placement.KindSpec{spec}); err != nil {
				t.Fatal(err)
			}
		}
		defer func() {
			for _, n := range c.nodes {
				n.stop()
			}
		}()
		for range nodes {
			c.add(nil)
		}
		pass(3 * time.Second)
		test(t, c)
	})
}

func (c *cluster) add(edit func(*member.Member)) *node {
	c.t.Helper()
	must := func(err error) {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
	}
	ctx := c.t.Context()
	n := &node{wire: &wire{Store: c.meta}, host: &host{}}
	self := member.Member{Name: fmt.Sprint("n", len(c.nodes)), Address: fmt.Sprint("n", len(c.nodes))}
	var kinds []placement.HostedKind
	if info, ok := c.kind(); ok {
		self.Kinds = map[string][]string{testKind: nil}
		kinds = []placement.HostedKind{{Identity: testKind, Shards: info}}
	}
	if edit != nil {
		edit(&self)
	}
	if self.ClientOnly {
		self.Kinds, kinds = nil, nil
	}
	var err error
	n.session, err = member.Join(ctx, member.Config{Store: n.wire, Space: c.space, Member: self})
	must(err)
	n.view, err = member.NewView(ctx, n.wire, c.space, nil)
	must(err)
	n.table, err = placement.NewTable(ctx, n.wire, c.space, nil)
	must(err)
	n.manager, err = placement.Start(ctx, placement.Config{Store: n.wire, Space: c.space, Session: n.session,
		View: n.view, Table: n.table, Kinds: kinds, Host: n.host})
	must(err)
	n.leader, err = Start(ctx, Config{Store: n.wire, Space: c.space, Session: n.session,
		View: n.view, Table: n.table, Prober: prober{c.net, n.session.ID()}})
	must(err)
	c.net.attach(n)
	c.nodes = append(c.nodes, n)
	synctest.Wait()
	return n
}

// kind returns the number of shards of the test's kind, if it has one.
func (c *cluster) kind() (shards int, ok bool) {
	_, ok, err := c.meta.Get(c.t.Context(), c.space.Kind(testKind))
	if err != nil || !ok {
		return 0, false
	}
	table, err := placement.NewTable(c.t.Context(), c.meta, c.space, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer table.Close()
	info, ok := table.Kind(testKind)
	return info.Shards, ok
}

// stop ends a node as a crash does.
func (n *node) stop() {
	if n.stopped {
		return
	}
	n.stopped = true
	n.wire.cut()
	n.session.Abandon()
	n.leader.stop()
	n.leader.work.Wait()
	n.manager.Close()
	n.table.Close()
	n.view.Close()
}

// kill is kill -9: the process stops, its streams end, its address refuses.
func (c *cluster) kill(n *node) {
	n.stop()
	c.net.set(n, refusing)
	c.net.hangUp(n)
}

// leaders returns the nodes that would act as the leader now.
func (c *cluster) leaders() []*node {
	var found []*node
	for _, n := range c.nodes {
		if session, ok := n.leader.Leader(); ok && !n.stopped && session == n.session.ID() && n.session.Check() == nil {
			found = append(found, n)
		}
	}
	return found
}

// leader returns the only leader.
func (c *cluster) leader() *node {
	c.t.Helper()
	found := c.leaders()
	if len(found) != 1 {
		c.t.Fatalf("%d leaders", len(found))
	}
	return found[0]
}

// during lets fake time pass, and checks all along that there is at most one
// leader.
func (c *cluster) during(d time.Duration) {
	c.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); pass(5 * time.Millisecond) {
		if n := len(c.leaders()); n > 1 {
			c.t.Fatalf("%d leaders at once", n)
		}
	}
}

func (c *cluster) isMember(n *node) bool {
	c.t.Helper()
	_, found, err := c.meta.Get(c.t.Context(), n.session.Key())
	if err != nil {
		c.t.Fatal(err)
	}
	return found
}

// within waits until a condition holds, and returns how long that took.
func (c *cluster) within(limit time.Duration, what string, holds func() bool) time.Duration {
	c.t.Helper()
	begin := time.Now()
	for !holds() {
		if time.Since(begin) > limit {
			c.t.Fatalf("not within %v: %s", limit, what)
		}
		pass(time.Millisecond)
	}
	return time.Since(begin)
}

// pass lets fake time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

var errCut = errors.New("test: the store cannot be reached")

// wire is a node's way to the store.
type wire struct {
	metadata.Store

	mu     sync.Mutex
	healed chan struct{} // not nil while it is cut
	// elections counts the attempts to be elected.
	elections int
	leaderKey string
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.healed == nil {
		w.healed = make(chan struct{})
	}
}

func (w *wire) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.healed)
	w.healed = nil
}

func (w *wire) pass(ctx context.Context) error {
	w.mu.Lock()
	healed := w.healed
	w.mu.Unlock()
	if healed == nil {
		return nil
	}
	select {
	case <-healed:
		return nil
	case <-ctx.Done():
		return errors.Join(errCut, ctx.Err())
	}
}

func (w *wire) Get(ctx context.Context, key string) (metadata.Entry, bool, error) {
	if err := w.pass(ctx); err != nil {
		return metadata.Entry{}, false, err
	}
	return w.Store.Get(ctx, key)
}

func (w *wire) List(ctx context.Context, prefix string) (metadata.Snapshot, error) {
	if err := w.pass(ctx); err != nil {
		return metadata.Snapshot{}, err
	}
	return w.Store.List(ctx, prefix)
}

func (w *wire) Commit(ctx context.Context, t metadata.Txn) (metadata.Result, error) {
	if err := w.pass(ctx); err != nil {
		return metadata.Result{}, err
	}
	for _, op := range t.Then {
		if op.Key == w.leaderKey {
			w.mu.Lock()
			w.elections++
			w.mu.Unlock()
		}
	}
	return w.Store.Commit(ctx, t)
}

func (w *wire) KeepAlive(ctx context.Context, id metadata.LeaseID) error {
	if err := w.pass(ctx); err != nil {
		return err
	}
	return w.Store.KeepAlive(ctx, id)
}

func (w *wire) Revoke(ctx context.Context, id metadata.LeaseID) error {
	if err := w.pass(ctx); err != nil {
		return err
	}
	// As long as a store may take, so that views know of a burial before it is
	// complete.
	if !wait(ctx, 5*time.Millisecond) {
		return ctx.Err()
	}
	return w.Store.Revoke(ctx, id)
}

// Watch holds back what happens while the way is cut.
func (w *wire) Watch(ctx context.Context, prefix string, after int64) <-chan metadata.Batch {
	in, out := w.Store.Watch(ctx, prefix, after), make(chan metadata.Batch)
	go func() {
		defer close(out)
		for b := range in {
			if w.pass(ctx) != nil {
				continue
			}
			select {
			case out <- b:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// condition is how a process answers at its address.
type condition int

const (
	answering condition = iota
	refusing
	silent   // as behind a firewall that drops
	replaced // another session has its address
)

// network is who can reach whom.
type network struct {
	mu         sync.Mutex
	nodes      map[string]*node
	conditions map[string]condition
	streams    map[[2]string]bool
	probes     map[[2]string]int
	// onProbe, when set, decides the n-th probe of a session instead.
	onProbe func(session string, n int) error
}

func newNetwork() *network {
	return &network{
		nodes:      make(map[string]*node),
		conditions: make(map[string]condition),
		streams:    make(map[[2]string]bool),
		probes:     make(map[[2]string]int),
	}
}

func (w *network) attach(n *node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[n.session.ID()] = n
}

func (w *network) set(n *node, c condition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conditions[n.session.ID()] = c
}

// hangUp ends all streams of a node, which the other ends notice.
func (w *network) hangUp(n *node) {
	w.mu.Lock()
	var others []*node
	for pair := range w.streams {
		for i, session := range pair {
			if session == n.session.ID() {
				others = append(others, w.nodes[pair[1-i]])
				delete(w.streams, pair)
			}
		}
	}
	w.mu.Unlock()
	for _, other := range others {
		other.leader.Suspect(n.session.ID())
	}
}

func (w *network) probed(by, whom *node) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.probes[[2]string{by.session.ID(), whom.session.ID()}]
}

// prober is one node's Prober.
type prober struct {
	w  *network
	me string
}

func (p prober) Connected(session string) bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.w.streams[[2]string{p.me, session}] || p.w.streams[[2]string{session, p.me}]
}

func (p prober) Probe(ctx context.Context, m member.Member) error {
	p.w.mu.Lock()
	pair := [2]string{p.me, m.Session}
	p.w.probes[pair]++
	n, c, onProbe := p.w.probes[pair], p.w.conditions[m.Session], p.w.onProbe
	p.w.mu.Unlock()
	if onProbe != nil {
		return onProbe(m.Session, n)
	}
	switch c {
	case refusing:
		return fmt.Errorf("dialing %s: %w", m.Address, ErrRefused)
	case replaced:
		return fmt.Errorf("dialing %s: %w", m.Address, ErrReplaced)
	case silent:
		<-ctx.Done()
		return ctx.Err()
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.streams[pair] = true
	return nil
}

// host is a placement.Host that has nothing to run.
type host struct {
	mu    sync.Mutex
	stall chan struct{} // not nil: Drain waits for it
}

func (h *host) Serve(state.Shard, uint64) {}
func (h *host) Drop(state.Shard, uint64)  {}

func (h *host) Drain(ctx context.Context, _ state.Shard, _ uint64) {
	h.mu.Lock()
	stall := h.stall
	h.mu.Unlock()
	if stall != nil {
		select {
		case <-stall:
		case <-ctx.Done():
		}
	}
}
