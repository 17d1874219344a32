package member

import (
	"errors"
	"fmt"
)

var (
	// ErrSuspended says that the session's lease may have ended: the node must
	// admit and answer nothing until the lease and the member key are confirmed.
	ErrSuspended = errors.New("member: the session is suspended: the metadata store did not confirm its lease in time")
	// ErrLost says that the session is over for good: its member key or its
	// lease is gone. Drop everything that was done in its name and join anew.
	ErrLost = errors.New("member: the session is lost")
	// ErrClosed says that the session was closed by its own node.
	ErrClosed = errors.New("member: the session is closed")
)

// keyDeleted says why a session was lost, and what to look at.
const keyDeleted = "its member key was deleted: the lease ran out, or other nodes found that the address it advertises " +
	"refuses connections or belongs to another session (look at the advertised address and at firewalls); start the node again"

// Phase is where a session stands.
type Phase uint8

// The phases of a session. Active and Suspended alternate; Lost and Closed are
// final.
const (
	Active Phase = iota + 1
	Suspended
	Lost
	Closed
)

// String returns the phase's name in lower case.
func (p Phase) String() string {
	switch p {
	case Active:
		return "active"
	case Suspended:
		return "suspended"
	case Lost:
		return "lost"
	case Closed:
		return "closed"
	}
	return fmt.Sprintf("Phase(%d)", uint8(p))
}

// State is a session's phase and its history.
type State struct {
	Phase Phase
	// Suspensions counts how often the session was suspended. An observer that
	// sees it risen has missed a suspension, even when the phase is Active
	// again.
	Suspensions uint64
}

// standing is one immutable state of a session. Check reads it through an
// atomic pointer, so that the way of every call takes no lock; transitions
// replace it under Session.mu.
type standing struct {
	state State
	// err is what Check answers. In the phase Active it is nil, and the grant
	// decides.
	err   error
	grant grant
	// changed is closed when the state is replaced by another one. Renewals
	// keep it.
	changed chan struct{}
}

// Check reports whether the node may act in the session's name at this moment:
// nil while the lease is trusted, ErrSuspended past its deadline, ErrLost or
// ErrClosed when the session is over. It costs one look at the clock and takes
// no lock, so ask it before each admission and again before each answer.
//
// The deadline is the time at which the last acknowledged renewal was sent,
// plus the TTL, less a margin: before it the store cannot have ended the lease.
// Whoever finds it passed suspends the session for everybody, so a process
// that was stopped and wakes up cannot pass Check on its old lease even once.
func (s *Session) Check() error {
	for {
		st := s.standing.Load()
		if st.err != nil {
			return st.err
		}
		if st.grant.left(s.clock) > 0 {
			return nil
		}
		s.expire(st)
	}
}

// State returns the session's state and a channel that is closed when it
// changes.
func (s *Session) State() (State, <-chan struct{}) {
	_ = s.Check() // notice an expiry that nobody has noticed yet
	st := s.standing.Load()
	return st.state, st.changed
}

// expire suspends the session if it still stands as st does, whose grant has
// ended.
func (s *Session) expire(st *standing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.standing.Load() == st {
		s.suspendLocked(st)
	}
}

func (s *Session) suspendLocked(st *standing) {
	next := &standing{
		state:   State{Phase: Suspended, Suspensions: st.state.Suspensions + 1},
		err:     ErrSuspended,
		changed: make(chan struct{}),
	}
	s.replaceLocked(st, next)
	select {
	case s.wake <- struct{}{}: // renew at once
	default:
	}
	s.log.Warn("session suspended: the metadata store did not confirm the lease in time")
}

func (s *Session) replaceLocked(old, next *standing) {
	s.standing.Store(next)
	close(old.changed)
}

// renewed extends the trust by an acknowledged renewal. It reports false when
// the earlier trust has ended meanwhile: then the member key may have been
// deleted in the dark, and only resumed may follow.
func (s *Session) renewed(g grant) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.standing.Load()
	if st.state.Phase != Active {
		return false
	}
	if st.grant.left(s.clock) <= 0 {
		s.suspendLocked(st)
		return false
	}
	next := *st
	next.grant = g
	s.standing.Store(&next)
	return true
}

// resumed ends a suspension after the lease was renewed with g and the member
// key was read thereafter. It reports false when that took so long that g has
// ended too.
func (s *Session) resumed(g grant) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.standing.Load()
	if st.state.Phase != Suspended {
		return st.state.Phase == Active
	}
	if g.left(s.clock) <= 0 {
		return false
	}
	s.replaceLocked(st, &standing{
		state:   State{Phase: Active, Suspensions: st.state.Suspensions},
		grant:   g,
		changed: make(chan struct{}),
	})
	s.log.Info("session resumed: its lease and its member key are confirmed")
	return true
}

// end moves the session to a final phase, once, and reports whether it did.
func (s *Session) end(phase Phase, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.standing.Load()
	if st.state.Phase == Lost || st.state.Phase == Closed {
		return false
	}
	s.replaceLocked(st, &standing{
		state:   State{Phase: phase, Suspensions: st.state.Suspensions},
		err:     err,
		changed: make(chan struct{}),
	})
	s.stop()
	close(s.done)
	return true
}

// lose ends the session for good.
func (s *Session) lose(why string, cause error) {
	err := fmt.Errorf("%w: %s", ErrLost, why)
	if cause != nil {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	if s.end(Lost, err) {
		s.log.Error("session lost", "error", err)
	}
}
