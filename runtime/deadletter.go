package cajun

import (
	"context"
	"iter"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/journal"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/state"
)

// DeadLetter is a durable one-way call, or a call of a timer, that was given up
// after its actor had refused it again and again. It is kept until it is sent
// again or discarded.
type DeadLetter struct {
	// Kind and Key name the actor that keeps the letter: the sending one, or the
	// receiving one for a call that came from outside or from a timer.
	Kind, Key string
	// ID tells the letters of an actor apart.
	ID uint64
	// ToKind, ToKey and Method say what was to be called, with the encoded
	// Request.
	ToKind, ToKey, Method string
	Request               []byte
	// Reason is the last error, and Attempts how many there were.
	Reason   string
	Attempts int
	// MaybeExecuted says that one of the attempts may have had its effect.
	// Resend is safe all the same: the receiver still knows the call.
	MaybeExecuted bool
	// Since is when the call was given up.
	Since time.Time
}

// DeadLetters lists the dead letters of a kind's actors, shard by shard and
// actor by actor. The kind is the full name of its service; letters are kept by
// the actors that sent them, or that accepted them from outside. The node must
// have a state store. An error ends the list; ctx bounds it.
func (n *Node) DeadLetters(ctx context.Context, kind string) iter.Seq2[DeadLetter, error] {
	return func(yield func(DeadLetter, error) bool) {
		known, ok := n.table.Kind(kind)
		switch {
		case !ok:
			yield(DeadLetter{}, refuse(connect.CodeNotFound, "no node of cluster %q has ever hosted the kind %s", n.config.cluster, kind).err())
			return
		case n.config.state == nil:
			yield(DeadLetter{}, failedPrecondition("node %s has no state store to look for dead letters in: ask a node that has one, or use WithState", n.Name()).err())
			return
		}
		for number := range known.Shards {
			id := state.Shard{Kind: known.Identity, Number: uint32(number)}
			if !n.deadInShard(ctx, kind, id, yield) {
				return
			}
		}
	}
}

// deadInShard lists the dead letters of one shard. It reports false when the
// list has ended.
func (n *Node) deadInShard(ctx context.Context, kind string, id state.Shard, yield func(DeadLetter, error) bool) bool {
	for after, more := "", true; more; {
		page, err := n.config.state.Agenda(ctx, id, after, agendaPage)
		if err != nil {
			yield(DeadLetter{}, unavailable("the agenda of shard %s cannot be read: %v", id, err).because(err).err())
			return false
		}
		more = len(page) == agendaPage
		for _, e := range page {
			after = e.Key
			if e.Agenda.Dead == 0 {
				continue
			}
			list, err := n.deadErrand(ctx, kind, e.Key, link.Errand{Task: link.TaskListDead})
			if err != nil {
				yield(DeadLetter{}, err)
				return false
			}
			for _, row := range list.GetLetters() {
				if !yield(deadLetter(kind, e.Key, row), nil) {
					return false
				}
			}
		}
	}
	return true
}

func deadLetter(kind, key string, row *statev1.DeadRow) DeadLetter {
	m, t := row.GetMessage(), row.GetTrouble()
	return DeadLetter{
		Kind: kind, Key: key, ID: row.GetSequence(), ToKind: m.GetKind(), ToKey: m.GetKey(), Method: m.GetMethod(), Request: m.GetPayload(),
		Reason: t.GetReason(), Attempts: int(t.GetAttempts()), MaybeExecuted: t.GetMaybe(), Since: time.UnixMilli(row.GetSince()),
	}
}

// Resend sends a dead letter again, as if its call had just been made. It
// returns nil also when the letter is there no more.
func (n *Node) Resend(ctx context.Context, l DeadLetter) error {
	_, err := n.deadErrand(ctx, l.Kind, l.Key, link.Errand{Task: link.TaskResend, Sequence: l.ID})
	return err
}

// Discard deletes a dead letter. It returns nil also when the letter is there no
// more.
func (n *Node) Discard(ctx context.Context, l DeadLetter) error {
	_, err := n.deadErrand(ctx, l.Kind, l.Key, link.Errand{Task: link.TaskDiscard, Sequence: l.ID})
	return err
}

func (n *Node) deadErrand(ctx context.Context, kind, key string, errand link.Errand) (*statev1.DeadList, error) {
	k := &Kind{Name: kind}
	reply, err := invokeErrand(ctx, NewPid(n, k, key), errandSpec(k), new(statev1.Message), errand)
	if err != nil {
		return nil, err
	}
	list, _ := reply.(*statev1.DeadList)
	return list, nil
}

// listDead answers with the actor's dead letters.
func listDead(j *journal.Actor) *statev1.DeadList {
	list := new(statev1.DeadList)
	size := 0
	for sequence, row := range j.DeadLetters {
		listed := proto.Clone(row).(*statev1.DeadRow)
		listed.Sequence = sequence
		if size += proto.Size(listed); size > journal.MaxTurn/2 && len(list.Letters) > 0 {
			break // those that are left come when these are seen to
		}
		list.Letters = append(list.Letters, listed)
	}
	return list
}

// deadChanges sends a dead letter again or deletes it. then is to be told whether
// that is stored.
func (a *activation) deadChanges(c *call, j *journal.Actor) (changes []journal.Change, then func(error), fail *failure) {
	sequence := c.errand.Sequence
	row := j.Dead(sequence)
	if row == nil {
		return nil, nil, nil
	}
	p, m := a.shard.post, row.GetMessage()
	to, known := a.shard.node.addressee(m)
	changes = append(changes, journal.RemoveDead(sequence))
	held := keepsNumber(row)
	stored := func(do func()) func(error) {
		return func(err error) {
			if err == nil {
				do()
			}
		}
	}
	sendAgain := stored(func() { p.offer(a.self.key, j.Outbox(), false) })
	switch {
	case c.errand.Task == link.TaskDiscard && held:
		return changes, stored(func() { p.ledger.end(to, sequence) }), nil
	case c.errand.Task == link.TaskDiscard:
	case row.GetInbox():
		changes = append(changes, journal.PutInbox(p.ledger.next(), &statev1.InboxRow{Message: m, Sender: row.GetSender(), CallId: row.GetCallId()}))
	case !known:
		return nil, nil, unavailable("no node of the cluster has hosted the kind %s", m.GetKind())
	case held: // under its number, as its receiver may know it
		changes = append(changes, journal.PutOutbox(sequence, &statev1.OutboxRow{Message: m, Trouble: &statev1.Trouble{Maybe: true}}))
		return changes, sendAgain, nil
	default:
		again := booking{to, p.ledger.book(to)}
		changes = append(changes, journal.PutOutbox(again.sequence, &statev1.OutboxRow{Message: m}))
		return changes, func(err error) {
			if err != nil {
				p.doubt(a.self.key, []booking{again})
			}
			sendAgain(err)
		}, nil
	}
	return changes, nil, nil
}
