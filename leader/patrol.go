package leader

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
)

var (
	// ErrRefused is what a Prober wraps when the member's address refuses
	// connections: its process is gone.
	ErrRefused = errors.New("leader: the member refuses connections")
	// ErrReplaced is what a Prober wraps when another session answers at the
	// member's address: its process was restarted. It counts as a refusal.
	ErrReplaced = errors.New("leader: another session answers at the member's address")
)

// A Prober looks whether the processes of members are there. Its methods are
// called from several goroutines.
type Prober interface {
	// Probe makes sure that there is a stream to m, or else says why not: with
	// ErrRefused or ErrReplaced, which speak for a dead process, or with any
	// other error, which says nothing. It returns soon after ctx ends.
	Probe(ctx context.Context, m member.Member) error
	// Connected reports whether there is a stream to the session now.
	Connected(session string) bool
}

// A member is dead after so many refusals, refusalPause apart, without one
// other answer in between and without a stream. A restart of a listener in a
// live process takes less. A look at a member takes at most maxProbes.
const (
	refusals     = 3
	refusalPause = 20 * time.Millisecond
	maxProbes    = 12
)

const (
	// probeTimeout bounds one probe.
	probeTimeout = 2 * time.Second
	// lookAgain is when a member is looked at again, up to twice as long, should
	// the end of a stream have gone unnoticed or never been one.
	lookAgain = time.Second
	// buryAgain is the pause after a burial that failed.
	buryAgain = 100 * time.Millisecond
)

// patrol watches members for as long as a role lasts: the leader watches
// everybody, and each heir watches the one before it in line. For each there is
// a goroutine and at least the wish for a stream, whose end is noticed at once.
type patrol struct {
	l    *Leader
	role role
	work sync.WaitGroup

	mu    sync.Mutex
	posts map[string]*post // by session
}

// post is the watch over one member.
type post struct {
	suspected chan struct{}
	cancel    context.CancelFunc
}

// keepWatch watches the members that the role says until ctx ends.
func (l *Leader) keepWatch(ctx context.Context, r role) {
	if l.prober == nil {
		return
	}
	p := &patrol{l: l, role: r, posts: make(map[string]*post)}
	l.patrol.Store(p)
	defer p.work.Wait()
	defer l.patrol.CompareAndSwap(p, nil)
	for {
		changed := l.view.Changed()
		p.man(ctx, l.view.Snapshot())
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// man has exactly those watched who are to be.
func (p *patrol) man(role context.Context, snap *member.Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for session, at := range p.posts {
		if _, ok := snap.Get(session); !ok {
			at.cancel()
			delete(p.posts, session)
		}
	}
	for _, m := range snap.Live() {
		if p.posts[m.Session] != nil || !p.concerns(m) {
			continue
		}
		ctx, cancel := context.WithCancel(role)
		at := &post{suspected: make(chan struct{}, 1), cancel: cancel}
		p.posts[m.Session] = at
		p.work.Go(func() {
			defer cancel()
			// Not ctx for the burial: its first half removes the member, which
			// ends this post, and the second revokes the lease.
			p.watch(ctx, m.Session, at.suspected, func() bool {
				if p.role.kind == leading {
					return p.bury(role, m.Session)
				}
				return !p.alone(ctx) || p.bury(role, p.role.leader)
			})
		})
	}
}

func (p *patrol) concerns(m member.Member) bool {
	switch {
	case m.ClientOnly || m.Address == "":
		return false // nothing to probe
	case p.role.kind == leading:
		return m.Session != p.l.me
	}
	return m.Session == p.role.after
}

// suspect has a member looked at now.
func (p *patrol) suspect(session string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at := p.posts[session]; at != nil {
		select {
		case at.suspected <- struct{}{}:
		default:
		}
	}
}

// watch looks at one member, whenever it is suspected and now and then, and has
// it buried when its process is gone.
func (p *patrol) watch(ctx context.Context, session string, suspected <-chan struct{}, bury func() bool) {
	for {
		pause := lookAgain + rand.N(lookAgain)
		if p.gone(ctx, session) && !bury() {
			pause = buryAgain
		}
		timer := time.NewTimer(pause)
		select {
		case <-suspected:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// gone reports whether the member's process certainly refuses connections.
// Anything else speaks for the member: a firewall that drops, a paused process
// and an overloaded one all look alike, and its lease will tell.
//
// A process that is just ending breaks its streams a moment before its address
// refuses connections, and resets those that come in between. So an answer that
// says nothing starts the count of refusals anew, but does not end the look.
func (p *patrol) gone(ctx context.Context, session string) bool {
	refused := 0
	for n := range maxProbes {
		if n > 0 && !wait(ctx, refusalPause) {
			return false
		}
		if p.l.prober.Connected(session) {
			return false
		}
		m, ok := p.l.view.Get(session)
		if !ok {
			return false
		}
		err := p.probe(ctx, m)
		switch {
		case err == nil, errors.Is(err, context.DeadlineExceeded), ctx.Err() != nil:
			return false
		case errors.Is(err, ErrRefused), errors.Is(err, ErrReplaced):
			refused++
		default:
			refused = 0
		}
		if refused == refusals {
			return !p.l.prober.Connected(session)
		}
	}
	return false
}

// alone reports whether everybody before this heir in line is gone, so that it
// is its turn to bury the leader. Those in between are left to the next leader,
// which this heir mostly becomes.
func (p *patrol) alone(ctx context.Context) bool {
	before := inLineBefore(p.l.view.Live(), p.role.leader, p.l.me)
	if len(before) == 0 || before[0] != p.role.after {
		return false // the line has changed, and the role will
	}
	for _, session := range before[1:] { // that the nearest is gone is why this is asked
		if !p.gone(ctx, session) {
			return false
		}
	}
	return true
}

func (p *patrol) probe(ctx context.Context, m member.Member) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return p.l.prober.Probe(ctx, m)
}

// bury removes a dead member and reports whether it is gone.
func (p *patrol) bury(ctx context.Context, session string) bool {
	l := p.l
	suspect, ok := l.view.Get(session)
	if !ok {
		return true
	}
	if l.session.Check() != nil {
		return false
	}
	// An heir has no election to show; it may act as long as it is a member
	// itself.
	guard := l.session.Present()
	if p.role.kind == leading {
		guard = l.guard(p.role.term)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := member.Bury(ctx, l.store, l.space, suspect, guard)
	switch {
	case err == nil:
		l.log.Warn("buried a member: its process refuses connections", "member", session, "name", suspect.Name, "address", suspect.Address)
	case ctx.Err() == nil && !errors.Is(err, metadata.ErrClosed):
		l.log.Warn("could not bury a member whose process is gone", "member", session, "name", suspect.Name, "error", err)
	}
	return err == nil
}
