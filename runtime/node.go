package cajun

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cajun-go/cajun/journal"
	"github.com/cajun-go/cajun/leader"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/placement"
	"github.com/cajun-go/cajun/state"

	"log/slog"
)

// Version is the version of the framework, as members tell each other.
const Version = "0.1.0"

// Node is one process's part in a cluster: it hosts actors, calls actors
// wherever they live, and takes part in the cluster's decisions. Its methods
// are safe for concurrent use.
type Node struct {
	config *config
	logger *slog.Logger
	space  metadata.Space
	hosted map[string]*hostedKind // by identity

	endpoint link.Endpoint
	session  *member.Session
	view     *member.View
	table    *placement.Table
	manager  *placement.Manager
	leader   *leader.Leader
	journal  *journal.Journal // nil without a state store
	services []Service

	lookout  lookout
	couriers couriers
	// visits and readers hold a token for each actor that is being looked after
	// unasked, and for each agenda that is being read.
	visits, readers chan struct{}

	inbound, outbound Invoker
	ledger            ledger
	kinds             kinds

	peersMu sync.RWMutex
	peers   map[string]*peer

	// What a call needs for a moment is used again.
	calls, waiters, buffers, requests, responses sync.Pool
	// coarse is the time in nanoseconds since the node began, good to a sweep.
	coarse atomic.Int64
	held   atomic.Int64
	claims atomic.Int64
	feeds  atomic.Int64

	// ctx is the node's life; tasks and workers are what runs in it.
	ctx     context.Context
	cancel  context.CancelCauseFunc
	tasks   tasks
	workers workers

	stopping sync.Once
	draining sync.Mutex
	leaving  atomic.Bool // Drain is under way
	ready    atomic.Bool
	opened   chan struct{} // closed when frames may come in
	done     chan struct{}
	err      error // set before done is closed
}

var (
	// ErrClosed is what Ready says of a node that was closed.
	ErrClosed = errors.New("cajun: the node is closed")
	// ErrStarting is what Ready says of a node that is not up yet.
	ErrStarting = errors.New("cajun: the node is starting")
)

func (n *Node) node() *Node { return n }

// Start starts a node and returns when it can serve and call. ctx bounds the
// start only. When Start fails, nothing of the node is left running.
func Start(ctx context.Context, opts ...Option) (*Node, error) {
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	n := &Node{config: c, hosted: make(map[string]*hostedKind), peers: make(map[string]*peer), opened: make(chan struct{}), done: make(chan struct{})}
	n.lookout.looking = make(chan struct{}, 1)
	n.couriers.tasks = &n.tasks
	n.visits, n.readers = make(chan struct{}, maxVisits), make(chan struct{}, maxReaders)
	n.calls.New = func() any { return new(outgoing) }
	n.waiters.New = newWaiter
	n.buffers.New = func() any { return new([]byte) }
	n.requests.New = func() any { return new(link.Request) }
	n.responses.New = func() any { return new(link.Response) }
	n.logger = c.logger.With("node", c.name)
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	n.inbound = chainInterceptors(c.inbound, invokeHandler)
	n.outbound = chainInterceptors(c.outbound, n.invokeRemote)
	if err := n.start(ctx); err != nil {
		n.stop(err)
		return nil, fmt.Errorf("cajun: node %s could not start: %w", c.name, err)
	}
	n.ready.Store(true)
	n.tasks.Go(n.watchSession)
	n.logger.Info("node started", "session", n.ID(), "cluster", c.cluster, "address", n.endpoint.Address())
	return n, nil
}

// start brings up the node's parts, each on top of the ones before.
func (n *Node) start(ctx context.Context) (err error) {
	c := n.config
	if n.space, err = metadata.NewSpace(c.cluster); err != nil {
		return err
	}
	if c.openStores != nil {
		if c.metadata, c.state, c.closeStores, err = c.openStores(ctx, c.cluster); err != nil {
			return err
		}
		if c.metadata == nil {
			return errors.New("the function given to WithStores opened no metadata store")
		}
		for _, h := range c.hosted {
			if err := h.check(c.state != nil); err != nil {
				return err
			}
		}
	}
	if err := n.bindState(ctx); err != nil {
		return err
	}
	if err := n.registerKinds(ctx); err != nil {
		return err
	}
	id := member.NewID()
	n.endpoint, err = c.transport.Open(ctx, link.Config{
		Cluster: c.cluster, Session: id, Listen: c.listen, Advertise: c.advertise, ClientOnly: c.clientOnly,
		TLS: c.tls, Insecure: c.insecure, MaxMessage: c.maxMessage + frameOverhead, Receiver: &gate{to: receiver{n}, opened: n.opened, closed: n.ctx.Done()}, Logger: n.logger,
	})
	if err != nil {
		return err
	}
	if n.view, err = member.NewView(ctx, c.metadata, n.space, n.logger); err != nil {
		return err
	}
	if n.table, err = placement.NewTable(ctx, c.metadata, n.space, n.logger); err != nil {
		return err
	}
	n.session, err = member.Join(ctx, member.Config{Store: c.metadata, Space: n.space, TTL: c.leaseTTL, Logger: n.logger, Member: n.describe(id)})
	if err != nil {
		return err
	}
	if err := n.publishSchemas(ctx); err != nil {
		return err
	}
	if _, err := n.view.Sync(ctx, n.session.Created()); err != nil {
		return err
	}
	if err := n.startPlacement(ctx); err != nil {
		return err
	}
	close(n.opened)
	n.tasks.Go(n.sweep)
	n.tasks.Go(n.followMembers)
	n.tasks.Go(n.watchSuspension)
	for _, start := range c.services {
		s, err := start(n)
		if err != nil {
			return err
		}
		n.services = append(n.services, s)
		if a, ok := s.(Announced); ok {
			if err := n.session.Update(ctx, func(m *member.Member) { m.Gateway = a.GatewayAddress() }); err != nil {
				return err
			}
		}
	}
	return nil
}

// stubbornTurns is how long a closing node waits for handlers to return.
const stubbornTurns = 5 * time.Second

// frameOverhead is what a frame may take besides its payload.
const frameOverhead = 64 << 10

// bindState ties the state store to this cluster's identity.
func (n *Node) bindState(ctx context.Context) error {
	if n.config.state == nil {
		return nil
	}
	id, err := clusterID(ctx, n.config.metadata, n.space)
	if err != nil {
		return err
	}
	if err := n.config.state.Bind(ctx, id); err != nil {
		return err
	}
	n.journal = journal.New(n.config.state, sessions{n}, n.logger)
	return nil
}

// clusterID returns the cluster's identity, which the first node writes.
func clusterID(ctx context.Context, store metadata.Store, space metadata.Space) (string, error) {
	for {
		e, found, err := store.Get(ctx, space.ClusterID())
		if err != nil {
			return "", fmt.Errorf("the cluster's identity cannot be read: %w", err)
		}
		if found {
			return string(e.Value), nil
		}
		_, err = store.Commit(ctx, metadata.Txn{
			If:   []metadata.Cond{metadata.Absent(space.ClusterID())},
			Then: []metadata.Op{metadata.Put(space.ClusterID(), []byte(member.NewID()), 0)},
		})
		if err != nil {
			return "", fmt.Errorf("the cluster's identity cannot be written: %w", err)
		}
	}
}

func orDefault[T int | time.Duration](v, fallback T) T {
	if v <= 0 {
		return fallback
	}
	return v
}

// describe is the node's own entry among the members.
func (n *Node) describe(id string) member.Member {
	m := member.Member{Session: id, Name: n.config.name, Address: n.endpoint.Address(), Version: Version, Weight: n.config.weight, ClientOnly: n.config.clientOnly}
	if m.ClientOnly {
		return m
	}
	m.Kinds = make(map[string][]string, len(n.hosted))
	for id, h := range n.hosted {
		m.Kinds[id] = h.methodNames()
	}
	return m
}

// ID returns the node's session: one life of the node in its cluster.
func (n *Node) ID() string { return n.session.ID() }

// Name returns the node's name for people.
func (n *Node) Name() string { return n.config.name }

// Logger returns the node's logger, for what is built on the node.
func (n *Node) Logger() *slog.Logger { return n.logger }

// Ready returns nil once the node may serve and call, and otherwise why not.
// It is meant for readiness probes.
func (n *Node) Ready() error {
	switch {
	case n.closed():
		return ErrClosed
	case !n.ready.Load():
		return ErrStarting
	}
	return n.session.Check()
}

// Done returns a channel that is closed when the node has stopped.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err returns why the node stopped: nil while it runs and after Close or
// Drain, and otherwise an error such as member.ErrLost.
func (n *Node) Err() error {
	select {
	case <-n.done:
		return n.err
	default:
		return nil
	}
}

func (n *Node) closed() bool { return n.ctx.Err() != nil }

// Close stops the node at once. Running turns are cut off; their commits
// either happened or did not, as the callers' outcomes say. The node's shards
// are free for others as soon as its lease is revoked. Close may be called
// more than once.
func (n *Node) Close() error {
	n.stop(nil)
	return nil
}

// Run keeps the node up until ctx ends, usually with a signal, and then drains
// it within grace. It returns nil when that succeeded, and otherwise closes the
// node and returns why.
func (n *Node) Run(ctx context.Context, grace time.Duration) error {
	select {
	case <-n.done:
		return n.err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := n.Drain(drain)
	return errors.Join(err, n.Close())
}

// watchSession stops the node when its session is lost: others take over, so
// everything in memory is void.
func (n *Node) watchSession() {
	select {
	case <-n.session.Done():
	case <-n.ctx.Done():
		return
	}
	if err := n.session.Err(); err != nil {
		// The stopping waits for all tasks, this one included.
		go n.stop(err)
	}
}

// stop ends the node; the first caller's err is what Err tells.
func (n *Node) stop(err error) {
	n.stopping.Do(func() {
		n.err = err
		for i := len(n.services) - 1; i >= 0; i-- {
			if err := n.services[i].Close(); err != nil {
				n.logger.Warn("a service did not close cleanly", "error", err)
			}
		}
		n.cancel(ErrClosed)
		for s := range n.shards {
			s.drop(ErrClosed)
		}
		n.stopCluster()
		n.peersMu.RLock()
		for _, p := range n.peers {
			p.fail("this node was closed")
		}
		n.peersMu.RUnlock()
		if n.journal != nil {
			n.journal.Close()
		}
		n.waitForTurns()
		n.tasks.Wait()
		if n.endpoint != nil {
			if err := n.endpoint.Close(); err != nil {
				n.logger.Warn("the link did not close cleanly", "error", err)
			}
		}
		if n.config.closeStores != nil {
			if err := n.config.closeStores(); err != nil {
				n.logger.Warn("the stores did not close cleanly", "error", err)
			}
		}
		close(n.done)
	})
	<-n.done
}

// waitForTurns waits until no handler runs. One that ignores its context for
// long is left behind: Go cannot stop it, and what it does reaches nobody.
func (n *Node) waitForTurns() {
	n.workers.close()
	over := make(chan struct{})
	go func() {
		n.workers.all.Wait()
		close(over)
	}()
	timer := time.NewTimer(stubbornTurns)
	defer timer.Stop()
	select {
	case <-over:
	case <-timer.C:
		n.logger.Error("handlers still run although their contexts have ended; the node stops without them", "waited", stubbornTurns)
	}
}

// stopCluster leaves the cluster, in the reverse order of start.
func (n *Node) stopCluster() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if n.leader != nil {
		if err := n.leader.Close(ctx); err != nil {
			n.logger.Warn("the leadership could not be given up; it ends with the lease", "error", err)
		}
	}
	if n.manager != nil {
		n.manager.Close()
	}
	if n.session != nil {
		if err := n.session.Close(ctx); err != nil {
			n.logger.Warn("the node's lease could not be revoked; others take over when it expires", "error", err)
		}
	}
	if n.table != nil {
		n.table.Close()
	}
	if n.view != nil {
		n.view.Close()
	}
}

// shardID names a shard by its kind's identity.
func (n *Node) shardID(identity string, number uint32) state.Shard {
	return state.Shard{Kind: identity, Number: number}
}
