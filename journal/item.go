package journal

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/state"
)

// The rows of what an actor has to see to by itself. Numbers are big-endian, so
// that the order of names is the order of numbers.
const (
	outboxRow = "o/" // + sequence: a message to another actor
	inboxRow  = "i/" // + sequence: a message that was accepted
	deadRow   = "d/" // + sequence: a message that was given up
	timerRow  = "t/" // + name
	intentRow = "n/"
)

// items is what an actor has to see to by itself, as of the last turn that was
// added.
type items struct {
	outbox map[uint64]*statev1.OutboxRow
	inbox  map[uint64]*statev1.InboxRow
	dead   map[uint64]*statev1.DeadRow
	timers map[string]*statev1.TimerRow
	intent *statev1.IntentRow
	// bytes is what the messages take together.
	bytes int
	// clock orders the timers by when they need to be seen to. Those that were
	// changed or removed since are in it, too, with their former times.
	clock clock
}

// Change is a change of one item: a turn's commit puts its row or removes it.
type Change struct {
	name string
	row  proto.Message
}

// PutOutbox stores a message to another actor under the sequence that names it
// there.
func PutOutbox(sequence uint64, row *statev1.OutboxRow) Change {
	return Change{numbered(outboxRow, sequence), row}
}

// RemoveOutbox removes a message that was delivered or given up.
func RemoveOutbox(sequence uint64) Change { return Change{name: numbered(outboxRow, sequence)} }

// PutInbox stores a message that the actor is to handle.
func PutInbox(sequence uint64, row *statev1.InboxRow) Change {
	return Change{numbered(inboxRow, sequence), row}
}

// RemoveInbox removes a message that was handled or given up.
func RemoveInbox(sequence uint64) Change { return Change{name: numbered(inboxRow, sequence)} }

// PutDead stores a message that was given up.
func PutDead(sequence uint64, row *statev1.DeadRow) Change {
	return Change{numbered(deadRow, sequence), row}
}

// RemoveDead removes a dead letter.
func RemoveDead(sequence uint64) Change { return Change{name: numbered(deadRow, sequence)} }

// PutTimer sets a timer, in place of one of the same name.
func PutTimer(name string, row *statev1.TimerRow) Change { return Change{timerRow + name, row} }

// RemoveTimer removes a timer.
func RemoveTimer(name string) Change { return Change{name: timerRow + name} }

// PutIntent stores that a turn has begun which must be brought to its end.
func PutIntent(row *statev1.IntentRow) Change { return Change{intentRow, row} }

// RemoveIntent removes the intent, at the end of its turn.
func RemoveIntent() Change { return Change{name: intentRow} }

func numbered(prefix string, sequence uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte(prefix), sequence))
}

// apply brings the items up to date with a change.
func (it *items) apply(c Change) {
	prefix, rest := c.name[:2], c.name[2:]
	switch prefix {
	case outboxRow:
		it.outbox = assign(it, it.outbox, number(rest), as[*statev1.OutboxRow](c.row))
	case inboxRow:
		it.inbox = assign(it, it.inbox, number(rest), as[*statev1.InboxRow](c.row))
	case deadRow:
		it.dead = assign(it, it.dead, number(rest), as[*statev1.DeadRow](c.row))
	case timerRow:
		row := as[*statev1.TimerRow](c.row)
		it.timers = assign(it, it.timers, rest, row)
		if row != nil {
			it.setClock(tick{wake(row), rest})
		}
	case intentRow:
		it.intent = as[*statev1.IntentRow](c.row)
	}
}

// as is row.(M), and nil for no row.
func as[M proto.Message](row proto.Message) (m M) {
	if row != nil {
		m = row.(M)
	}
	return m
}

// assign puts a row into a table, or removes it when it is nil.
func assign[K comparable, M interface {
	comparable
	proto.Message
}](it *items, table map[K]M, key K, row M) map[K]M {
	var none M
	if old, ok := table[key]; ok {
		it.bytes -= proto.Size(old)
	}
	if row == none {
		delete(table, key)
		return table
	}
	it.bytes += proto.Size(row)
	if table == nil {
		table = make(map[K]M)
	}
	table[key] = row
	return table
}

func number(name string) uint64 { return binary.BigEndian.Uint64([]byte(name)) }

// load reads a stored row, if it is one of an item.
func (it *items) load(row state.Row) (known bool, err error) {
	c := Change{name: row.Name}
	prefix, rest := row.Name, ""
	if len(row.Name) >= 2 {
		prefix, rest = row.Name[:2], row.Name[2:]
	}
	switch prefix {
	case outboxRow:
		c.row = new(statev1.OutboxRow)
	case inboxRow:
		c.row = new(statev1.InboxRow)
	case deadRow:
		c.row = new(statev1.DeadRow)
	case timerRow:
		c.row = new(statev1.TimerRow)
	case intentRow:
		c.row = new(statev1.IntentRow)
	default:
		return false, nil
	}
	if !strings.Contains(timerRow+intentRow, prefix) && len(rest) != 8 {
		return true, errors.New("its name holds no number")
	}
	if err := proto.Unmarshal(row.Value, c.row); err != nil {
		return true, err
	}
	it.apply(c)
	return true, nil
}

// agenda is what the store is to tell of the actor to its shard's next owner.
func (it *items) agenda() (a state.Agenda) {
	a.Dead = uint32(len(it.dead))
	if len(it.outbox) > 0 || len(it.inbox) > 0 || it.intent != nil {
		a.Due = AtOnce
	} else if t, ok := it.nextTimer(); ok {
		a.Due = max(t/1e6, AtOnce+1)
	}
	return a
}

// AtOnce is the due time in an agenda of an actor with messages to send or to
// handle, or with a turn to bring to its end.
const AtOnce = 1

// setClock puts a timer's time into the clock. The ones before it stay there
// until they come to the top, or are too many.
func (it *items) setClock(t tick) {
	if len(it.clock) <= 2*len(it.timers)+16 {
		it.clock.add(t)
		return
	}
	it.clock = it.clock[:0]
	for name, row := range it.timers {
		it.clock = append(it.clock, tick{wake(row), name})
	}
	heap.Init(&it.clock)
}

// nextTimer returns when the next timer needs to be seen to, in Unix
// nanoseconds.
func (it *items) nextTimer() (int64, bool) {
	for len(it.clock) > 0 {
		t := it.clock[0]
		if row, ok := it.timers[t.name]; ok && wake(row) == t.at {
			return t.at, true
		}
		heap.Pop(&it.clock)
	}
	return 0, false
}

// wake is when a timer needs to be seen to.
func wake(row *statev1.TimerRow) int64 {
	return max(row.GetDueNanos(), row.GetTrouble().GetRetryNanos())
}

// Outgoing is a message to another actor.
type Outgoing struct {
	Sequence uint64
	Row      *statev1.OutboxRow
}

// Outbox returns the messages to other actors, in order.
func (a *Actor) Outbox() []Outgoing {
	list := make([]Outgoing, 0, len(a.items.outbox))
	for sequence, row := range a.items.outbox {
		list = append(list, Outgoing{sequence, row})
	}
	slices.SortFunc(list, func(x, y Outgoing) int { return cmp.Compare(x.Sequence, y.Sequence) })
	return list
}

// Sending returns the message with this sequence, or nil.
func (a *Actor) Sending(sequence uint64) *statev1.OutboxRow { return a.items.outbox[sequence] }

// Accepted returns the message that is to be handled next: the first in order
// whose next attempt is due at now and that has none of the same sender before
// it. If there is none, wait is when there will be one, in Unix nanoseconds, or
// 0 for never.
func (a *Actor) Accepted(now int64) (sequence uint64, row *statev1.InboxRow, wait int64) {
	var blocked []string
	for _, sequence := range slices.Sorted(maps.Keys(a.items.inbox)) {
		row := a.items.inbox[sequence]
		if slices.Contains(blocked, row.GetSender()) {
			continue
		}
		retry := row.GetTrouble().GetRetryNanos()
		if retry <= now {
			return sequence, row, 0
		}
		blocked = append(blocked, row.GetSender())
		if wait == 0 || retry < wait {
			wait = retry
		}
	}
	return 0, nil, wait
}

// InboxRow returns the accepted message with this sequence, or nil.
func (a *Actor) InboxRow(sequence uint64) *statev1.InboxRow { return a.items.inbox[sequence] }

// Timer returns the timer that is due at now, or when the next one is due in
// Unix nanoseconds, or 0 for never.
func (a *Actor) Timer(now int64) (name string, row *statev1.TimerRow, wait int64) {
	at, ok := a.items.nextTimer()
	switch {
	case !ok:
		return "", nil, 0
	case at > now:
		return "", nil, at
	}
	name = a.items.clock[0].name
	return name, a.items.timers[name], 0
}

// TimerNamed returns the timer of this name, or nil.
func (a *Actor) TimerNamed(name string) *statev1.TimerRow { return a.items.timers[name] }

// Dead returns the dead letter with this sequence, or nil.
func (a *Actor) Dead(sequence uint64) *statev1.DeadRow { return a.items.dead[sequence] }

// DeadLetters calls yield for each dead letter, in order.
func (a *Actor) DeadLetters(yield func(sequence uint64, row *statev1.DeadRow) bool) {
	for _, sequence := range slices.Sorted(maps.Keys(a.items.dead)) {
		if !yield(sequence, a.items.dead[sequence]) {
			return
		}
	}
}

// Intent returns the turn that is to be brought to its end, or nil.
func (a *Actor) Intent() *statev1.IntentRow { return a.items.intent }

// Counts is how many items of each sort an actor has, and how many bytes they
// take together.
type Counts struct{ Outbox, Inbox, Timers, Dead, Bytes int }

// Counts counts the actor's items.
func (a *Actor) Counts() Counts {
	it := &a.items
	return Counts{len(it.outbox), len(it.inbox), len(it.timers), len(it.dead), it.bytes}
}

// tick is when a timer needs to be seen to.
type tick struct {
	at   int64
	name string
}

// clock is a heap of ticks, the next one first.
type clock []tick

func (c *clock) add(t tick) { heap.Push(c, t) }

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (c clock) Len() int           { return len(c) }
func (c clock) Less(i, j int) bool { return c[i].at < c[j].at }
func (c clock) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }
func (c *clock) Push(x any)        { *c = append(*c, x.(tick)) }
func (c *clock) Pop() any {
	last := len(*c) - 1
	t := (*c)[last]
	*c = (*c)[:last]
	return t
}
