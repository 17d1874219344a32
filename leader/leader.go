// Package leader does what only one node at a time should do: it buries members
// whose process is gone, and moves shards when members come and go.
//
// The cluster works without a leader: shards are claimed by whoever is next in
// turn, and dead members go when their leases expire. A leader makes this fast
// and even. Whatever it writes is conditional on its own election, so one that
// was deposed without noticing does no harm.
package leader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/placement"
)

// Config is what Start needs. Everything but Prober and Logger is required.
// Store, Session, View and Table must outlive the Leader.
type Config struct {
	Store   metadata.Store
	Space   metadata.Space
	Session *member.Session
	View    *member.View
	Table   *placement.Table
	// Prober looks whether other processes are there. Without one nobody is
	// buried early: dead members stay until their leases expire.
	Prober Prober
	// Logger may be nil: then nothing is logged.
	Logger *slog.Logger
}

// Leader is one node's part in the election and, while the node is elected, in
// the leader's work. Its methods are safe for concurrent use.
type Leader struct {
	store   metadata.Store
	space   metadata.Space
	session *member.Session
	view    *member.View
	table   *placement.Table
	prober  Prober
	log     *slog.Logger
	me      string
	// client says that this node only calls: it follows the election and stays
	// out of it.
	client bool

	mu       sync.Mutex // writers of election
	election atomic.Pointer[election]

	patrol atomic.Pointer[patrol] // who is watched now, if anybody is

	stop context.CancelFunc
	work sync.WaitGroup
}

// Start takes part in the election until Close. ctx bounds nothing but the
// start.
func Start(ctx context.Context, cfg Config) (*Leader, error) {
	if cfg.Store == nil || cfg.Session == nil || cfg.View == nil || cfg.Table == nil {
		return nil, errors.New("leader: Config lacks one of Store, Session, View and Table")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Leader{
		store:   cfg.Store,
		space:   cfg.Space,
		session: cfg.Session,
		view:    cfg.View,
		table:   cfg.Table,
		prober:  cfg.Prober,
		log:     cfg.Logger,
		me:      cfg.Session.ID(),
		client:  cfg.Session.Member().ClientOnly,
	}
	l.election.Store(&election{changed: make(chan struct{})})
	ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.work.Go(func() { metadata.Follow(ctx, l.store, l.space.Leader(), follower{l}, l.log) })
	l.work.Go(func() { l.run(ctx) })
	return l, nil
}

// Close stops the leader's work, waits until it has stopped, and resigns if
// this node leads, so that another is elected at once. When ctx ends first, an
// error says so, and the election ends with the session.
func (l *Leader) Close(ctx context.Context) error {
	l.stop()
	l.work.Wait()
	e := l.election.Load()
	if e.session != l.me || e.term == 0 {
		return nil
	}
	res, err := l.store.Commit(ctx, metadata.Txn{
		If:   []metadata.Cond{l.guard(e.term)},
		Then: []metadata.Op{metadata.Delete(l.space.Leader())},
	})
	if errors.Is(err, metadata.ErrClosed) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("leader: cannot resign; the election ends with the session: %w", err)
	}
	l.observe(election{revision: res.Revision})
	return nil
}

// Leader returns the session that leads, as far as this node knows, and false
// while there is none.
func (l *Leader) Leader() (session string, ok bool) {
	e := l.election.Load()
	return e.session, e.term != 0
}

// Changed returns a channel that is closed when another session leads, or none.
// Ask for it before Leader, so that no change falls in between.
func (l *Leader) Changed() <-chan struct{} { return l.election.Load().changed }

// Suspect says that the last stream to a session has ended. If it is this
// node's business, it looks at once whether that session's process is gone.
// Suspect does not block.
func (l *Leader) Suspect(session string) {
	if p := l.patrol.Load(); p != nil {
		p.suspect(session)
	}
}

// role is what a node has to do, in one term of one leader.
type role struct {
	kind roleKind
	// leader and term are of whom the role depends on.
	leader string
	term   int64
	// after is whom an heir follows in line: the leader, or the heir before.
	after string
}

type roleKind uint8

const (
	idle    roleKind = iota
	leading          // this node leads
	heir             // this node stands in line: it watches the one before it
	voter            // there is no leader: this node may run for it
)

// role decides what this node has to do now.
func (l *Leader) role(e *election, phase member.Phase) role {
	switch {
	case phase != member.Active || l.client:
		return role{}
	case e.term == 0:
		return role{kind: voter}
	case e.session == l.me:
		return role{kind: leading, leader: l.me, term: e.term}
	}
	before := inLineBefore(l.view.Live(), e.session, l.me)
	if len(before) == 0 {
		return role{}
	}
	return role{kind: heir, leader: e.session, term: e.term, after: before[0]}
}

// inLineBefore returns the sessions before one in the line of succession, the
// nearest first and the leader last. The line is the leader, and then those who
// could lead themselves, the oldest first. It is empty for who is not in line.
func inLineBefore(live []member.Member, leader, session string) []string {
	before := []string{leader}
	for _, m := range live { // the oldest first
		switch {
		case m.Session == leader, m.ClientOnly, m.Draining:
		case m.Session == session:
			slices.Reverse(before)
			return before
		default:
			before = append(before, m.Session)
		}
	}
	return nil
}

// run gives the node its role until ctx ends.
func (l *Leader) run(ctx context.Context) {
	var current role
	end := func() {}
	defer func() { end() }()
	for {
		e, members := l.election.Load(), l.view.Changed()
		state, standing := l.session.State()
		if next := l.role(e, state.Phase); next != current {
			end()
			current, end = next, l.assume(ctx, next)
		}
		select {
		case <-ctx.Done():
			return
		case <-l.session.Done():
			return
		case <-e.changed:
		case <-members:
		case <-standing:
		}
	}
}

// assume starts the work of a role, and returns what ends it and waits.
func (l *Leader) assume(ctx context.Context, r role) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	switch r.kind {
	case leading:
		l.log.Info("this node leads", "term", r.term)
		work.Go(func() { l.keepWatch(ctx, r) })
		work.Go(func() { l.keepBalance(ctx, r) })
	case heir:
		work.Go(func() { l.keepWatch(ctx, r) })
	case voter:
		work.Go(func() { l.campaign(ctx) })
	}
	return func() {
		cancel()
		work.Wait()
		if r.kind == leading {
			l.log.Info("this node leads no more", "term", r.term)
		}
	}
}

// Pauses of a campaign. The first in line runs at once and each further one
// rankPause later, when mostly there is a leader already; so an election costs
// one or two transactions, however many nodes there are.
const (
	rankPause     = 25 * time.Millisecond
	maxRanks      = 20
	campaignPause = 250 * time.Millisecond
	// storeTimeout bounds one request to the store.
	storeTimeout = 5 * time.Second
)

// campaign runs for leader until the role ends, which it does when anybody is
// elected.
func (l *Leader) campaign(ctx context.Context) {
	pause := l.turn()
	for {
		if !wait(ctx, pause) {
			return
		}
		if err := l.stand(ctx); err != nil && ctx.Err() == nil {
			l.log.Warn("could not run for leader", "error", err)
		}
		pause = campaignPause + rand.N(campaignPause)
	}
}

// turn is how long this node waits for those before it in line. Draining nodes
// come last: they will soon be gone.
func (l *Leader) turn() time.Duration {
	live := l.view.Live()
	self := l.session.Member()
	before := 0
	for _, m := range live {
		if m.Session == l.me || m.ClientOnly {
			continue
		}
		if self.Draining && !m.Draining || self.Draining == m.Draining && member.Older(m, self) < 0 {
			before++
		}
	}
	if before >= maxRanks {
		return maxRanks*rankPause + rand.N(maxRanks*rankPause)
	}
	return time.Duration(before) * rankPause
}

// stand tries once to become the leader.
func (l *Leader) stand(ctx context.Context) error {
	if err := l.session.Check(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	key := l.space.Leader()
	res, err := l.store.Commit(ctx, metadata.Txn{
		If:   []metadata.Cond{metadata.Absent(key), l.session.Present()},
		Then: []metadata.Op{metadata.Put(key, []byte(l.me), l.session.Lease())},
	})
	if err != nil {
		return err // the follower tells if it was applied
	}
	if res.Applied {
		l.observe(election{session: l.me, term: res.Revision, revision: res.Revision})
	}
	return nil
}

// guard holds in a transaction while this term lasts.
func (l *Leader) guard(term int64) metadata.Cond { return metadata.CreatedAt(l.space.Leader(), term) }

// election is who leads, as of a revision of the store.
type election struct {
	session string
	// term is the revision of the election; 0 when nobody leads.
	term int64
	// revision is as of when this is known.
	revision int64
	changed  chan struct{}
}

// observe learns of an election, or with term 0 of the lack of one, unless
// something later is known.
func (l *Leader) observe(e election) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.election.Load()
	if e.revision <= old.revision {
		return
	}
	e.changed = old.changed
	same := e.term == old.term
	if !same {
		e.changed = make(chan struct{})
	}
	l.election.Store(&e)
	if !same {
		close(old.changed)
	}
}

// follower learns of elections from the store.
type follower struct{ l *Leader }

func (f follower) Reset(s metadata.Snapshot) {
	e := election{revision: s.Revision}
	// Other keys may begin as this one does.
	if i := slices.IndexFunc(s.Entries, f.isKey); i >= 0 {
		e.session, e.term = string(s.Entries[i].Value), s.Entries[i].Created
	}
	f.l.observe(e)
}

func (f follower) Apply(b metadata.Batch) {
	for _, ev := range b.Events {
		switch {
		case !f.isKey(ev.Entry):
		case ev.Deleted:
			f.l.observe(election{revision: ev.Entry.Modified})
		default:
			f.l.observe(election{session: string(ev.Entry.Value), term: ev.Entry.Created, revision: ev.Entry.Modified})
		}
	}
}

func (f follower) isKey(e metadata.Entry) bool { return e.Key == f.l.space.Leader() }

// wait waits for a while, and reports false when ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
