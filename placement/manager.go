package placement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/state"
)

var (
	// ErrNotHosted says that this node does not host the kind.
	ErrNotHosted = errors.New("placement: this node does not host the kind")
	// ErrDraining says that this node is handing its shards over and takes no
	// new ones.
	ErrDraining = errors.New("placement: this node is draining and takes no shards")
	// ErrUnsealed says that a shard was claimed and let go again, as the state
	// store did not raise its fence in time.
	ErrUnsealed = errors.New("placement: the state store did not seal the shard in time")
	// ErrClosed says that the manager was closed.
	ErrClosed = errors.New("placement: the manager is closed")
)

// Host is what runs the actors of shards. Calls for one shard come one at a
// time; calls for different shards come at once.
//
// Each Serve is followed by one Drop with the same epoch, with a Drain in between
// or not. A move that is called off ends in Drop, too, and in a Serve with the
// next epoch.
type Host interface {
	// Serve says that the shard is this node's under the epoch, and sealed: its
	// actors may run now. It must not block.
	Serve(s state.Shard, epoch uint64)
	// Drain stops admitting new messages and returns once nothing runs and
	// everything is committed. When ctx ends it cancels what still runs and
	// returns soon after. The shard is handed over when it has returned.
	Drain(ctx context.Context, s state.Shard, epoch uint64)
	// Drop says that the shard is not this node's any more: forget everything
	// about it at once, and answer nothing. It must not block.
	Drop(s state.Shard, epoch uint64)
}

// HostedKind is a kind that this node hosts.
type HostedKind struct {
	Identity string
	Shards   int
}

// Config is what Start needs. Everything but State, Kinds and Logger is
// required. Store, Session, View and Table must outlive the manager.
type Config struct {
	Store metadata.Store
	Space metadata.Space
	// State holds the fences. When it is nil, nothing is sealed.
	State   state.Store
	Session *member.Session
	View    *member.View
	// Table serves one manager.
	Table *Table
	Kinds []HostedKind
	Host  Host
	// Logger may be nil: then nothing is logged.
	Logger *slog.Logger
}

// Manager does what one node has to do about ownership: it claims shards when
// they are asked for and when they are orphaned, hands over those that the
// leader moves, and drops those that it has lost. Its methods are safe for
// concurrent use.
type Manager struct {
	store   metadata.Store
	space   metadata.Space
	state   state.Store
	session *member.Session
	view    *member.View
	table   *Table
	host    Host
	log     *slog.Logger
	me      string
	kinds   map[string]int // hosted, with their shards

	ctx    context.Context // of everything that the manager does
	cancel context.CancelFunc
	work   sync.WaitGroup
	writes *batcher[write]
	seals  *batcher[sealing]
	// surveyNow asks for a look at the orphans.
	surveyNow chan struct{}

	mu       sync.Mutex
	slots    map[state.Shard]*slot
	draining bool
	// ended says why nothing may be served any more.
	ended error
	// idle is closed when Drain may look again.
	idle  chan struct{}
	plans map[string]plan
}

// Start starts to manage the shards of this node's kinds, which must be in the
// table already. It claims orphans from now on. ctx bounds nothing but the start.
func Start(ctx context.Context, cfg Config) (*Manager, error) {
	if cfg.Store == nil || cfg.Session == nil || cfg.View == nil || cfg.Table == nil || cfg.Host == nil {
		return nil, errors.New("placement: Config lacks one of Store, Session, View, Table and Host")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Manager{
		store:     cfg.Store,
		space:     cfg.Space,
		state:     cfg.State,
		session:   cfg.Session,
		view:      cfg.View,
		table:     cfg.Table,
		host:      cfg.Host,
		log:       cfg.Logger,
		me:        cfg.Session.ID(),
		kinds:     make(map[string]int),
		surveyNow: make(chan struct{}, 1),
		slots:     make(map[state.Shard]*slot),
		idle:      make(chan struct{}),
		plans:     make(map[string]plan),
	}
	for _, k := range cfg.Kinds {
		if info, ok := m.table.Kind(k.Identity); !ok || info.Identity != k.Identity || info.Shards != k.Shards {
			return nil, fmt.Errorf("placement: the cluster has no kind %q with %d shards: register it first", k.Identity, k.Shards)
		}
		m.kinds[k.Identity] = k.Shards
	}
	m.ctx, m.cancel = context.WithCancel(context.WithoutCancel(ctx))
	m.writes = &batcher[write]{size: batchSize, parallel: batchesAtOnce, run: m.commit, spawn: m.work.Go}
	m.seals = &batcher[sealing]{size: batchSize, parallel: batchesAtOnce, run: m.sealAll, spawn: m.work.Go}
	m.table.onChange(m.recordChanged)
	// What came before nobody was told of: the leader may move shards to a member
	// as soon as there is one.
	for kind := range m.kinds {
		for n, rec := range m.table.Records(kind) {
			if rec.Owner == m.me || rec.Target == m.me {
				m.recordChanged(state.Shard{Kind: kind, Number: uint32(n)})
			}
		}
	}
	m.work.Go(m.watch)
	return m, nil
}

// Close drops every shard and waits for everything that the manager started.
// The records stay: others take the shards over when the session has ended.
func (m *Manager) Close() {
	m.table.onChange(nil)
	m.end(ErrClosed)
	m.work.Wait()
}

// end drops everything and refuses everything from now on.
func (m *Manager) end(why error) {
	m.cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended == nil {
		m.ended = why
	}
	for _, sl := range m.slots {
		m.pokeLocked(sl)
	}
	m.signalIdleLocked()
}

// watch follows the session and the members until the manager ends.
func (m *Manager) watch() {
	turns := newTurns(m)
	defer turns.stop()
	changed := m.view.Changed()
	_, standing := m.session.State()
	for {
		turns.survey()
		select {
		case <-changed:
			changed = m.view.Changed()
			m.pokeAll()
		case <-standing:
			_, standing = m.session.State()
			m.pokeAll()
		case <-m.surveyNow:
		case <-turns.due():
		case <-m.session.Done():
			err := m.session.Err()
			if err == nil {
				err = member.ErrClosed
			}
			m.end(err)
			return
		case <-m.ctx.Done():
			return
		}
	}
}

// recordChanged is told by the table.
func (m *Manager) recordChanged(s state.Shard) {
	rec, found := m.table.Lookup(s.Kind, s.Number)
	m.mu.Lock()
	sl := m.slots[s]
	if sl == nil && found && (rec.Owner == m.me || rec.Target == m.me) {
		sl = m.slotLocked(s)
	}
	if sl != nil {
		m.kickLocked(sl)
	}
	m.mu.Unlock()
	if found {
		m.lookForOrphan(s, rec)
	}
}

// lookForOrphan asks for a survey when the shard of a new record may be claimed
// by anyone.
func (m *Manager) lookForOrphan(s state.Shard, rec Record) {
	if _, hosted := m.kinds[s.Kind]; hosted && m.orphaned(rec) {
		select {
		case m.surveyNow <- struct{}{}:
		default:
		}
	}
}

// Claim takes a shard for this node if the node may have it, and returns its
// record once it is served here. When the record names another live owner, or a
// target, Claim returns that record and no error: go there. Otherwise it fails:
// with ErrNotHosted, ErrDraining, the session's error while it is suspended or
// after it has ended, ErrUnsealed, ErrClosed, or the error of ctx. Claims of one
// shard share one attempt, which goes on when ctx ends.
//
// A record in the table that names this node does not say that the shard is
// served already; Claim waits for that.
func (m *Manager) Claim(ctx context.Context, s state.Shard) (Record, error) {
	shards, hosted := m.kinds[s.Kind]
	if hosted && int64(s.Number) >= int64(shards) {
		return Record{}, fmt.Errorf("placement: there is no shard %s: the kind has %d", s, shards)
	}
	answer := make(chan claimed, 1)
	m.mu.Lock()
	if m.ended != nil {
		m.mu.Unlock()
		return Record{}, m.ended
	}
	sl := m.slotLocked(s)
	sl.asked = true
	sl.waiters = append(sl.waiters, answer)
	m.pokeLocked(sl)
	m.mu.Unlock()
	select {
	case c := <-answer:
		return c.record, c.err
	case <-ctx.Done():
		m.forget(s, answer)
		return Record{}, fmt.Errorf("placement: waiting for shard %s: %w", s, context.Cause(ctx))
	}
}

// Owned returns the shards that this node serves, with their epochs.
func (m *Manager) Owned() map[state.Shard]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	owned := make(map[state.Shard]uint64)
	for s, sl := range m.slots {
		if sl.epoch != 0 {
			owned[s] = sl.epoch
		}
	}
	return owned
}

// Fenced reports that the state store refused a commit under this epoch: the
// shard is dropped, and claimed again should its record still name this node.
func (m *Manager) Fenced(s state.Shard, epoch uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if sl := m.slots[s]; sl != nil && sl.epoch == epoch {
		sl.fenced = true
		m.pokeLocked(sl)
	}
}

// Drain lets go of every shard: the leader moves them away, for which the node
// must be marked as draining among the members, and shards that no other member
// could take are released to anyone. It returns nil when this node owns nothing.
// When ctx ends first it returns its error, and the node takes shards again. Call
// it one at a time.
func (m *Manager) Drain(ctx context.Context) error {
	m.setDraining(true)
	for {
		m.mu.Lock()
		idle, left, ended := m.idle, m.leftLocked(), m.ended
		m.mu.Unlock()
		if left == 0 || ended != nil {
			return ended
		}
		select {
		case <-idle:
		case <-ctx.Done():
			m.setDraining(false)
			return fmt.Errorf("placement: %d shards are not handed over: %w", left, context.Cause(ctx))
		}
	}
}

func (m *Manager) setDraining(draining bool) {
	m.mu.Lock()
	m.draining = draining
	m.mu.Unlock()
	m.pokeAll()
}

// leftLocked counts the shards that are served or worked on: what names this node
// and is not served is worked on until it does not.
func (m *Manager) leftLocked() int {
	left := 0
	for _, sl := range m.slots {
		if sl.epoch != 0 || sl.busy {
			left++
		}
	}
	return left
}

func (m *Manager) signalIdleLocked() {
	close(m.idle)
	m.idle = make(chan struct{})
}
