package cajun

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/journal"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/placement"
)

const (
	// maxCouriers bounds how many messages of a node are on their way at once.
	maxCouriers = 256
	// deliveryTimeout bounds one attempt to deliver a message whose method
	// declares no timeout.
	deliveryTimeout = 10 * time.Second
	// DefaultMaxAttempts is how many attempts to handle a durable one-way call
	// fail before it becomes a dead letter, unless its method's retry options say
	// otherwise. Attempts that do not reach the actor do not count.
	DefaultMaxAttempts = 10
	// verdictTime is how much longer than the deadline that it sends along the
	// sender of a message waits: so the receiver can still say that the handler
	// has run into it, which counts.
	verdictTime = time.Second
	// crowdedPause is how long a message waits that its receiver has no room to
	// remember yet.
	crowdedPause = 5 * time.Millisecond
)

// deliveryPause shapes the pauses between the attempts to deliver a message.
var deliveryPause = guarantee.RetryPolicy{InitialBackoff: 100 * time.Millisecond, MaxBackoff: 10 * time.Second}

// laneID names the messages of one actor to another one.
type laneID struct {
	from string
	to   actorID
}

// lane delivers the messages of one actor to another one in order, one at a
// time. It owns no goroutine while it waits.
type lane struct {
	id    laneID
	queue []*letter
	// known are the letters that are not settled, by sequence: those in queue,
	// and those that were delivered and are still stored.
	known map[uint64]*letter
	// busy says that a courier has it, or a timer will hand it to one.
	busy bool
	// failures counts the attempts in a row that did not get through.
	failures int
}

// letter is a message in a lane.
type letter struct {
	sequence uint64
	message  *statev1.Message
	trouble  *statev1.Trouble
	// maybe says that the message may have been handled: an attempt has ended
	// without an answer, or an earlier owner may have made one.
	maybe bool
	// end is what becomes of the row of a message that was delivered or given up;
	// nil before.
	end *settlement
}

// offer hands stored messages to their lanes; maybe says that somebody may have
// tried to deliver them. What a lane knows is not taken twice, and what it has
// settled is settled again: its row is still there.
func (p *post) offer(from string, outbox []journal.Outgoing, maybe bool) {
	var again []*letter
	p.mu.Lock()
	for _, out := range outbox {
		to, ok := p.shard.node.addressee(out.Row.GetMessage())
		if !ok {
			p.shard.node.logger.Error("a stored message is for a kind that the cluster does not know", "kind", out.Row.GetMessage().GetKind())
			continue
		}
		id := laneID{from, to}
		l := p.lanes[id]
		if l == nil {
			l = &lane{id: id, known: make(map[uint64]*letter)}
			p.lanes[id] = l
		}
		if old := l.known[out.Sequence]; old != nil {
			if old.end != nil {
				again = append(again, old)
			}
			continue
		}
		letter := &letter{sequence: out.Sequence, message: out.Row.GetMessage(), trouble: out.Row.GetTrouble(), maybe: maybe || out.Row.GetTrouble().GetMaybe()}
		l.known[out.Sequence] = letter
		l.queue = append(l.queue, letter)
		p.ledger.enter(to, out.Sequence)
		p.start(l, 0)
	}
	p.mu.Unlock()
	for _, first := range again {
		p.shard.settle(from, *first.end)
	}
}

// addressee returns the actor that a stored message is for.
func (n *Node) addressee(m *statev1.Message) (actorID, bool) {
	kind, ok := n.table.Kind(m.GetKind())
	return actorID{kind.Identity, m.GetKey()}, ok
}

// start has a lane attended to after a pause, unless somebody is at it. p.mu is
// held.
func (p *post) start(l *lane, pause time.Duration) {
	if l.busy || len(l.queue) == 0 || !p.isRecovered() {
		return
	}
	l.busy = true
	if pause > 0 {
		time.AfterFunc(pause, func() { p.shard.node.couriers.add(p, l) })
		return
	}
	p.shard.node.couriers.add(p, l)
}

// work makes one attempt to deliver the first message of a lane.
func (p *post) work(l *lane) {
	if p.shard.phase.Load() != shardServing {
		return // the next owner goes on
	}
	p.mu.Lock()
	first := l.queue[0]
	p.mu.Unlock()
	if !p.ledger.hasRoom(l.id.to, first.sequence) {
		p.goOn(l, crowdedPause)
		return
	}
	fail, last := p.deliver(l, first)
	if p.shard.phase.Load() != shardServing {
		return
	}
	l.failures++
	if fail != nil {
		first.tried(fail)
	}
	switch {
	case fail == nil:
		p.settled(l, first, nil)
	case transient(last):
		p.shard.node.logger.Log(context.Background(), levelOf(l.failures), "a message cannot be delivered; trying again",
			"kind", p.shard.id.Kind, "to", first.message.GetKind(), "method", first.message.GetMethod(), "attempts", l.failures, "error", fail.message)
		p.goOn(l, deliveryPause.Pause(l.failures, rand.Float64()))
	default:
		p.failed(l, first, fail)
	}
}

// deliver makes an attempt to deliver a message, with the repeats that its level
// allows. last is what the last of these has come to, apart from the others.
func (p *post) deliver(l *lane, first *letter) (fail, last *failure) {
	n, m := p.shard.node, first.message
	kind, ok := n.table.Kind(m.GetKind())
	if !ok {
		fail = unavailable("no node of the cluster has hosted the kind %s", m.GetKind())
		return fail, fail
	}
	o := &outgoing{
		spec: &methodSpec{kind: &Kind{Name: m.GetKind()}, name: m.GetMethod(), oneWay: true}, key: m.GetKey(),
		identity: kind.Identity, shard: placement.ShardOf(m.GetKey(), kind.Shards),
		level: guarantee.Level(m.GetLevel()), id: guarantee.CallID{Session: p.caller, Sequence: first.sequence}, ledger: &p.ledger,
		headers: m.GetHeaders(), hops: m.GetHops(), errand: link.Errand{Task: link.Task(m.GetTask()), Name: m.GetTimer(), Every: time.Duration(m.GetEveryNanos())},
		raw: m.GetPayload(), isRaw: true, outcome: guarantee.NotExecuted, grace: verdictTime,
	}
	if o.errand.Task != link.TaskDeliver {
		o.level = guarantee.ExactlyOnce // a late repeat must not set a timer again
	}
	if m.GetDueNanos() != 0 {
		o.errand.After = max(0, time.Until(time.Unix(0, m.GetDueNanos())))
	}
	timeout := deliveryTimeout
	if m.GetTimeoutNanos() > 0 {
		timeout = time.Duration(m.GetTimeoutNanos())
	}
	o.deadline = time.Now().Add(timeout)
	ctx, cancel := context.WithDeadline(p.shard.ctx, o.deadline.Add(o.grace))
	defer cancel()
	if _, fail = n.carry(ctx, o, nil); fail != nil {
		alone := *fail
		alone.outcome, last = o.last, &alone
	}
	return fail, last
}

// transient reports whether an attempt has failed for a reason that says nothing
// of the message: it is then tried for as long as that lasts.
func transient(f *failure) bool {
	noRoom := f.code == connect.CodeResourceExhausted && !f.final
	mayNotHaveRun := f.outcome == guarantee.NotExecuted || f.outcome == guarantee.MaybeExecuted
	return f.retryable || mayNotHaveRun && (f.isLate() || noRoom)
}

// tried notes what a failed attempt says about whether the message was handled.
func (l *letter) tried(fail *failure) {
	switch fail.outcome {
	case guarantee.MaybeExecuted:
		l.maybe = true
	case guarantee.NotCommitted, guarantee.Answered: // it was looked for and not found
		l.maybe = l.maybe && guarantee.Level(l.message.GetLevel()) < guarantee.ExactlyOnce
	}
}

// failed notes that the actor, or its node, has refused a message.
func (p *post) failed(l *lane, first *letter, fail *failure) {
	t := troubleAfter(first.trouble, fail)
	t.Maybe = first.maybe
	first.trouble = t
	if exhausted(first.message, t) {
		p.shard.node.logger.Error("a message is given up; it is a dead letter of its sender now", "kind", p.shard.id.Kind,
			"to", first.message.GetKind(), "method", first.message.GetMethod(), "attempts", t.GetAttempts(), "error", fail.message)
		p.settled(l, first, deadRow(first.message, t))
		return
	}
	p.shard.settle(l.id.from, settlement{changes: []journal.Change{journal.PutOutbox(first.sequence, &statev1.OutboxRow{Message: first.message, Trouble: t})}})
	p.goOn(l, deliveryPause.Pause(int(t.GetAttempts()), rand.Float64()))
}

// settled has the row of a message removed that was delivered or is dead, and
// goes on with the next one.
func (p *post) settled(l *lane, first *letter, dead *statev1.DeadRow) {
	end := &settlement{[]journal.Change{journal.RemoveOutbox(first.sequence)}, func() { p.forget(l, first, dead) }}
	if dead != nil {
		end.changes = append(end.changes, journal.PutDead(first.sequence, dead))
	}
	p.mu.Lock()
	first.end = end
	l.queue = l.queue[1:]
	l.failures = 0
	p.mu.Unlock()
	p.shard.settle(l.id.from, *end)
	p.goOn(l, 0)
}

// goOn gives a lane back after a step.
func (p *post) goOn(l *lane, pause time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.busy = false
	p.start(l, pause)
	p.tidy(l)
}

// forget is told that the row of a settled message is gone for good.
func (p *post) forget(l *lane, first *letter, dead *statev1.DeadRow) {
	p.mu.Lock()
	delete(l.known, first.sequence)
	p.tidy(l)
	p.mu.Unlock()
	if keepsNumber(dead) {
		p.ledger.keep(l.id.to, first.sequence)
	} else {
		p.ledger.end(l.id.to, first.sequence)
	}
}

// keepsNumber reports whether a dead letter must not get another number when it
// is sent again, as it may have been handled under its own.
func keepsNumber(dead *statev1.DeadRow) bool {
	return dead.GetTrouble().GetMaybe() && !dead.GetInbox() && guarantee.Level(dead.GetMessage().GetLevel()) == guarantee.ExactlyOnce
}

// tidy removes a lane that has nothing to do. p.mu is held.
func (p *post) tidy(l *lane) {
	if len(l.known) == 0 && !l.busy && p.lanes[l.id] == l {
		delete(p.lanes, l.id)
	}
}

// couriers are the goroutines of a node that deliver messages: as many as there
// are lanes with something to do, up to maxCouriers. Lanes that have failed wait
// behind the others and get half of them, so that receivers that hang do not hold
// up those that are well.
type couriers struct {
	tasks *tasks
	mu    sync.Mutex
	// fresh and failed are lanes that wait, and atFailed counts the couriers that
	// have one of the latter.
	fresh, failed []delivery
	busy          int
	atFailed      int
}

// delivery is a lane to be attended to.
type delivery struct {
	p      *post
	l      *lane
	failed bool
}

// add has a lane attended to.
func (c *couriers) add(p *post, l *lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.failures > 0 {
		c.failed = append(c.failed, delivery{p, l, true})
	} else {
		c.fresh = append(c.fresh, delivery{p, l, false})
	}
	if c.busy < maxCouriers {
		c.busy++
		c.tasks.Go(c.run)
	}
}

func (c *couriers) run() {
	for {
		next, ok := c.next()
		if !ok {
			return
		}
		next.p.work(next.l)
		if next.failed {
			c.mu.Lock()
			c.atFailed--
			c.mu.Unlock()
		}
	}
}

// next takes a lane. Without one the courier ends; those that have a lane that has
// failed look for the next one of that sort themselves.
func (c *couriers) next() (d delivery, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(c.fresh) > 0:
		d, c.fresh = c.fresh[0], c.fresh[1:]
	case len(c.failed) > 0 && c.atFailed < maxCouriers/2:
		d, c.failed = c.failed[0], c.failed[1:]
		c.atFailed++
	default:
		c.busy--
		return d, false
	}
	return d, true
}
