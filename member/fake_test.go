package member

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/memmeta"
)

var errCut = errors.New("test: the store cannot be reached")

// wire is one node's way to the store, with faults.
type wire struct {
	metadata.Store
	// noWatch drops what watches bring.
	noWatch atomic.Bool
	// Hooks; nil does nothing. beforeAck runs after a renewal was applied and
	// before the session learns of it.
	mu        sync.Mutex
	beforeAck func()
	onGet     func() error
	onCommit  func(metadata.Txn, metadata.Result, error) error
	healed    chan struct{} // not nil while the way is cut
	revoked   atomic.Int64
	renewals  atomic.Int64
}

func (w *wire) hooks() (beforeAck func(), onGet func() error, onCommit func(metadata.Txn, metadata.Result, error) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.beforeAck, w.onGet, w.onCommit
}

func (w *wire) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// cut makes everything but watches wait, as a partition does, until heal.
func (w *wire) cut() { w.set(func() { w.healed = make(chan struct{}) }) }

func (w *wire) heal() { w.set(func() { close(w.healed); w.healed = nil }) }

func (w *wire) fault(ctx context.Context) error {
	w.mu.Lock()
	healed := w.healed
	w.mu.Unlock()
	if healed == nil {
		return nil
	}
	select {
	case <-healed:
		return nil
	case <-ctx.Done():
		return errors.Join(errCut, ctx.Err())
	}
}

func (w *wire) Get(ctx context.Context, key string) (metadata.Entry, bool, error) {
	if err := w.fault(ctx); err != nil {
		return metadata.Entry{}, false, err
	}
	if _, onGet, _ := w.hooks(); onGet != nil {
		if err := onGet(); err != nil {
			return metadata.Entry{}, false, err
		}
	}
	return w.Store.Get(ctx, key)
}

func (w *wire) List(ctx context.Context, prefix string) (metadata.Snapshot, error) {
	if err := w.fault(ctx); err != nil {
		return metadata.Snapshot{}, err
	}
	return w.Store.List(ctx, prefix)
}

func (w *wire) Commit(ctx context.Context, t metadata.Txn) (metadata.Result, error) {
	if err := w.fault(ctx); err != nil {
		return metadata.Result{}, err
	}
	res, err := w.Store.Commit(ctx, t)
	if _, _, onCommit := w.hooks(); onCommit != nil {
		err = onCommit(t, res, err)
	}
	return res, err
}

func (w *wire) KeepAlive(ctx context.Context, id metadata.LeaseID) error {
	if err := w.fault(ctx); err != nil {
		return err
	}
	err := w.Store.KeepAlive(ctx, id)
	if beforeAck, _, _ := w.hooks(); beforeAck != nil {
		beforeAck()
	}
	w.renewals.Add(1)
	return err
}

func (w *wire) Revoke(ctx context.Context, id metadata.LeaseID) error {
	if err := w.fault(ctx); err != nil {
		return err
	}
	w.revoked.Add(1)
	return w.Store.Revoke(ctx, id)
}

func (w *wire) Watch(ctx context.Context, prefix string, after int64) <-chan metadata.Batch {
	in, out := w.Store.Watch(ctx, prefix, after), make(chan metadata.Batch)
	go func() {
		defer close(out)
		for b := range in {
			if w.noWatch.Load() {
				continue
			}
			select {
			case out <- b:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// jumpClock is the bubble's clock, whose readings can be made to jump.
type jumpClock struct {
	start            time.Time
	mono, wall, boot atomic.Int64
	boots            atomic.Int64
}

func newJumpClock() *jumpClock { return &jumpClock{start: time.Now()} }

func (c *jumpClock) Read() Reading {
	passed := time.Since(c.start)
	return Reading{Mono: passed + time.Duration(c.mono.Load()), Wall: passed + time.Duration(c.wall.Load())}
}

func (c *jumpClock) Boot() time.Duration {
	c.boots.Add(1)
	return time.Since(c.start) + time.Duration(c.boot.Load())
}

func (c *jumpClock) jump(mono, wall, boot time.Duration) {
	c.mono.Add(int64(mono))
	c.wall.Add(int64(wall))
	c.boot.Add(int64(boot))
}

func testSpace(t *testing.T) metadata.Space {
	t.Helper()
	space, err := metadata.NewSpace("test")
	if err != nil {
		t.Fatal(err)
	}
	return space
}

// newWire returns a way to a fresh store, which t closes.
func newWire(t *testing.T) *wire {
	t.Helper()
	store := memmeta.New()
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &wire{Store: store}
}

// join joins with the defaults and edit's changes. t abandons the session, so
// that no test depends on a working Close.
func join(t *testing.T, store metadata.Store, edit func(*Config)) *Session {
	t.Helper()
	cfg := Config{Store: store, Space: testSpace(t), Member: Member{Name: "n", Kinds: map[string][]string{"k": {"A"}}}}
	if edit != nil {
		edit(&cfg)
	}
	s, err := Join(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Abandon)
	return s
}

// pass lets fake time pass.
func pass(d time.Duration) { <-time.After(d) }

func wantCheck(t *testing.T, s *Session, want error) {
	t.Helper()
	if err := s.Check(); !errors.Is(err, want) {
		t.Fatalf("Check() = %v, want %v", err, want)
	}
}

func wantPhase(t *testing.T, s *Session, want Phase) {
	t.Helper()
	if st, _ := s.State(); st.Phase != want {
		t.Fatalf("phase %v, want %v", st.Phase, want)
	}
}
