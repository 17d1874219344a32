package journal

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/state"
)

const (
	// MaxTurn is the largest commit of one turn in bytes, state, replies and
	// names together.
	MaxTurn = 768 << 10
	// MaxItem is the largest message or timer in bytes. What becomes of one that
	// is stored can always be stored, too: such a commit may have more than
	// MaxTurn by two of them, as a timer goes on besides, and a reserve for what
	// is noted about it.
	MaxItem    = 112 << 10
	maxSettled = MaxTurn + 2*MaxItem + 16<<10
	// maxWrites bounds how often a turn is written that the store keeps losing.
	maxWrites = 5
	// maxObsolete bounds how many rows of ended sessions and expired keys one
	// commit takes away.
	maxObsolete = 16
	// maxTurns bounds how many turns share a commit, and maxShared its bytes as
	// estimated: what the names of deleted rows take is not in it.
	maxTurns  = 64
	maxShared = MaxTurn - 64<<10
	// rowOverhead and replyOverhead are what is written besides a reply, in a row
	// and in a row of several.
	rowOverhead, replyOverhead = 1 << 11, 16
)

const (
	callerRow = "c/" // + session: the calls of one session
	keyRow    = "k/" // + method NUL key: one call under a key
)

// ErrCorrupt says that what is stored of an actor is not what this version
// writes.
var ErrCorrupt = errors.New("journal: stored data is corrupt or of a newer version")

// Actor is the durable part of one activation under one fence. Its methods
// must not be called concurrently: an actor runs one turn at a time.
type Actor struct {
	journal *Journal
	id      state.Actor
	fence   state.Fence
	version uint64
	state   []byte
	callers map[string]*guarantee.Window[*statev1.Reply]
	keys    map[string]*statev1.KeyRow
	// keyBytes is what keys take, about.
	keyBytes int
	// aging holds the names of keys in the order in which they expire, the next
	// one first; those that were used anew since are in it twice.
	aging []aged
	// obsolete are rows to delete with the next commits: those of expired keys
	// and of sessions that are over. generation is that of the sessions when
	// they were last looked through.
	obsolete   []string
	generation uint64
	staged     stage
	// items is what the actor has to see to, and agenda what the store tells
	// of it.
	items  items
	agenda state.Agenda
}

// aged is a key and when the row that it was noted for expires.
type aged struct {
	name    string
	expires int64
}

// Turn is what a turn leaves behind.
type Turn struct {
	// State is the actor's encoded state after the turn.
	State []byte
	// Call and Method name the call, if its reply is to be remembered, and
	// Watermark and Open tell which of its caller's will not come again.
	Call      guarantee.CallID
	Method    string
	Watermark uint64
	Open      []uint64
	// Settles says that the turn stores little besides the state: how something has
	// ended, or begun, that is stored already, or an error.
	Settles bool
	// Reply is the answer to remember; nil remembers nothing.
	Reply *statev1.Reply
	// Changes are what the turn has done to the actor's items, at most
	// MaxChanges. Two of one item do not appear in one turn.
	Changes []Change
}

// MaxChanges is how many items one turn may change.
const MaxChanges = 68

// Error says that a turn was not committed, or may not have been. The
// activation's memory is then ahead of the store and must be dropped.
type Error struct {
	// Outcome is NotCommitted or MaybeExecuted.
	Outcome guarantee.Outcome
	// Fenced says that another owner holds the shard.
	Fenced bool
	// Crowded says that there is no room beside what is remembered for other calls:
	// there will be when their callers have acknowledged it.
	Crowded bool
	Err     error
}

func (e *Error) Error() string { return fmt.Sprintf("journal: %v: %v", e.Outcome, e.Err) }

// Unwrap returns the store's error.
func (e *Error) Unwrap() error { return e.Err }

// Load reads the durable part of an actor under fence. A *state.FencedError
// says that another owner holds the shard; after any error nothing has
// happened.
func (j *Journal) Load(ctx context.Context, id state.Actor, fence state.Fence) (*Actor, error) {
	snapshot, err := j.store.Load(ctx, id, fence)
	if err != nil {
		return nil, err
	}
	a := &Actor{journal: j, id: id, fence: fence, version: snapshot.Version}
	record := new(statev1.ActorRecord)
	if err := proto.Unmarshal(snapshot.Record, record); err != nil {
		return nil, a.corrupt("record", err)
	}
	a.state = record.GetState()
	now := time.Now().Unix()
	for _, row := range snapshot.Rows {
		if err := a.loadRow(row, now); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(a.aging, func(x, y aged) int { return cmp.Compare(x.expires, y.expires) })
	a.agenda = a.items.agenda()
	return a, nil
}

func (a *Actor) loadRow(row state.Row, now int64) error {
	if session, ok := strings.CutPrefix(row.Name, callerRow); ok {
		stored := new(statev1.CallerRow)
		if err := proto.Unmarshal(row.Value, stored); err != nil {
			return a.corrupt("row "+row.Name, err)
		}
		w := a.window(session)
		w.Advance(stored.GetWatermark(), stored.GetOpen()...)
		for _, r := range stored.GetReplies() {
			w.Remember(r.GetSequence(), r.GetPart(), r)
		}
		return nil
	}
	if name, ok := strings.CutPrefix(row.Name, keyRow); ok {
		stored := new(statev1.KeyRow)
		if err := proto.Unmarshal(row.Value, stored); err != nil {
			return a.corrupt("row "+row.Name, err)
		}
		if stored.GetExpires() < now {
			a.obsolete = append(a.obsolete, row.Name)
			return nil
		}
		a.rememberKey(name, stored)
		return nil
	}
	known, err := a.items.load(row)
	switch {
	case err != nil:
		return a.corrupt(fmt.Sprintf("row %q", row.Name), err)
	case known:
		return nil
	}
	return a.corrupt("row "+row.Name, errors.New("no such kind of row: was it written by a newer version?"))
}

func (a *Actor) corrupt(what string, err error) error {
	return fmt.Errorf("%w: the %s of an actor in %s cannot be read: %w", ErrCorrupt, what, a.id.Shard, err)
}

// State returns the encoded state as last committed; nil when there is none.
// It must not be modified.
func (a *Actor) State() []byte { return a.state }

// RequestHash binds a call's ID to its method and arguments. Go encodes maps in
// random order, so the encoding hashed is the owner's own deterministic one, with
// the fields in the order of their numbers: those that this version of the method
// does not know are among them.
func RequestHash(method string, req proto.Message) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return nil, err
	}
	if req != nil && len(req.ProtoReflect().GetUnknown()) > 0 {
		b = byNumber(b)
	}
	h := sha256.New()
	h.Write(append([]byte(method), 0))
	h.Write(b)
	return h.Sum(nil)[:16], nil
}

// byNumber brings the fields of an encoded message into the order of their numbers.
func byNumber(b []byte) []byte {
	type field struct {
		number protowire.Number
		bytes  []byte
	}
	var fields []field
	for rest := b; len(rest) > 0; {
		number, _, n := protowire.ConsumeField(rest)
		if n < 0 {
			return b
		}
		fields = append(fields, field{number, rest[:n]})
		rest = rest[n:]
	}
	slices.SortStableFunc(fields, func(x, y field) int { return cmp.Compare(x.number, y.number) })
	sorted := make([]byte, 0, len(b))
	for _, f := range fields {
		sorted = append(sorted, f.bytes...)
	}
	return sorted
}

// Look tells what is known of a call, after forgetting what comes no more: all
// below the watermark that is not open.
func (a *Actor) Look(call guarantee.CallID, method string, watermark uint64, open ...uint64) (*statev1.Reply, guarantee.Verdict) {
	if call.Key != "" {
		if row, ok := a.keys[keyName(method, call.Key)]; ok && row.GetExpires() >= time.Now().Unix() {
			return row.GetReply(), guarantee.Known
		}
		if a.expire(time.Now().Unix()); len(a.keys) >= MaxKeys || a.keyBytes >= MaxKeyBytes {
			return nil, guarantee.Full
		}
		return nil, guarantee.New
	}
	w := a.window(call.Session)
	w.Advance(watermark, open...)
	return w.Look(call.Sequence, call.Part)
}

// Add puts a turn on top of those that the next Flush writes; State and Flush
// aside, the actor knows it from then on. It reports false, and adds nothing,
// when the turns are as many as one commit should hold: Flush first. The first
// turn after a Flush is always added.
func (a *Actor) Add(t Turn) bool {
	cost, rows := len(t.State), 0
	if t.Reply != nil {
		cost += proto.Size(t.Reply) + rowOverhead
		if a.staged.adds(t) {
			rows = 1
			if t.Call.Key == "" {
				for r := range a.window(t.Call.Session).Answers {
					cost += proto.Size(r) + replyOverhead
				}
			}
		}
	}
	for _, c := range t.Changes {
		cost += len(c.name) + rowOverhead
		if c.row != nil {
			cost += proto.Size(c.row)
		}
	}
	rows += len(t.Changes)
	if s := &a.staged; s.turns > 0 && (s.turns == maxTurns || s.bytes+cost-len(s.state) > maxShared ||
		s.rows()+rows+maxObsolete > a.journal.store.Limits().Rows) {
		return false
	}
	a.staged.turns++
	a.staged.limit = max(a.staged.limit, MaxTurn)
	if t.Settles {
		a.staged.limit = maxSettled
	}
	a.staged.bytes += cost - len(a.staged.state)
	a.staged.state = t.State
	switch {
	case t.Reply == nil:
	case t.Call.Key != "":
		name := keyName(t.Method, t.Call.Key)
		a.rememberKey(name, &statev1.KeyRow{Reply: t.Reply, Expires: time.Now().Add(KeyRetention).Unix()})
		a.staged.key(name)
	default:
		w := a.window(t.Call.Session)
		w.Advance(t.Watermark, t.Open...)
		w.Remember(t.Call.Sequence, t.Call.Part, t.Reply)
		a.staged.caller(t.Call.Session)
		a.staged.calls = append(a.staged.calls, call{t.Call.Session, t.Call.Sequence})
	}
	for _, c := range t.Changes {
		a.items.apply(c)
		a.staged.change(c)
	}
	return true
}

// Waiting reports how many turns the next Flush writes.
func (a *Actor) Waiting() int { return a.staged.turns }

// Flush writes what was added, in one commit, and returns once that is decided:
// nil when it is stored, and an *Error otherwise. A commit that the store leaves
// open is settled before Flush returns. ctx ends the settling, not the write
// itself: it is the life of the activation, not that of one call. After an error
// the Actor is of no use any more.
func (a *Actor) Flush(ctx context.Context) error {
	if a.staged.turns == 0 {
		return nil
	}
	for n := 1; ; n++ {
		c, id, err := a.encode()
		if err != nil {
			return err
		}
		err = a.journal.write(c)
		if err == nil {
			a.applied(c)
			return nil
		}
		if outcome, definite := definitely(err); definite {
			return outcome
		}
		a.journal.logger.Warn("a commit's fate is unknown; settling it before anything is answered",
			"kind", a.id.Shard.Kind, "shard", a.id.Shard.Number, "epoch", a.fence.Epoch, "error", err)
		applied, err := a.settle(ctx, id)
		if err != nil {
			return err
		}
		if applied {
			a.applied(c)
			return nil
		}
		// The write is dead for good and the fence still mine: write it again.
		if n == maxWrites {
			return &Error{Outcome: guarantee.NotCommitted, Err: fmt.Errorf("the store lost %d writes of these turns", n)}
		}
	}
}

// definitely turns a store's error into the turn's, if the error is certain
// that nothing was written.
func definitely(err error) (*Error, bool) {
	fenced, conflict := new(state.FencedError), new(state.ConflictError)
	switch {
	case errors.As(err, &fenced):
		return &Error{Outcome: guarantee.NotCommitted, Fenced: true, Err: err}, true
	case errors.As(err, &conflict), errors.Is(err, state.ErrTooLarge), errors.Is(err, state.ErrInvalid), errors.Is(err, state.ErrClosed), errors.Is(err, ErrClosed):
		return &Error{Outcome: guarantee.NotCommitted, Err: err}, true
	}
	return nil, false
}

// encode makes the store's commit of the turns that were added, and its commit
// ID.
func (a *Actor) encode() (state.Commit, []byte, error) {
	id := a.journal.commitID()
	c := state.Commit{Actor: a.id, Fence: a.fence, Version: a.version}
	var err error
	if c.Record, err = proto.Marshal(&statev1.ActorRecord{CommitId: id, State: a.staged.state}); err != nil {
		return c, nil, &Error{Outcome: guarantee.NotCommitted, Err: err}
	}
	if c.Put, err = a.replyRows(); err != nil {
		return c, nil, &Error{Outcome: guarantee.NotCommitted, Err: err}
	}
	c.Delete = a.sweep(c.Put)
	a.staged.swept = len(c.Delete)
	if err := a.itemRows(&c); err != nil {
		return c, nil, &Error{Outcome: guarantee.NotCommitted, Err: err}
	}
	if c.Size() > a.staged.limit || len(c.Record) > MaxTurn {
		err := fmt.Errorf("%w: %d bytes of state and replies, at most %d", state.ErrTooLarge, c.Size(), a.staged.limit)
		return c, nil, &Error{Outcome: guarantee.NotCommitted, Crowded: c.Size()-a.othersReplies() <= a.staged.limit, Err: err}
	}
	return c, id, nil
}

// othersReplies is how many bytes the staged rows have of replies to calls other
// than the staged ones.
func (a *Actor) othersReplies() (bytes int) {
	for _, session := range a.staged.callers {
		for r := range a.window(session).Answers {
			if !slices.Contains(a.staged.calls, call{session, r.GetSequence()}) {
				bytes += proto.Size(r)
			}
		}
	}
	return bytes
}

// replyRows encodes the rows that remember the replies: for each caller all
// that it has not acknowledged, and one for each key of a caller's own.
func (a *Actor) replyRows() (rows []state.Row, err error) {
	for _, session := range a.staged.callers {
		w := a.window(session)
		row := &statev1.CallerRow{Watermark: w.Watermark(), Open: w.Open()}
		for r := range w.Answers {
			row.Replies = append(row.Replies, r)
		}
		value, err := proto.Marshal(row)
		if err != nil {
			return nil, err
		}
		rows = append(rows, state.Row{Name: callerRow + session, Value: value})
	}
	for _, name := range a.staged.keys {
		value, err := proto.Marshal(a.keys[name])
		if err != nil {
			return nil, err
		}
		rows = append(rows, state.Row{Name: keyRow + name, Value: value})
	}
	return rows, nil
}

// itemRows encodes the changes of items.
func (a *Actor) itemRows(c *state.Commit) error {
	for _, name := range slices.Sorted(maps.Keys(a.staged.changes)) {
		row := a.staged.changes[name]
		if row == nil {
			c.Delete = append(c.Delete, name)
			continue
		}
		value, err := proto.Marshal(row)
		if err != nil {
			return err
		}
		c.Put = append(c.Put, state.Row{Name: name, Value: value})
	}
	if agenda := a.items.agenda(); agenda != a.agenda {
		c.Agenda = &agenda
	}
	return nil
}

// sweep picks obsolete rows for a commit to delete, except those that it writes
// anew.
func (a *Actor) sweep(put []state.Row) []string {
	a.forgetEnded()
	a.expire(time.Now().Unix())
	a.obsolete = slices.DeleteFunc(a.obsolete, func(name string) bool {
		return slices.ContainsFunc(put, func(r state.Row) bool { return r.Name == name })
	})
	return slices.Clone(a.obsolete[:min(len(a.obsolete), maxObsolete)])
}

// forgetEnded forgets the callers whose sessions are over: nobody repeats their
// calls any more. One whose reply is just being written is looked at again the
// next time.
func (a *Actor) forgetEnded() {
	generation := a.journal.sessions.Generation()
	if generation == a.generation {
		return
	}
	a.generation = generation
	for session := range a.callers {
		switch {
		case !a.journal.sessions.Over(session):
		case slices.Contains(a.staged.callers, session):
			a.generation = generation - 1
		default:
			delete(a.callers, session)
			a.obsolete = append(a.obsolete, callerRow+session)
		}
	}
}

// HasCallers reports whether calls of any session are remembered here.
func (a *Actor) HasCallers() bool { return len(a.callers) > 0 }

// Knows reports whether calls of the session are remembered here.
func (a *Actor) Knows(session string) bool { return a.callers[session] != nil }

// applied notes that the turns are stored.
func (a *Actor) applied(c state.Commit) {
	a.version++
	a.state = a.staged.state
	a.obsolete = a.obsolete[a.staged.swept:]
	if c.Agenda != nil {
		a.agenda = *c.Agenda
	}
	a.staged = stage{}
}

func (a *Actor) window(session string) *guarantee.Window[*statev1.Reply] {
	w, ok := a.callers[session]
	if !ok {
		w = new(guarantee.Window[*statev1.Reply])
		if a.callers == nil {
			a.callers = make(map[string]*guarantee.Window[*statev1.Reply])
		}
		a.callers[session] = w
	}
	return w
}
