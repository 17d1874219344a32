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

	mu      sync.Mutex
	batch   []byte
	idle    bool    // the writer waits for wake
	waiting []*turn // senders for whom there was no room, in order
	closed  bool    // lets nothing more in; what is there goes out
	dropped bool    // what is there is lost, too
}

// turn is a sender's place in the line for room. It is closed when the sender is
// the first in line and there may be room for it.
type turn struct {
	size int
	come chan struct{}
	told bool // come is closed
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
			o.makeRoom() // for whoever is the first now
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
	o.makeRoom()
	o.unlockAndWake()
	return nil
}

// fits reports whether there is room, with o.mu held. A batch takes at least one
// frame, however large.
func (o *outbox) fits(size int) bool { return len(o.batch) == 0 || len(o.batch)+size <= o.limit }

// await waits in line for room, with o.mu held except while it waits. Those who
// come later wait behind: otherwise small frames would fill the room of a large
// one for ever.
func (o *outbox) await(ctx context.Context, size int) error {
	mine := &turn{size: size, come: make(chan struct{})}
	o.waiting = append(o.waiting, mine)
	defer func() {
		o.waiting = slices.DeleteFunc(o.waiting, func(t *turn) bool { return t == mine })
	}()
	for {
		come := mine.come
		o.mu.Unlock()
		var err error
		select {
		case <-come:
		case <-ctx.Done():
			err = ctx.Err()
		}
		o.mu.Lock()
		switch {
		case o.closed:
			return nil
		case err != nil:
			return err
		case o.waiting[0] == mine && o.fits(size):
			return nil
		}
		mine.come, mine.told = make(chan struct{}), false
	}
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

// makeRoom tells the first in line when there is room for it, and everybody when
// there will be none any more. o.mu is held.
func (o *outbox) makeRoom() {
	for i, t := range o.waiting {
		if !o.closed && (i > 0 || !o.fits(t.size)) {
			return
		}
		if !t.told {
			t.told = true
			close(t.come)
		}
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
