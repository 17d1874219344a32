package cajuntest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/state"
)

// errKilled is what the stores of a killed node answer.
var errKilled = errors.New("cajuntest: the node was killed")

// gate stands between a node and its stores. A paused node's calls wait, as
// those of a stopped process would; a killed node's calls fail without a trace.
type gate struct {
	mu     sync.Mutex
	paused chan struct{} // closed by resume; nil while open
	killed chan struct{}
}

func newGate() *gate { return &gate{killed: make(chan struct{})} }

func (g *gate) pause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paused == nil {
		g.paused = make(chan struct{})
	}
}

func (g *gate) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paused != nil {
		close(g.paused)
		g.paused = nil
	}
}

func (g *gate) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isKilled() {
		close(g.killed)
	}
}

// isKilled reports whether kill was called.
func (g *gate) isKilled() bool {
	select {
	case <-g.killed:
		return true
	default:
		return false
	}
}

// pass returns when the node may talk to its stores.
func (g *gate) pass(ctx context.Context) error {
	for {
		g.mu.Lock()
		paused := g.paused
		g.mu.Unlock()
		if g.isKilled() {
			return errKilled
		}
		if paused == nil {
			return nil
		}
		select {
		case <-paused:
		case <-g.killed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// gatedMetadata is the metadata store as one node reaches it.
type gatedMetadata struct {
	metadata.Store
	gate *gate
}

func (s gatedMetadata) Get(ctx context.Context, key string) (metadata.Entry, bool, error) {
	if err := s.gate.pass(ctx); err != nil {
		return metadata.Entry{}, false, err
	}
	return s.Store.Get(ctx, key)
}

func (s gatedMetadata) List(ctx context.Context, prefix string) (metadata.Snapshot, error) {
	if err := s.gate.pass(ctx); err != nil {
		return metadata.Snapshot{}, err
	}
	return s.Store.List(ctx, prefix)
}

func (s gatedMetadata) Commit(ctx context.Context, t metadata.Txn) (metadata.Result, error) {
	if err := s.gate.pass(ctx); err != nil {
		return metadata.Result{}, err
	}
	return s.Store.Commit(ctx, t)
}

// Watch holds batches back while the node is paused. A killed node's watch
// ends.
func (s gatedMetadata) Watch(ctx context.Context, prefix string, after int64) <-chan metadata.Batch {
	out := make(chan metadata.Batch)
	ctx, cancel := context.WithCancel(ctx)
	in := s.Store.Watch(ctx, prefix, after)
	go func() {
		defer close(out)
		defer func() {
			cancel()
			for range in { // the store closes it
			}
		}()
		for batch := range in {
			if err := s.gate.pass(ctx); err != nil {
				return
			}
			select {
			case out <- batch:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func (s gatedMetadata) Grant(ctx context.Context, ttl time.Duration) (metadata.Lease, error) {
	if err := s.gate.pass(ctx); err != nil {
		return metadata.Lease{}, err
	}
	return s.Store.Grant(ctx, ttl)
}

func (s gatedMetadata) KeepAlive(ctx context.Context, id metadata.LeaseID) error {
	if err := s.gate.pass(ctx); err != nil {
		return err
	}
	return s.Store.KeepAlive(ctx, id)
}

func (s gatedMetadata) Revoke(ctx context.Context, id metadata.LeaseID) error {
	if err := s.gate.pass(ctx); err != nil {
		return err
	}
	return s.Store.Revoke(ctx, id)
}

// gatedState is the state store as one node reaches it.
type gatedState struct {
	state.Store
	gate *gate
}

func (s gatedState) Bind(ctx context.Context, clusterID string) error {
	if err := s.gate.pass(ctx); err != nil {
		return err
	}
	return s.Store.Bind(ctx, clusterID)
}

func (s gatedState) Seal(ctx context.Context, seals []state.Seal) []error {
	if err := s.gate.pass(ctx); err != nil {
		errs := make([]error, len(seals))
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	return s.Store.Seal(ctx, seals)
}

func (s gatedState) Load(ctx context.Context, a state.Actor, fence state.Fence) (state.Snapshot, error) {
	if err := s.gate.pass(ctx); err != nil {
		return state.Snapshot{}, err
	}
	return s.Store.Load(ctx, a, fence)
}

func (s gatedState) Commit(ctx context.Context, commits []state.Commit) error {
	if err := s.gate.pass(ctx); err != nil {
		return err
	}
	return s.Store.Commit(ctx, commits)
}
