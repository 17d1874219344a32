package placement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/memmeta"
	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/memstate"
)

const testKind = "bank.v1.Account"

// cluster is several managers in one process, inside a synctest bubble.
type cluster struct {
	t      *testing.T
	meta   *memmeta.Store
	state  *memstate.Store
	space  metadata.Space
	shards int
	nodes  []*node

	mu      sync.Mutex
	serving map[state.Shard][]*node
	// restored says that the metadata store was tampered with.
	restored bool
}

// node is one manager with all that it needs. It is its own Host, and checks
// that nobody else serves what it serves.
type node struct {
	c       *cluster
	name    string
	store   *faultyMeta
	fences  *faultyState
	session *member.Session
	view    *member.View
	table   *Table
	manager *Manager

	mu      sync.Mutex
	epochs  map[state.Shard]uint64 // served, drained or not
	drained map[state.Shard]bool
	calls   []string
	// onDrain, when set, is what Drain does.
	onDrain func(ctx context.Context, s state.Shard)
	crashed bool
}

// run runs a test in a bubble, with a cluster of so many nodes and shards.
func run(t *testing.T, nodes, shards int, test func(t *testing.T, c *cluster)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		space, err := metadata.NewSpace("test")
		if err != nil {
			t.Fatal(err)
		}
		c := &cluster{t: t, meta: memmeta.New(), state: memstate.New(), space: space, shards: shards,
			serving: make(map[state.Shard][]*node)}
		defer c.meta.Close()
		if _, err := Register(t.Context(), c.meta, space, []KindSpec{{Names: []string{testKind}, Shards: shards}}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			for _, n := range c.nodes {
				n.stop()
			}
		}()
		for range nodes {
			c.add()
		}
		c.settle(10 * time.Second)
		test(t, c)
	})
}

// add starts a node, and returns when everybody knows it.
func (c *cluster) add() *node { return c.addWith(func(*member.Config) {}) }

func (c *cluster) addWith(change func(*member.Config)) *node {
	c.t.Helper()
	n := &node{
		c:       c,
		name:    fmt.Sprintf("n%d", len(c.nodes)),
		store:   &faultyMeta{Store: c.meta},
		fences:  &faultyState{Store: c.state},
		epochs:  make(map[state.Shard]uint64),
		drained: make(map[state.Shard]bool),
	}
	must := func(err error) {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
	}
	ctx := c.t.Context()
	cfg := member.Config{Store: n.store, Space: c.space, Member: member.Member{
		Name: n.name, Address: n.name, Kinds: map[string][]string{testKind: nil},
	}}
	change(&cfg)
	var err error
	n.session, err = member.Join(ctx, cfg)
	must(err)
	n.view, err = member.NewView(ctx, n.store, c.space, nil)
	must(err)
	n.table, err = NewTable(ctx, n.store, c.space, nil)
	must(err)
	var kinds []HostedKind
	if cfg.Member.Kinds != nil {
		kinds = []HostedKind{{Identity: testKind, Shards: c.shards}}
	}
	n.manager, err = Start(ctx, Config{Store: n.store, Space: c.space, State: n.fences, Session: n.session,
		View: n.view, Table: n.table, Kinds: kinds, Host: n, Logger: slog.New(slog.DiscardHandler)})
	must(err)
	c.nodes = append(c.nodes, n)
	synctest.Wait()
	return n
}

// stop ends a node in an orderly manner, but hands nothing over.
func (n *node) stop() {
	n.manager.Close()
	n.mu.Lock()
	if len(n.epochs) > 0 {
		n.c.t.Errorf("%s: shards were not dropped: %v", n.name, n.epochs)
	}
	n.mu.Unlock()
	n.table.Close()
	n.view.Close()
	n.session.Abandon()
}

// crash ends a node as kill -9 does: its member key stays until it expires.
func (n *node) crash() {
	n.mu.Lock()
	n.crashed = true
	n.mu.Unlock()
	n.session.Abandon()
	synctest.Wait()
}

// settle lets the cluster do what it will within d.
func (c *cluster) settle(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

func shard(n int) state.Shard { return state.Shard{Kind: testKind, Number: uint32(n)} }

func (n *node) claim(s state.Shard) (Record, error) {
	ctx, cancel := context.WithTimeout(n.c.t.Context(), time.Minute)
	defer cancel()
	return n.manager.Claim(ctx, s)
}

// mustClaim claims a shard that the node is to get.
func (n *node) mustClaim(s state.Shard) Record {
	n.c.t.Helper()
	rec, err := n.claim(s)
	if err != nil || rec.Owner != n.session.ID() || n.serves(s) != rec.Epoch {
		n.c.t.Fatalf("%s: Claim(%s) = %+v, %v; it serves epoch %d", n.name, s, rec, err, n.serves(s))
	}
	return rec
}

// claimAll makes the nodes claim all shards, each the one that is preferred.
func (c *cluster) claimAll() {
	c.t.Helper()
	var work sync.WaitGroup
	for i := range c.shards {
		s := shard(i)
		preferred, ok := c.nodes[0].manager.Preferred(s.Kind, s.Number)
		n := c.bySession(preferred)
		if !ok || n == nil {
			c.t.Fatalf("nobody is preferred for %s", s)
		}
		work.Go(func() {
			if _, err := n.claim(s); err != nil {
				c.t.Errorf("%s: Claim(%s): %v", n.name, s, err)
			}
		})
	}
	work.Wait()
	synctest.Wait()
}

func (c *cluster) bySession(session string) *node {
	i := slices.IndexFunc(c.nodes, func(n *node) bool { return n.session.ID() == session })
	if i < 0 {
		return nil
	}
	return c.nodes[i]
}

// record reads a record from the store.
func (c *cluster) record(s state.Shard) (Record, bool) {
	c.t.Helper()
	e, found, err := c.meta.Get(c.t.Context(), c.space.Shard(s.Kind, s.Number))
	if err != nil {
		c.t.Fatal(err)
	}
	if !found {
		return Record{}, false
	}
	rec, err := Decode(e)
	if err != nil {
		c.t.Fatal(err)
	}
	return rec, true
}

// put writes a record over the present one, as the leader does.
func (c *cluster) put(s state.Shard, r Record) {
	c.t.Helper()
	value, err := r.Encode()
	if err != nil {
		c.t.Fatal(err)
	}
	txn := metadata.Txn{Then: []metadata.Op{metadata.Put(c.space.Shard(s.Kind, s.Number), value, 0)}}
	if r.Modified != 0 {
		txn.If = []metadata.Cond{metadata.ModifiedAt(c.space.Shard(s.Kind, s.Number), r.Modified)}
	}
	if _, err := c.meta.Commit(c.t.Context(), txn); err != nil {
		c.t.Fatal(err)
	}
}

// move asks for a shard to be moved, as the leader does.
func (c *cluster) move(s state.Shard, to *node) {
	c.t.Helper()
	rec, found := c.record(s)
	if !found || rec.Phase != Open {
		c.t.Fatalf("%s cannot be moved: %+v", s, rec)
	}
	moving := rec.Moving(to.session.ID())
	moving.Modified = rec.Modified
	c.put(s, moving)
}

// check fails unless exactly n serves the shard, under the record's epoch and
// with a valid fence.
func (c *cluster) check(s state.Shard, n *node) {
	c.t.Helper()
	rec, _ := c.record(s)
	if rec.Owner != n.session.ID() || rec.Phase != Open || n.serves(s) != rec.Epoch {
		c.t.Errorf("%s: the record is %+v, and %s (%s) serves epoch %d", s, rec, n.name, n.session.ID(), n.serves(s))
	}
	if err := n.load(s, rec.Epoch); err != nil {
		c.t.Errorf("%s: %s cannot load: %v", s, n.name, err)
	}
	for _, other := range c.nodes {
		if other != n && !other.dead() && other.serves(s) != 0 {
			c.t.Errorf("%s: %s serves it too", s, other.name)
		}
	}
}

// load reads under the node's fence, which must be the stored one.
func (n *node) load(s state.Shard, epoch uint64) error {
	_, err := n.c.state.Load(context.Background(), state.Actor{Shard: s, Key: "k"}, state.Fence{Epoch: epoch, Session: n.session.ID()})
	return err
}

// loads counts what live nodes serve.
func (c *cluster) loads() map[string]int {
	loads := make(map[string]int)
	for _, n := range c.nodes {
		if !n.dead() {
			n.mu.Lock()
			loads[n.name] = len(n.epochs)
			n.mu.Unlock()
		}
	}
	return loads
}

func (n *node) dead() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.crashed
}

func (n *node) serves(s state.Shard) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.epochs[s]
}

func (n *node) log(s state.Shard, format string, args ...any) {
	n.calls = append(n.calls, fmt.Sprintf("%d ", s.Number)+fmt.Sprintf(format, args...))
}

// took returns the calls of the host since the last time.
func (n *node) took() []string {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	calls := n.calls
	n.calls = nil
	return calls
}

func (n *node) Serve(s state.Shard, epoch uint64) {
	n.mu.Lock()
	was, served := n.epochs[s]
	if served && (was != epoch || !n.drained[s]) {
		n.c.t.Errorf("%s: Serve(%s, %d) while it serves %d", n.name, s, epoch, was)
	}
	n.epochs[s] = epoch
	delete(n.drained, s)
	n.log(s, "serve %d", epoch)
	n.mu.Unlock()

	c := n.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, other := range c.serving[s] {
		if !c.restored && other != n && !other.dead() && other.session.Check() == nil && n.session.Check() == nil {
			c.t.Errorf("%s: %s serves it at epoch %d while %s does", s, n.name, epoch, other.name)
		}
	}
	if !slices.Contains(c.serving[s], n) {
		c.serving[s] = append(c.serving[s], n)
	}
}

func (n *node) Drain(ctx context.Context, s state.Shard, epoch uint64) {
	n.mu.Lock()
	if n.epochs[s] != epoch || n.drained[s] {
		n.c.t.Errorf("%s: Drain(%s, %d) while it serves %d", n.name, s, epoch, n.epochs[s])
	}
	n.log(s, "drain %d", epoch)
	onDrain := n.onDrain
	n.mu.Unlock()
	if onDrain != nil {
		onDrain(ctx, s)
	}
	n.mu.Lock()
	n.drained[s] = true
	n.mu.Unlock()
	n.leave(s)
}

func (n *node) Drop(s state.Shard, epoch uint64) {
	n.mu.Lock()
	if n.epochs[s] != epoch {
		n.c.t.Errorf("%s: Drop(%s, %d) while it serves %d", n.name, s, epoch, n.epochs[s])
	}
	delete(n.epochs, s)
	delete(n.drained, s)
	n.log(s, "drop %d", epoch)
	n.mu.Unlock()
	n.leave(s)
}

func (n *node) leave(s state.Shard) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.c.serving[s] = slices.DeleteFunc(n.c.serving[s], func(o *node) bool { return o == n })
}

var errLie = errors.New("test: no answer")

// faultyMeta is one node's way to the metadata store.
type faultyMeta struct {
	metadata.Store
	mu      sync.Mutex
	commits int
	mute    bool // renews no lease
	// onCommit, when set, stands in for a Commit that writes shard records.
	onCommit func(ctx context.Context, t metadata.Txn, commit func(context.Context, metadata.Txn) (metadata.Result, error)) (metadata.Result, error)
}

func (f *faultyMeta) Commit(ctx context.Context, t metadata.Txn) (metadata.Result, error) {
	f.mu.Lock()
	space, _ := metadata.NewSpace("test")
	_, _, isShard := space.ParseShard(t.Then[0].Key)
	hook := f.onCommit
	if isShard {
		f.commits++
	}
	f.mu.Unlock()
	if hook != nil && isShard {
		return hook(ctx, t, f.Store.Commit)
	}
	return f.Store.Commit(ctx, t)
}

func (f *faultyMeta) KeepAlive(ctx context.Context, id metadata.LeaseID) error {
	f.mu.Lock()
	mute := f.mute
	f.mu.Unlock()
	if mute {
		return errLie
	}
	return f.Store.KeepAlive(ctx, id)
}

func (f *faultyMeta) setMute(mute bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mute = mute
}

func (f *faultyMeta) hook(h func(context.Context, metadata.Txn, func(context.Context, metadata.Txn) (metadata.Result, error)) (metadata.Result, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onCommit = h
}

// faultyState is one node's way to the state store.
type faultyState struct {
	state.Store
	mu    sync.Mutex
	calls int
	// down makes Seal fail for a while, and delay makes it slow.
	down  bool
	delay time.Duration
}

func (f *faultyState) Seal(ctx context.Context, seals []state.Seal) []error {
	f.mu.Lock()
	f.calls++
	down := f.down
	f.mu.Unlock()
	<-time.After(f.delay)
	if down {
		return slices.Repeat([]error{errLie}, len(seals))
	}
	return f.Store.Seal(ctx, seals)
}

func (f *faultyState) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// sum adds up loads.
func sum(loads map[string]int) int {
	n := 0
	for v := range maps.Values(loads) {
		n += v
	}
	return n
}
