package connectlink

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"sync"

	"github.com/cajun-go/cajun/link"
)

// errEnded says that a frame came too late for a stream.
var errEnded = errors.New("connectlink: the stream has ended")

// keepBatch bounds the memory that an idle stream holds on to.
const keepBatch = 512 << 10

// outbox collects the frames for one stream into the batch that is sent next.
// Any number of senders append to it; one writer takes.
type outbox struct {
	limit int           // bytes in a batch before senders wait
	wake  chan struct{} // holds a token when an idle writer should look again

	mu       sync.Mutex
	batch    []byte
	idle     bool    // the writer waits for wake
	waiting  []*turn // senders for whom there was no room, in order
	reserved int     // bytes of those who were told that there is room now
	closed   bool    // lets nothing more in; what is there goes out
	dropped  bool    // what is there is lost, too
}

// turn is a sender's place in the line for room.
type turn struct {
	size int
	come chan struct{} // closed when there is room for it, which is then reserved
	told bool
}

func newOutbox(limit int) *outbox {
	return &outbox{limit: limit, wake: make(chan struct{}, 1)}
}

// add appends a frame to the batch. It waits for room until ctx ends, and then
// fails with the context's error, or with errEnded when the stream ends; in
// both cases the frame was not added.
func (o *outbox) add(ctx context.Context, f *link.Frame) error {
	size := link.BatchedSize(f)
	if f.Number != nil {
		size += 1 + binary.MaxVarintLen64 // its tag and its value
	}
	o.mu.Lock()
	if !o.closed && (len(o.waiting) > 0 || !o.fits(size)) {
		if err := o.await(ctx, size); err != nil {
			o.mu.Unlock()
			return err
		}
	}
	if o.closed {
		o.mu.Unlock()
		return errEnded
	}
	f.Settle()
	o.batch = link.AppendBatched(o.batch, f)
	o.unlockAndWake()
	return nil
}

// fits reports whether there is room, with o.mu held. A batch takes at least one
// frame, however large.
func (o *outbox) fits(size int) bool {
	used := len(o.batch) + o.reserved
	return used == 0 || used+size <= o.limit
}

// await waits in line for room, with o.mu held except while it waits. Those who
// come later wait behind: otherwise small frames would fill the room of a large
// one for ever.
func (o *outbox) await(ctx context.Context, size int) error {
	mine := &turn{size: size, come: make(chan struct{})}
	o.waiting = append(o.waiting, mine)
	o.mu.Unlock()
	var err error
	select {
	case <-mine.come:
	case <-ctx.Done():
		err = ctx.Err()
	}
	o.mu.Lock()
	if mine.told {
		o.reserved -= size
	} else {
		o.waiting = slices.DeleteFunc(o.waiting, func(t *turn) bool { return t == mine })
	}
	if err != nil {
		o.makeRoom() // for those behind
	}
	return err
}

// take returns the next batch, once there is something in it, and false when
// nothing more will come. It takes the memory of the one before.
func (o *outbox) take(previous []byte) ([]byte, bool) {
	if cap(previous) > keepBatch {
		previous = nil
	}
	for {
		// Everyone who is ready to run may add a frame first. With many
		// callers this about doubles what one write carries; with one it
		// costs nothing.
		runtime.Gosched()
		o.mu.Lock()
		switch {
		case o.dropped:
			o.mu.Unlock()
			return nil, false
		case len(o.batch) > 0:
			batch := o.batch
			o.batch = previous[:0]
			o.makeRoom()
			o.mu.Unlock()
			return batch, true
		case o.closed:
			o.mu.Unlock()
			return nil, false
		}
		o.idle = true
		o.mu.Unlock()
		<-o.wake
	}
}

// close lets nothing more in. With drop, what is there is lost, too.
func (o *outbox) close(drop bool) {
	o.mu.Lock()
	o.closed = true
	o.dropped = o.dropped || drop
	o.makeRoom()
	o.unlockAndWake()
}

func (o *outbox) unlockAndWake() {
	idle := o.idle
	o.idle = false
	o.mu.Unlock()
	if idle {
		o.wake <- struct{}{}
	}
}

// makeRoom tells those in line for whom there is room, and everybody when there
// will be none any more. o.mu is held.
func (o *outbox) makeRoom() {
	for len(o.waiting) > 0 && (o.closed || o.fits(o.waiting[0].size)) {
		first := o.waiting[0]
		o.waiting = o.waiting[1:]
		o.reserved += first.size
		first.told = true
		close(first.come)
	}
}

func (o *outbox) isClosed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

func (o *outbox) isDropped() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dropped
}
