// Package feed is the channel between a store and the reader of one of its
// watches.
package feed

import (
	"github.com/cajun-go/cajun/metadata"
)

// Limit is how much a reader may fall behind, in bytes as Cost counts them,
// before its watch ends with metadata.ErrCompacted.
const Limit = 8 << 20

// overhead is what an event weighs besides its key and value.
const overhead = 128

// Feed hands batches to one reader without ever blocking the writer and
// without a goroutine: while the reader is away, what comes in is merged into
// the batch that waits for it.
//
// The writer's side is not safe for concurrent use; guard it with a lock, or
// write from one goroutine. The reader uses only the channel.
type Feed struct {
	// ch holds at most one batch with events and one with the final error.
	ch     chan metadata.Batch
	cost   int // of the waiting batch, if it is still there
	closed bool
}

// New returns an open feed.
func New() *Feed { return &Feed{ch: make(chan metadata.Batch, 2)} }

// C is the reader's end.
func (f *Feed) C() <-chan metadata.Batch { return f.ch }

// Closed says whether the feed has ended.
func (f *Feed) Closed() bool { return f.closed }

// Add appends a batch of later revisions than all before; the feed keeps the
// slice of events. When the reader is more than Limit behind, the feed drops
// what waits and fails with ErrCompacted, and Add reports false.
func (f *Feed) Add(b metadata.Batch) bool {
	if f.closed {
		return false
	}
	select {
	case waiting := <-f.ch:
		// Only the reader could have shared the slice, and it did not get it.
		b.Events = append(waiting.Events, b.Events...)
		f.cost += Cost(b.Events[len(waiting.Events):])
		b.Revision = max(b.Revision, waiting.Revision)
	default:
		f.cost = Cost(b.Events)
	}
	if f.cost > Limit {
		f.Fail(metadata.ErrCompacted)
		return false
	}
	f.ch <- b
	return true
}

// Fail ends the feed with an error that follows what already waits.
func (f *Feed) Fail(err error) {
	if f.closed {
		return
	}
	f.ch <- metadata.Batch{Err: err}
	f.End()
}

// End ends the feed without an error.
func (f *Feed) End() {
	if f.closed {
		return
	}
	f.closed = true
	close(f.ch)
}

// Cost is what events weigh in memory, roughly.
func Cost(events []metadata.Event) int {
	n := 0
	for i := range events {
		n += overhead + len(events[i].Entry.Key) + len(events[i].Entry.Value)
	}
	return n
}
