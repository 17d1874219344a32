package member

import (
	"context"
	"errors"
	"time"

	"github.com/cajun-go/cajun/metadata"
)

// keepAlive renews the lease until ctx ends or the session is lost.
func (s *Session) keepAlive(ctx context.Context) {
	every, retry := s.lease.TTL/renewShare, s.lease.TTL/retryShare
	timer := time.NewTimer(every) // Join's grant counts as the first renewal
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			s.bequeath(ctx)
			return
		case <-timer.C:
		case <-s.wake:
		}
		sent := time.Now()
		err := s.renew(ctx, every)
		switch {
		case err == nil:
			timer.Reset(max(every-time.Since(sent), 0))
		case errors.Is(err, metadata.ErrLeaseGone):
			s.lose("its lease is gone", err)
		case errors.Is(err, metadata.ErrClosed):
			s.lose("its metadata store was closed", err)
		default:
			if ctx.Err() == nil {
				s.log.Warn("lease not renewed", "error", err)
			}
			timer.Reset(retry)
		}
	}
}

// renew makes one attempt, of at most limit, to renew the lease, and to end a
// suspension.
func (s *Session) renew(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	g := newGrant(s.clock, s.lease.TTL-s.lease.TTL/marginShare)
	if err := s.store.KeepAlive(ctx, s.lease.ID); err != nil {
		return err
	}
	if s.renewed(g) {
		return nil
	}
	// The trust had ended: a lease alone does not bring it back, as somebody
	// may have deleted the member key, and whoever deletes it revokes the lease
	// only afterwards.
	if _, err := s.readOwnKey(ctx); err != nil {
		return err
	}
	if !s.resumed(g) {
		return errors.New("member: the renewal took longer than it lasts")
	}
	return nil
}

// guard suspends the session at its deadline when nobody asks Check.
func (s *Session) guard(ctx context.Context) {
	for {
		// Check first, so that a grant that has ended is never waited for.
		_ = s.Check()
		st := s.standing.Load()
		var expiry <-chan time.Time
		if st.err == nil {
			expiry = time.After(max(st.grant.left(s.clock), time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return
		case <-expiry:
		case <-st.changed:
		}
	}
}

// bequeath ends the lease of a lost session, so that other keys that are bound
// to it, the leader's among them, do not wait for it to expire.
func (s *Session) bequeath(ctx context.Context) {
	if s.standing.Load().state.Phase != Lost {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.lease.TTL/renewShare)
	defer cancel()
	if err := s.store.Revoke(ctx, s.lease.ID); err != nil && !errors.Is(err, metadata.ErrClosed) {
		s.log.Debug("lease of the lost session not revoked; it will expire", "error", err)
	}
}

// ownKey watches the session's own member key.
type ownKey struct{ s *Session }

func (o ownKey) Reset(snap metadata.Snapshot) {
	for _, e := range snap.Entries {
		if e.Key == o.s.key && e.Created == o.s.created {
			return
		}
	}
	o.s.lose(keyDeleted, nil)
}

func (o ownKey) Apply(b metadata.Batch) {
	for _, ev := range b.Events {
		if ev.Entry.Key == o.s.key && (ev.Deleted || ev.Entry.Created != o.s.created) {
			o.s.lose(keyDeleted, nil)
		}
	}
}
