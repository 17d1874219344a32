package memmeta

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cajun-go/cajun/metadata"
)

// lease is a granted lease that has not ended.
type lease struct {
	id       metadata.LeaseID
	ttl      time.Duration
	deadline time.Time
	keys     map[string]struct{}
	// timer fires at the deadline as of its start. A renewal only moves the
	// deadline, and the timer goes on for what is left when it fires: one
	// firing per TTL, however often the lease is renewed.
	timer *time.Timer
	gone  bool
}

// Grant implements metadata.Store. The granted TTL is exactly ttl.
func (s *Store) Grant(ctx context.Context, ttl time.Duration) (metadata.Lease, error) {
	if ttl <= 0 {
		return metadata.Lease{}, fmt.Errorf("memmeta: a lease of %v: ask for more than zero", ttl)
	}
	if err := s.enter(ctx); err != nil {
		return metadata.Lease{}, err
	}
	defer s.mu.Unlock()
	s.lastLease++
	l := &lease{
		id:       s.lastLease,
		ttl:      ttl,
		deadline: time.Now().Add(ttl),
		keys:     make(map[string]struct{}),
	}
	s.leases[l.id] = l
	s.callbacks.Add(1)
	l.timer = time.AfterFunc(ttl, func() { s.fire(l) })
	return metadata.Lease{ID: l.id, TTL: ttl}, nil
}

// KeepAlive implements metadata.Store.
func (s *Store) KeepAlive(ctx context.Context, id metadata.LeaseID) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	l := s.liveLease(id)
	if l == nil {
		return metadata.ErrLeaseGone
	}
	l.deadline = time.Now().Add(l.ttl)
	return nil
}

// Revoke implements metadata.Store.
func (s *Store) Revoke(ctx context.Context, id metadata.LeaseID) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if l := s.leases[id]; l != nil {
		s.endLease(l)
	}
	return nil
}

// fire is the timer of a lease.
func (s *Store) fire(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !l.gone {
		if left := time.Until(l.deadline); left > 0 {
			l.timer.Reset(left)
			return
		}
		s.endLease(l)
	}
	s.callbacks.Done()
}

// liveLease returns a lease, or nil when there is none. A lease whose timer
// is late ends here, so that no one can use it past its deadline.
func (s *Store) liveLease(id metadata.LeaseID) *lease {
	l := s.leases[id]
	if l != nil && !time.Now().Before(l.deadline) {
		s.endLease(l)
		return nil
	}
	return l
}

// endLease ends a lease and deletes what is bound to it, at one revision.
func (s *Store) endLease(l *lease) {
	s.dropLease(l)
	ops := make([]metadata.Op, 0, len(l.keys))
	for _, key := range slices.Sorted(maps.Keys(l.keys)) {
		ops = append(ops, metadata.Delete(key))
	}
	s.apply(ops)
}

// dropLease forgets a lease and leaves its entries alone.
func (s *Store) dropLease(l *lease) {
	l.gone = true
	delete(s.leases, l.id)
	if l.timer.Stop() {
		s.callbacks.Done()
	}
}
