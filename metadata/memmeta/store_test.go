package memmeta_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/memmeta"
	"github.com/cajun-go/cajun/metadata/metatest"
)

func open(t testing.TB) metadata.Store {
	s := memmeta.New()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	metatest.Run(t, open)
}

func TestConformanceInFakeTime(t *testing.T) {
	metatest.Run(t, open, metatest.WithFakeTime())
}

func put(t testing.TB, s metadata.Store, key string, value []byte, lease metadata.LeaseID) metadata.Result {
	t.Helper()
	r, err := s.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Put(key, value, lease)}})
	if err != nil || !r.Applied {
		t.Fatalf("Commit: %+v, %v", r, err)
	}
	return r
}

func TestHistoryIsBounded(t *testing.T) {
	s := memmeta.New()
	defer s.Close()
	first := put(t, s, "small", nil, 0)
	for range 20 {
		put(t, s, "large", make([]byte, 1<<20), 0)
	}
	last := put(t, s, "small", nil, 0)
	// The small changes alone would fit; it is the history that has no room.
	if b := <-s.Watch(t.Context(), "small", first.Revision-1); !errors.Is(b.Err, metadata.ErrCompacted) {
		t.Errorf("a watch from the start: %d events, %v; want ErrCompacted", len(b.Events), b.Err)
	}
	if b := <-s.Watch(t.Context(), "", last.Revision-3); b.Err != nil || len(b.Events) != 3 {
		t.Errorf("a watch of the latest: %d events, %v; want 3", len(b.Events), b.Err)
	}
}

func TestSlowReaderIsCompacted(t *testing.T) {
	s := memmeta.New()
	defer s.Close()
	slow := s.Watch(t.Context(), "k", 1)
	quick := s.Watch(t.Context(), "k", 1)
	for range 20 {
		put(t, s, "k", make([]byte, 1<<20), 0)
		if b := <-quick; b.Err != nil || len(b.Events) != 1 {
			t.Fatalf("the quick reader got %d events, %v", len(b.Events), b.Err)
		}
	}
	if b := <-slow; !errors.Is(b.Err, metadata.ErrCompacted) {
		t.Errorf("the slow reader got %d events, %v; want ErrCompacted", len(b.Events), b.Err)
	}
}

func TestIdleStoreRunsNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	s := memmeta.New()
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 50 {
		s.Watch(ctx, "k", 0)
		if _, err := s.Grant(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, "k", nil, 0)
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, %d before there were watches and leases", after, before)
	}
}

func TestLeaseEndsOnTheDot(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := memmeta.New()
		defer s.Close()
		began := time.Now()
		lease, err := s.Grant(t.Context(), 5*time.Second)
		if err != nil || lease.TTL != 5*time.Second {
			t.Fatalf("Grant = %+v, %v", lease, err)
		}
		r := put(t, s, "k", nil, lease.ID)
		w := s.Watch(t.Context(), "k", r.Revision)
		for range 2 {
			time.Sleep(3 * time.Second)
			if err := s.KeepAlive(t.Context(), lease.ID); err != nil {
				t.Fatal(err)
			}
		}
		if b := <-w; len(b.Events) != 1 || !b.Events[0].Deleted {
			t.Errorf("got %+v, want the deletion", b)
		}
		if took := time.Since(began); took != 11*time.Second {
			t.Errorf("the lease ended after %v, want 11s", took)
		}
	})
}

// At its very deadline a lease is gone, whether its timer has run or not.
func TestLeaseIsGoneAtItsDeadline(t *testing.T) {
	for range 50 {
		bubble.Test(t, func(t *testing.T) {
			s := memmeta.New()
			defer s.Close()
			lease, err := s.Grant(t.Context(), time.Second)
			if err != nil {
				t.Fatal(err)
			}
			put(t, s, "k", nil, lease.ID)
			time.Sleep(time.Second)
			if err := s.KeepAlive(t.Context(), lease.ID); !errors.Is(err, metadata.ErrLeaseGone) {
				t.Errorf("KeepAlive: %v, want ErrLeaseGone", err)
			}
			if _, found, _ := s.Get(t.Context(), "k"); found {
				t.Error("the entry outlives its lease")
			}
		})
	}
}

func TestCloseStopsAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := memmeta.New()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s.Watch(ctx, "k", 0)
		lease, err := s.Grant(t.Context(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, "k", nil, lease.ID)
		began := time.Now()
		s.Close()
		if waited := time.Since(began); waited != 0 {
			t.Errorf("Close waited %v for a timer that it should have stopped", waited)
		}
	})
}
