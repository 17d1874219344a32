package metadata

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// The pauses between two lists, jittered by half, so that the followers of a
// store that comes back do not list all at once; and how long one list may
// take before it is tried anew.
const (
	followMinPause    = 50 * time.Millisecond
	followMaxPause    = 3 * time.Second
	followListTimeout = 10 * time.Second
)

// A Follower is told the contents of a prefix and how they change.
//
// Its methods are called by one goroutine, one at a time, and not after Follow
// has returned. While they run, the watch fills its buffer; a method that
// takes long costs another Reset.
type Follower interface {
	// Reset replaces everything that the follower knows. It is the first call,
	// and comes again whenever changes may have been missed: what is not in the
	// snapshot is deleted.
	Reset(Snapshot)
	// Apply adds the changes of one batch, which continues the latest Reset
	// without a gap. Its Err is nil. A batch without events only says that
	// there were no changes up to its Revision.
	Apply(Batch)
}

// Follow keeps f up to date with what is under prefix, and blocks until ctx
// ends or the store is closed. It lists, then watches; when the watch breaks
// or falls behind it logs that and starts over, with a growing pause. A nil
// logger discards.
func Follow(ctx context.Context, store Store, prefix string, f Follower, logger *slog.Logger) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	pauses := &backoff.ExponentialBackOff{
		InitialInterval:     followMinPause,
		RandomizationFactor: 0.5,
		Multiplier:          2,
		MaxInterval:         followMaxPause,
	}
	pauses.Reset()
	for {
		start := time.Now()
		err := followOnce(ctx, store, prefix, f)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, ErrClosed) {
			logger.Debug("metadata: stopped following, as the store was closed", "prefix", prefix)
			return
		}
		// Only a watch that lasted earns short pauses again. One that lists,
		// gets a batch and falls behind, over and over, must slow down.
		if time.Since(start) > followListTimeout+followMaxPause {
			pauses.Reset()
		}
		pause := pauses.NextBackOff()
		logger.Warn("metadata: following anew", "prefix", prefix, "pause", pause, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// followOnce lists and then watches until the watch ends, and returns why.
func followOnce(ctx context.Context, store Store, prefix string, f Follower) error {
	// A list without a deadline could wait forever for a peer that vanished
	// silently.
	listCtx, cancelList := context.WithTimeout(ctx, followListTimeout)
	snapshot, err := store.List(listCtx, prefix)
	cancelList()
	if err != nil {
		return err
	}
	f.Reset(snapshot)

	watchCtx, cancelWatch := context.WithCancel(ctx)
	batches := store.Watch(watchCtx, prefix, snapshot.Revision)
	defer func() {
		cancelWatch()
		for range batches { // the store closes it, now that watchCtx has ended
		}
	}()
	for batch := range batches {
		if batch.Err != nil {
			return batch.Err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.Apply(batch)
	}
	return errors.New("metadata: the watch ended without an error")
}
