package cajun

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/member"
)

// Drain hands every shard over to other nodes and stops. Calls are held
// meanwhile, and none fails because of it. When ctx ends first, Drain returns
// its error and the node stays up and takes shards again.
func (n *Node) Drain(ctx context.Context) error {
	n.draining.Lock()
	defer n.draining.Unlock()
	if n.closed() {
		n.stop(nil) // waits for whoever closed it
		return n.err
	}
	n.leaving.Store(true)
	err := n.session.Update(ctx, func(m *member.Member) { m.Draining = true })
	if err == nil {
		err = n.manager.Drain(ctx)
	}
	if err == nil {
		n.linger(ctx)
	}
	if err == nil {
		n.stop(nil)
		return n.err
	}
	if n.closed() {
		n.stop(nil) // waits for whoever closed it
		return errors.Join(fmt.Errorf("cajun: node %s was stopped before it had handed over its shards", n.Name()), n.err)
	}
	n.undoDrain()
	return fmt.Errorf("cajun: node %s could not hand over its shards: %w", n.Name(), err)
}

// Draining reports whether Drain has begun and did not fail, so that the node stops
// soon. What is built on the node sends callers elsewhere from then on.
func (n *Node) Draining() bool { return n.leaving.Load() }

// undoDrain makes the node one that takes shards again. When the metadata store
// does not take that now, it is tried until it does.
func (n *Node) undoDrain() {
	n.leaving.Store(false)
	undo := func() error {
		ctx, cancel := context.WithTimeout(n.ctx, n.config.leaseTTL)
		defer cancel()
		return n.session.Update(ctx, func(m *member.Member) { m.Draining = false })
	}
	err := undo()
	if err == nil {
		return
	}
	n.logger.Error("the node takes no shards until the metadata store lets it", "error", err)
	n.tasks.Go(func() {
		pauses := guarantee.RetryPolicy{InitialBackoff: 100 * time.Millisecond, MaxBackoff: 5 * time.Second}
		for attempt := 1; err != nil; attempt++ {
			timer := time.NewTimer(pauses.Pause(attempt, rand.Float64()))
			select {
			case <-timer.C:
			case <-n.ctx.Done():
				timer.Stop()
				return
			}
			// A new Drain undoes itself if it fails. It must not be waited for: it
			// waits for the node's tasks if it succeeds.
			if n.draining.TryLock() {
				err = undo()
				n.draining.Unlock()
			}
		}
	})
}

// drainLinger is how long a node that owns nothing any more still tells callers
// whose view is behind where their actors are. Else their calls would be lost
// with the connection, and at AT_MOST_ONCE for good.
const drainLinger = 250 * time.Millisecond

// maxLinger bounds how long it stays for calls of its own that are on their way
// to the new owners, which would fail with it.
const maxLinger = 5 * time.Second

func (n *Node) linger(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, maxLinger)
	defer cancel()
	pause := time.NewTimer(drainLinger)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		case <-n.ctx.Done():
			return
		}
		if n.held.Load() == 0 {
			return
		}
		pause.Reset(drainLinger / 10)
	}
}
