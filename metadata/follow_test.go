package metadata_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/memmeta"
)

// recorder is a Follower that writes down what it is told.
type recorder struct {
	mu     sync.Mutex
	calls  []string
	resets []time.Time
	state  map[string]string
}

func (r *recorder) Reset(s metadata.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = make(map[string]string)
	for _, e := range s.Entries {
		r.state[e.Key] = string(e.Value)
	}
	r.resets = append(r.resets, time.Now())
	r.calls = append(r.calls, fmt.Sprint("reset ", r.state))
}

func (r *recorder) Apply(b metadata.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ev := range b.Events {
		if ev.Deleted {
			delete(r.state, ev.Entry.Key)
		} else {
			r.state[ev.Entry.Key] = string(ev.Entry.Value)
		}
	}
	r.calls = append(r.calls, fmt.Sprint("apply ", r.state))
	if b.Err != nil {
		r.calls = append(r.calls, "an error in a batch")
	}
}

// take returns the calls since the last take.
func (r *recorder) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := strings.Join(r.calls, "; ")
	r.calls = nil
	return s
}

// faulty breaks what a Store does, on demand.
type faulty struct {
	metadata.Store
	mu      sync.Mutex
	listErr error
	hang    bool
	lists   int
	breaks  []chan error // one for each open watch
	open    int          // watches whose channel is not closed yet
}

func (f *faulty) List(ctx context.Context, prefix string) (metadata.Snapshot, error) {
	f.mu.Lock()
	f.lists++
	err, hang := f.listErr, f.hang
	f.mu.Unlock()
	if hang {
		<-ctx.Done()
		return metadata.Snapshot{}, ctx.Err()
	}
	if err != nil {
		return metadata.Snapshot{}, err
	}
	return f.Store.List(ctx, prefix)
}

func (f *faulty) Watch(ctx context.Context, prefix string, after int64) <-chan metadata.Batch {
	f.mu.Lock()
	defer f.mu.Unlock()
	breaks := make(chan error, 1)
	f.breaks = append(f.breaks, breaks)
	f.open++
	out := make(chan metadata.Batch)
	go func() {
		defer func() {
			time.Sleep(time.Millisecond) // a store that takes its time to end a watch
			f.mu.Lock()
			defer f.mu.Unlock()
			f.open--
			close(out)
		}()
		in := f.Store.Watch(ctx, prefix, after)
		for {
			select {
			case b, ok := <-in:
				if !ok {
					return
				}
				select {
				case out <- b:
				case <-ctx.Done():
					return
				}
			case err := <-breaks:
				if err != nil {
					out <- metadata.Batch{Err: err}
				}
				return
			}
		}
	}()
	return out
}

// breakWatch ends the newest watch with an error, or without one.
func (f *faulty) breakWatch(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.breaks[len(f.breaks)-1] <- err
}

// follow runs a test with a follower in fake time. The returned channel is
// closed when Follow returns.
func follow(t *testing.T, body func(*testing.T, *faulty, *recorder, context.CancelFunc, <-chan struct{})) {
	bubble.Test(t, func(t *testing.T) {
		store := &faulty{Store: memmeta.New()}
		defer store.Close()
		ctx, cancel := context.WithCancel(t.Context())
		rec := &recorder{}
		done := make(chan struct{})
		go func() {
			defer close(done)
			metadata.Follow(ctx, store, "/a/", rec, slog.New(slog.DiscardHandler))
		}()
		defer func() {
			cancel()
			<-done
			store.mu.Lock()
			defer store.mu.Unlock()
			if store.open != 0 {
				t.Errorf("Follow returned with %d watches open", store.open)
			}
		}()
		synctest.Wait()
		body(t, store, rec, cancel, done)
	})
}

func put(t *testing.T, store metadata.Store, key, value string) int64 {
	t.Helper()
	r, err := store.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Put(key, []byte(value), 0)}})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return r.Revision
}

func (r *recorder) want(t *testing.T, want string) {
	t.Helper()
	if got := r.take(); got != want {
		t.Errorf("the follower was told %q, want %q", got, want)
	}
}

func TestFollow(t *testing.T) {
	follow(t, func(t *testing.T, store *faulty, rec *recorder, cancel context.CancelFunc, done <-chan struct{}) {
		rec.want(t, "reset map[]")
		put(t, store, "/a/1", "x")
		rec.want(t, "apply map[/a/1:x]")
		put(t, store, "/b/1", "elsewhere")
		rec.want(t, "")
		put(t, store, "/a/2", "y")
		rec.want(t, "apply map[/a/1:x /a/2:y]")
		if _, err := store.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Delete("/a/1")}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		rec.want(t, "apply map[/a/2:y]")
		cancel()
		<-done
		put(t, store, "/a/3", "z")
		rec.want(t, "")
	})
}

func TestFollowListsAgain(t *testing.T) {
	for name, err := range map[string]error{
		"compacted":        metadata.ErrCompacted,
		"broken":           errors.New("broken"),
		"without an error": nil,
	} {
		t.Run(name, func(t *testing.T) {
			follow(t, func(t *testing.T, store *faulty, rec *recorder, _ context.CancelFunc, _ <-chan struct{}) {
				put(t, store, "/a/1", "x")
				put(t, store, "/a/2", "y")
				rec.take()
				store.breakWatch(err)
				synctest.Wait()
				if _, err := store.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Delete("/a/1")}}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				rec.want(t, "reset map[/a/2:y]")
				put(t, store, "/a/3", "z")
				rec.want(t, "apply map[/a/2:y /a/3:z]")
			})
		})
	}
}

// breakOften breaks the watch as soon as it is open, n times, and returns how
// long the follower paused each time.
func breakOften(store *faulty, rec *recorder, n int) []time.Duration {
	var pauses []time.Duration
	for range n {
		began := time.Now()
		store.breakWatch(metadata.ErrCompacted)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		rec.mu.Lock()
		pauses = append(pauses, rec.resets[len(rec.resets)-1].Sub(began))
		rec.mu.Unlock()
	}
	return pauses
}

func TestFollowSlowsDown(t *testing.T) {
	follow(t, func(t *testing.T, store *faulty, rec *recorder, _ context.CancelFunc, _ <-chan struct{}) {
		pauses := breakOften(store, rec, 10)
		if first, last := pauses[0], pauses[9]; first <= 0 || first > 100*time.Millisecond || last < time.Second {
			t.Errorf("the pauses are %v, want them short first, then long", pauses)
		}
		time.Sleep(time.Minute) // a watch that lasts earns short pauses again
		if again := breakOften(store, rec, 1); again[0] <= 0 || again[0] > 100*time.Millisecond {
			t.Errorf("after a good minute the pause is %v", again[0])
		}
	})
}

func TestFollowSurvivesListErrors(t *testing.T) {
	follow(t, func(t *testing.T, store *faulty, rec *recorder, _ context.CancelFunc, _ <-chan struct{}) {
		rec.take()
		store.mu.Lock()
		store.listErr, store.lists = errors.New("unreachable"), 0
		store.mu.Unlock()
		store.breakWatch(metadata.ErrCompacted)
		time.Sleep(time.Minute)
		rec.want(t, "")
		store.mu.Lock()
		if store.lists < 10 || store.lists > 50 {
			t.Errorf("%d lists in a minute, want about 25", store.lists)
		}
		store.listErr = nil
		store.mu.Unlock()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		rec.want(t, "reset map[]")
	})
}

func TestFollowGivesUpOnHangingList(t *testing.T) {
	follow(t, func(t *testing.T, store *faulty, rec *recorder, _ context.CancelFunc, _ <-chan struct{}) {
		rec.take()
		store.mu.Lock()
		store.hang = true
		store.mu.Unlock()
		store.breakWatch(metadata.ErrCompacted)
		time.Sleep(time.Second)
		store.mu.Lock()
		store.hang = false
		store.mu.Unlock()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		rec.want(t, "reset map[]")
	})
}

func TestFollowEndsWithStore(t *testing.T) {
	follow(t, func(t *testing.T, store *faulty, _ *recorder, _ context.CancelFunc, done <-chan struct{}) {
		store.Close()
		<-done
	})
}

func TestFollowSaysWhy(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		store := &faulty{Store: memmeta.New(), listErr: errors.New("unreachable")}
		defer store.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var logs bytes.Buffer
		metadata.Follow(ctx, store, "/a/", &recorder{}, slog.New(slog.NewTextHandler(&logs, nil)))
		if !strings.Contains(logs.String(), "unreachable") {
			t.Errorf("the log does not say why: %s", logs.String())
		}
		again, cancelAgain := context.WithTimeout(t.Context(), time.Minute)
		defer cancelAgain()
		metadata.Follow(again, store, "/a/", &recorder{}, nil)
	})
}
