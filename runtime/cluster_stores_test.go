package cajun_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/link/memlink"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/memmeta"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/memstate"
)

// weather makes stores slow and unreliable while it is bad.
type weather struct {
	bad atomic.Bool
	mu  sync.Mutex
	rnd *rand.Rand
}

// upTo returns a random time below d.
func (w *weather) upTo(d time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Duration(w.rnd.Int64N(int64(d)))
}

func (w *weather) oneIn(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rnd.IntN(n) == 0
}

var errWeather = errors.New("lost on the way")

// way is a message's way to a store or back: mostly short, now and then longer
// than a lease, or a dead end.
func (w *weather) way(ctx context.Context) error {
	if !w.bad.Load() {
		return nil
	}
	d := w.upTo(20 * time.Millisecond)
	switch {
	case w.oneIn(40):
		d = w.upTo(7 * time.Second)
	case w.oneIn(40):
		return errWeather
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// door is where one node goes out to its stores, whatever the weather. It is
// shut when the node is killed: what is on its way then still arrives, and
// nobody learns of it.
type door struct {
	*weather
	shut atomic.Bool
}

var errShut = errors.New("the node was killed")

func (d *door) way(ctx context.Context) error {
	if d.shut.Load() {
		return errShut
	}
	if err := d.weather.way(ctx); err != nil {
		return err
	}
	if d.shut.Load() {
		return errShut
	}
	return nil
}

// write goes to a store and back. What was lost on its way there may arrive
// late, and what was lost on the way back has taken effect.
func (d *door) write(ctx context.Context, write func(context.Context) error) error {
	if d.shut.Load() {
		return errShut
	}
	if err := d.way(ctx); err != nil {
		if d.oneIn(2) {
			time.AfterFunc(d.upTo(8*time.Second), func() { _ = write(context.WithoutCancel(ctx)) })
		}
		return err
	}
	if err := write(ctx); err != nil {
		return err
	}
	return d.way(ctx)
}

type weatheredMeta struct {
	metadata.Store
	*door
}

func (s weatheredMeta) Get(ctx context.Context, key string) (metadata.Entry, bool, error) {
	if err := s.way(ctx); err != nil {
		return metadata.Entry{}, false, err
	}
	return s.Store.Get(ctx, key)
}

func (s weatheredMeta) List(ctx context.Context, prefix string) (metadata.Snapshot, error) {
	if err := s.way(ctx); err != nil {
		return metadata.Snapshot{}, err
	}
	return s.Store.List(ctx, prefix)
}

func (s weatheredMeta) Commit(ctx context.Context, t metadata.Txn) (metadata.Result, error) {
	var r metadata.Result
	err := s.write(ctx, func(ctx context.Context) error {
		got, err := s.Store.Commit(ctx, t)
		if err == nil {
			r = got
		}
		return err
	})
	if err != nil {
		return metadata.Result{}, err
	}
	return r, nil
}

// KeepAlive and Revoke are as good as the store, but for a node that was killed.
func (s weatheredMeta) KeepAlive(ctx context.Context, id metadata.LeaseID) error {
	if s.shut.Load() {
		return errShut
	}
	return s.Store.KeepAlive(ctx, id)
}

func (s weatheredMeta) Revoke(ctx context.Context, id metadata.LeaseID) error {
	if s.shut.Load() {
		return errShut
	}
	return s.Store.Revoke(ctx, id)
}

// Watch brings news late, and breaks now and then.
func (s weatheredMeta) Watch(ctx context.Context, prefix string, after int64) <-chan metadata.Batch {
	ctx, cancel := context.WithCancel(ctx)
	in, out := s.Store.Watch(ctx, prefix, after), make(chan metadata.Batch)
	go func() {
		defer close(out)
		defer cancel()
		for b := range in {
			switch {
			case s.shut.Load():
				b = metadata.Batch{Err: errShut}
			case !s.bad.Load():
			case s.oneIn(200):
				b = metadata.Batch{Err: metadata.ErrCompacted}
			case s.oneIn(100):
				during(s.upTo(3 * time.Second))
			default:
				during(s.upTo(20 * time.Millisecond))
			}
			select {
			case out <- b:
			case <-ctx.Done():
				return
			}
			if b.Err != nil {
				return
			}
		}
	}()
	return out
}

type weatheredState struct {
	state.Store
	*door
}

func (s weatheredState) Seal(ctx context.Context, seals []state.Seal) []error {
	var told []error
	err := s.write(ctx, func(ctx context.Context) error { told = s.Store.Seal(ctx, seals); return nil })
	if err == nil {
		return told
	}
	errs := make([]error, len(seals))
	for i := range errs {
		errs[i] = err
	}
	return errs
}

func (s weatheredState) Commit(ctx context.Context, commits []state.Commit) error {
	return s.write(ctx, func(ctx context.Context) error { return s.Store.Commit(ctx, commits) })
}

func (s weatheredState) Load(ctx context.Context, a state.Actor, fence state.Fence) (state.Snapshot, error) {
	if err := s.way(ctx); err != nil {
		return state.Snapshot{}, err
	}
	return s.Store.Load(ctx, a, fence)
}

func (s weatheredState) Agenda(ctx context.Context, id state.Shard, after string, limit int) ([]state.Entry, error) {
	if err := s.way(ctx); err != nil {
		return nil, err
	}
	return s.Store.Agenda(ctx, id, after, limit)
}

// storm is a few nodes and a client whose stores are at the mercy of the
// weather, while nodes close, drain, die, are cut off and come back.
type storm struct {
	t       *testing.T
	w       *weather
	host    cajun.Option
	network *memlink.Network
	meta    *memmeta.Store
	records *memstate.Store
	// remains are the nodes that were killed and are still to be cleared away.
	remains sync.WaitGroup

	mu     sync.Mutex // the nodes, which the callers use
	nodes  []*cajun.Node
	client *cajun.Node
	doors  map[*cajun.Node]*door
}

// newStorm starts nodes in good weather.
func newStorm(t *testing.T, rnd *rand.Rand, nodes int, host cajun.Option) *storm {
	s := &storm{t: t, w: &weather{rnd: rand.New(rand.NewPCG(rnd.Uint64(), 0))}, host: host, network: memlink.NewNetwork(), meta: memmeta.New(), records: memstate.New(),
		nodes: make([]*cajun.Node, nodes), doors: make(map[*cajun.Node]*door)}
	for i := range s.nodes {
		s.start(i)
	}
	s.start(-1)
	return s
}

// start puts a new node in a place; -1 is that of the client.
func (s *storm) start(i int) {
	s.t.Helper()
	for {
		d, own := &door{weather: s.w}, s.host
		if i < 0 {
			own = cajun.WithClientOnly()
		}
		n, err := cajun.Start(s.t.Context(), own, cajun.WithMetadata(weatheredMeta{s.meta, d}), cajun.WithState(weatheredState{s.records, d}),
			cajun.WithTransport(s.network.Transport()), cajun.WithLogger(slog.New(slog.DiscardHandler)))
		if err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.doors[n] = d
			if i < 0 {
				s.client = n
			} else {
				s.nodes[i] = n
			}
			return
		}
		if !s.w.bad.Load() {
			s.t.Fatal(err)
		}
	}
}

// node returns the node in a place; -1 is that of the client.
func (s *storm) node(i int) *cajun.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i < 0 {
		return s.client
	}
	return s.nodes[i]
}

// close ends all nodes.
func (s *storm) close() {
	for i := -1; i < len(s.nodes); i++ {
		s.node(i).Close()
	}
	s.remains.Wait()
}

// kill ends a node without a word to anybody.
func (s *storm) kill(i int) {
	n := s.node(i)
	s.doors[n].shut.Store(true)
	s.network.Kill(n.ID())
	s.remains.Go(func() { n.Close() })
}

// disturb closes, drains or kills a node, or finds that it has lost its session,
// and starts it again, or spoils the link for a while.
func (s *storm) disturb(rnd *rand.Rand, i int) {
	n := s.node(i)
	long := time.Duration(rnd.Int64N(int64(10 * time.Second))) // more than the lease, or less
	choice := rnd.IntN(9)
	if s.isOver(n) {
		n.Close()
		s.start(i)
		return
	}
	switch choice {
	case 0, 1:
		ctx, cancel := context.WithTimeout(s.t.Context(), long)
		defer cancel()
		_ = n.Drain(ctx)
		n.Close()
	case 2:
		n.Close()
	case 3, 4, 5:
		s.kill(i)
		during(long / 4)
	case 6:
		s.network.Partition(n.ID(), s.node((i+1)%len(s.nodes)).ID())
		during(long)
		s.network.Heal()
		return
	case 7:
		s.network.SetFaults(anyFaults(rnd))
		during(long)
		s.network.SetFaults(link.Faults{})
		return
	default:
		return
	}
	s.start(i)
}

func (s *storm) isOver(n *cajun.Node) bool {
	select {
	case <-n.Done():
		return true
	default:
		return false
	}
}

// calm ends the storm, and starts those again that it has cost their sessions.
func (s *storm) calm() {
	s.w.bad.Store(false)
	during(time.Minute)
	for i := -1; i < len(s.nodes); i++ {
		if n := s.node(i); s.isOver(n) {
			n.Close()
			s.start(i)
		}
	}
	during(time.Minute)
}

// bookings count for each actor of a storm the calls that were acknowledged, and
// those of which nobody knows.
type bookings struct{ told, maybe [12]atomic.Int64 }

// add makes one call of an actor and counts what came of it.
func (b *bookings) add(s *storm, actor int, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	_, err := probev1cajun.NewCounterPid(s.node(-1), fmt.Sprint(actor)).AddOnce(ctx, &probev1.AddRequest{Amount: 1})
	if err == nil {
		b.told[actor].Add(1)
	} else {
		b.maybe[actor].Add(1)
	}
	return err
}

// TestClusterStorm: after any weather every actor can be called, no call that
// was acknowledged is missing, none counts twice, and no shard is stuck on its
// way.
func TestClusterStorm(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		s, b := newStorm(t, rnd, 3, newStage().options()), new(bookings)
		defer s.close()
		s.w.bad.Store(true)
		over := make(chan struct{})
		var callers sync.WaitGroup
		for actor := range b.told {
			callers.Go(func() {
				for {
					select {
					case <-over:
						return
					case <-time.After(s.w.upTo(2 * time.Second)):
						_ = b.add(s, actor, 20*time.Second)
					}
				}
			})
		}
		for range 25 {
			during(time.Duration(rnd.Int64N(int64(4 * time.Second))))
			s.disturb(rnd, rnd.IntN(len(s.nodes)))
		}
		close(over)
		callers.Wait()
		s.calm()
		for actor := range b.told {
			if err := b.add(s, actor, 30*time.Second); err != nil {
				t.Errorf("actor %d cannot be called: %v", actor, err)
				continue
			}
			r, err := probev1cajun.NewCounterPid(s.client, fmt.Sprint(actor)).Get(t.Context(), &probev1.GetRequest{})
			if told, maybe := b.told[actor].Load(), b.maybe[actor].Load(); err != nil || r.GetSum() < told || r.GetSum() > told+maybe {
				t.Errorf("actor %d: %v, %v; %d calls were acknowledged, of %d nobody knows", actor, r, err, told, maybe)
			}
		}
		for _, shard := range s.nodes[0].Cluster().Shards {
			if shard.Target != "" {
				t.Errorf("still moving: %+v", shard)
			}
		}
	})
}
