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

// write goes to a store and back. What was lost on its way there may arrive
// late, and what was lost on the way back has taken effect.
func (w *weather) write(ctx context.Context, write func(context.Context) error) error {
	if err := w.way(ctx); err != nil {
		if w.oneIn(2) {
			time.AfterFunc(w.upTo(8*time.Second), func() { _ = write(context.WithoutCancel(ctx)) })
		}
		return err
	}
	if err := write(ctx); err != nil {
		return err
	}
	return w.way(ctx)
}

type weatheredMeta struct {
	metadata.Store
	w *weather
}

func (s weatheredMeta) Get(ctx context.Context, key string) (metadata.Entry, bool, error) {
	if err := s.w.way(ctx); err != nil {
		return metadata.Entry{}, false, err
	}
	return s.Store.Get(ctx, key)
}

func (s weatheredMeta) List(ctx context.Context, prefix string) (metadata.Snapshot, error) {
	if err := s.w.way(ctx); err != nil {
		return metadata.Snapshot{}, err
	}
	return s.Store.List(ctx, prefix)
}

func (s weatheredMeta) Commit(ctx context.Context, t metadata.Txn) (metadata.Result, error) {
	var r metadata.Result
	err := s.w.write(ctx, func(ctx context.Context) error {
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

// Watch brings news late, and breaks now and then.
func (s weatheredMeta) Watch(ctx context.Context, prefix string, after int64) <-chan metadata.Batch {
	ctx, cancel := context.WithCancel(ctx)
	in, out := s.Store.Watch(ctx, prefix, after), make(chan metadata.Batch)
	go func() {
		defer close(out)
		defer cancel()
		for b := range in {
			switch {
			case !s.w.bad.Load():
			case s.w.oneIn(200):
				b = metadata.Batch{Err: metadata.ErrCompacted}
			case s.w.oneIn(100):
				during(s.w.upTo(3 * time.Second))
			default:
				during(s.w.upTo(20 * time.Millisecond))
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
	w *weather
}

func (s weatheredState) Seal(ctx context.Context, seals []state.Seal) []error {
	var told []error
	err := s.w.write(ctx, func(ctx context.Context) error { told = s.Store.Seal(ctx, seals); return nil })
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
	return s.w.write(ctx, func(ctx context.Context) error { return s.Store.Commit(ctx, commits) })
}

// storm is three nodes and a client whose stores are at the mercy of the
// weather, while nodes close, drain and come back.
type storm struct {
	t       *testing.T
	w       *weather
	stage   *stage
	network *memlink.Network
	meta    *memmeta.Store
	records *memstate.Store
	nodes   [3]*cajun.Node
	client  *cajun.Node
	// told counts for each actor the calls that were acknowledged, and maybe
	// those of which nobody knows.
	told, maybe [12]atomic.Int64
}

func (s *storm) start(opts ...cajun.Option) *cajun.Node {
	s.t.Helper()
	for {
		n, err := cajun.Start(s.t.Context(), append(opts, cajun.WithMetadata(weatheredMeta{s.meta, s.w}), cajun.WithState(weatheredState{s.records, s.w}),
			cajun.WithTransport(s.network.Transport()), cajun.WithLogger(slog.New(slog.DiscardHandler)))...)
		if err == nil {
			return n
		}
		if !s.w.bad.Load() {
			s.t.Fatal(err)
		}
	}
}

// add makes one call of an actor and counts what came of it.
func (s *storm) add(actor int, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	_, err := probev1cajun.NewCounterPid(s.client, fmt.Sprint(actor)).AddOnce(ctx, &probev1.AddRequest{Amount: 1})
	if err == nil {
		s.told[actor].Add(1)
	} else {
		s.maybe[actor].Add(1)
	}
	return err
}

// disturb closes or drains a node, or finds that it has lost its session, and
// starts it again.
func (s *storm) disturb(i int) {
	select {
	case <-s.nodes[i].Done():
	default:
		switch {
		case s.w.oneIn(3):
			return
		case s.w.oneIn(2):
			ctx, cancel := context.WithTimeout(s.t.Context(), s.w.upTo(10*time.Second))
			defer cancel()
			_ = s.nodes[i].Drain(ctx)
		}
	}
	s.nodes[i].Close()
	s.nodes[i] = s.start(s.stage.options())
}

// calm ends the storm, and starts those again that it has cost their sessions.
func (s *storm) calm() {
	s.w.bad.Store(false)
	during(time.Minute)
	for i, n := range s.nodes {
		select {
		case <-n.Done():
			n.Close()
			s.nodes[i] = s.start(s.stage.options())
		default:
		}
	}
	select {
	case <-s.client.Done():
		s.client.Close()
		s.client = s.start(cajun.WithClientOnly())
	default:
	}
	during(time.Minute)
}

// TestClusterStorm: after any weather every actor can be called, no call that
// was acknowledged is missing, none counts twice, and no shard is stuck on its
// way.
func TestClusterStorm(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		s := &storm{t: t, w: &weather{rnd: rnd}, stage: newStage(), network: memlink.NewNetwork(), meta: memmeta.New(), records: memstate.New()}
		for i := range s.nodes {
			s.nodes[i] = s.start(s.stage.options())
		}
		s.client = s.start(cajun.WithClientOnly())
		defer func() {
			s.client.Close()
			for _, n := range s.nodes {
				n.Close()
			}
		}()
		s.w.bad.Store(true)
		over := make(chan struct{})
		var callers sync.WaitGroup
		for actor := range s.told {
			callers.Go(func() {
				for {
					select {
					case <-over:
						return
					case <-time.After(s.w.upTo(2 * time.Second)):
						_ = s.add(actor, 20*time.Second)
					}
				}
			})
		}
		for range 25 {
			during(s.w.upTo(4 * time.Second))
			s.disturb(int(s.w.upTo(3)))
		}
		close(over)
		callers.Wait()
		s.calm()
		for actor := range s.told {
			if err := s.add(actor, 30*time.Second); err != nil {
				t.Errorf("actor %d cannot be called: %v", actor, err)
				continue
			}
			r, err := probev1cajun.NewCounterPid(s.client, fmt.Sprint(actor)).Get(t.Context(), &probev1.GetRequest{})
			if told, maybe := s.told[actor].Load(), s.maybe[actor].Load(); err != nil || r.GetSum() < told || r.GetSum() > told+maybe {
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
