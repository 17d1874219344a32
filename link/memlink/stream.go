package memlink

import (
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cajun-go/cajun/link"
)

// errEnded says that a frame came too late for a stream.
var errEnded = errors.New("memlink: the stream has ended")

// keepBuffer bounds the memory that an idle inbox holds on to.
const keepBuffer = 256 << 10

// stream connects two endpoints. in[i] holds what ends[i] has yet to receive.
type stream struct {
	ends    [2]*endpoint
	in      [2]*inbox
	severed atomic.Bool // by a partition: what is sent is lost
	ended   atomic.Bool
	// The rest is guarded by Network.mu. cuts counts partitions and heals, so
	// that a late detection recognises that it is out of date.
	cuts    int
	detect  *time.Timer
	readers int
}

// to returns where frames to the session go.
func (s *stream) to(session string) *inbox {
	if s.in[0].owner.cfg.Session == session {
		return s.in[0]
	}
	return s.in[1]
}

// inbox is what one endpoint has yet to receive from one other. Its goroutine,
// run, belongs to the endpoint.
type inbox struct {
	stream *stream
	owner  *endpoint
	from   *endpoint
	wake   chan struct{} // holds a token when run should look again
	drop   atomic.Bool   // what is not yet delivered is lost

	mu      sync.Mutex
	ready   []byte // frames, each behind its length
	late    delayed
	size    int           // bytes in ready, in late, and in what run has taken
	room    chan struct{} // closed when size has become smaller; nil when nobody waits
	ended   bool
	reason  error
	plan    *link.Faults
	random  *rand.Rand
	lastDue time.Time
	count   uint64
}

func newInbox(s *stream, owner, from *endpoint) *inbox {
	return &inbox{stream: s, owner: owner, from: from, wake: make(chan struct{}, 1)}
}

// put queues a frame, when there is room for it. It fails with errEnded or
// with the context's error, and then the frame was not queued.
func (in *inbox) put(ctx context.Context, f *link.Frame) error {
	for {
		in.mu.Lock()
		if in.ended {
			in.mu.Unlock()
			return errEnded
		}
		if in.stream.severed.Load() {
			f.Settle()
			in.mu.Unlock()
			return nil
		}
		if in.size == 0 || in.size < SendBuffer {
			in.add(f)
			in.mu.Unlock()
			in.signal()
			return nil
		}
		if in.room == nil {
			in.room = make(chan struct{})
		}
		room := in.room
		in.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		case <-in.from.stopped:
			return link.ErrClosed
		}
	}
}

// add queues a frame, with in.mu held.
func (in *inbox) add(f *link.Frame) {
	f.Settle()
	plan := in.from.network.faults.Load()
	if plan == nil {
		before := len(in.ready)
		in.ready = appendSized(in.ready, f)
		in.size += len(in.ready) - before
		return
	}
	if in.plan != plan {
		in.plan = plan
		in.random = rand.New(rand.NewPCG(plan.Seed, in.from.number<<32|in.owner.number))
	}
	now := time.Now()
	for _, due := range in.fate(now) {
		in.count++
		frame := appendSized(nil, f)
		in.size += len(frame)
		heap.Push(&in.late, letter{due: due, order: in.count, frame: frame})
	}
}

// run delivers until the stream has ended or the owner is gone.
func (in *inbox) run() {
	defer in.owner.network.release(in.stream)
	decoder := link.NewDecoder(in.owner.cfg.MaxMessage)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var batch []byte
	for in.owner.mayRun(context.Background()) == nil {
		var wait time.Duration
		var reason error
		batch, wait, reason = in.take(batch)
		switch {
		case len(batch) > 0:
			in.deliver(decoder, batch)
			in.done(len(batch))
		case reason != nil:
			in.owner.cfg.Receiver.PeerDown(in.from.cfg.Session, reason)
			return
		default:
			timer.Reset(wait)
			select {
			case <-in.wake:
			case <-timer.C:
			case <-in.owner.stopped:
			}
		}
	}
}

// take returns the frames that are due, reusing the memory of batch. If there
// are none, it returns how long to wait for the next one, and the reason when
// the stream has ended.
func (in *inbox) take(batch []byte) ([]byte, time.Duration, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	wait := time.Hour
	if len(in.late) > 0 {
		now := time.Now()
		for len(in.late) > 0 && !in.late[0].due.After(now) {
			in.ready = append(in.ready, heap.Pop(&in.late).(letter).frame...)
		}
		if len(in.late) > 0 {
			wait = in.late[0].due.Sub(now)
		}
	}
	if cap(batch) > keepBuffer {
		batch = nil
	}
	batch, in.ready = in.ready, batch[:0]
	if in.ended {
		return batch, wait, in.reason
	}
	return batch, wait, nil
}

// deliver calls the receiver with each frame of a batch.
func (in *inbox) deliver(decoder *link.Decoder, batch []byte) {
	receiver, from := in.owner.cfg.Receiver, in.from.cfg.Session
	for len(batch) > 0 {
		size, n := binary.Uvarint(batch)
		encoded := batch[n : n+int(size)]
		batch = batch[n+int(size):]
		f, err := decoder.Frame(encoded)
		if err != nil {
			panic("memlink: a frame that was checked does not decode: " + err.Error())
		}
		if in.owner.mayRun(context.Background()) != nil || in.drop.Load() {
			return
		}
		receiver.Receive(from, f)
	}
}

// done makes room for n bytes.
func (in *inbox) done(n int) {
	in.mu.Lock()
	in.size = max(0, in.size-n)
	in.makeRoom()
	in.mu.Unlock()
}

// discard loses everything that is queued.
func (in *inbox) discard() {
	in.mu.Lock()
	in.ready, in.late, in.size = in.ready[:0], nil, 0
	in.makeRoom()
	in.mu.Unlock()
}

// end lets nothing more in; what waits is delivered before PeerDown, unless
// drop says that it is lost.
func (in *inbox) end(reason error, drop bool) {
	in.mu.Lock()
	in.ended, in.reason, in.late = true, reason, nil
	if drop {
		in.drop.Store(true)
		in.ready = in.ready[:0]
	}
	in.makeRoom()
	in.mu.Unlock()
	in.signal()
}

func (in *inbox) makeRoom() {
	if in.room != nil {
		close(in.room)
		in.room = nil
	}
}

func (in *inbox) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

func appendSized(b []byte, f *link.Frame) []byte {
	b = binary.AppendUvarint(b, uint64(link.FrameSize(f)))
	return link.AppendFrame(b, f)
}
