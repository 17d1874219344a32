package cajun

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/journal"
	"github.com/cajun-go/cajun/state"
)

// post is what the actors of one shard send that outlives a turn, under one
// ownership. It speaks in the name of the shard: its numbers are above those of
// every earlier owner, and receivers remember one row for each shard that sends
// to them, however many actors it has.
type post struct {
	shard *shard
	// caller is the shard in the messages of its actors, and turnCaller in what
	// they call in the middle of a turn.
	caller, turnCaller string
	ledger             ledger
	turns              openTurns
	// recovered is closed when all that earlier owners have left is booked.
	// Before, nothing is sent: the watermark could pass what is not known yet.
	recovered chan struct{}

	mu    sync.Mutex
	lanes map[laneID]*lane
	// doubts are bookings, by sending actor, of which it is not known whether
	// they are stored: the next look at the store tells.
	doubts map[string][]booking
}

func newPost(s *shard) *post {
	p := &post{shard: s, caller: guarantee.ShardCaller(s.id.Kind, s.id.Number), recovered: make(chan struct{}), lanes: make(map[laneID]*lane)}
	p.turnCaller = guarantee.TurnCaller(s.id.Kind, s.id.Number)
	p.ledger.last.Store(guarantee.FirstSequence(s.epoch))
	p.turns.ledger = &p.ledger
	return p
}

const (
	// agendaPage is how many agendas are read at a time.
	agendaPage = 1000
	// maxVisits bounds how many actors a node looks after at once that nobody
	// has called.
	maxVisits = 256
)

// recoveryPause shapes the pauses of a new owner that cannot read what it is to
// see to.
var recoveryPause = guarantee.RetryPolicy{InitialBackoff: 50 * time.Millisecond, MaxBackoff: 5 * time.Second}

// recover takes over what earlier owners have left: the timers go into the
// shard's agenda, and every actor with messages or an open turn is looked after
// once before this owner sends anything.
func (p *post) recover() {
	s := p.shard
	var left sync.WaitGroup
	after := ""
	for attempt := 1; ; {
		page, err := s.node.readAgenda(s.ctx, s.id, after)
		if s.ctx.Err() != nil {
			return // the shard has gone, which is no reason to warn
		}
		if err != nil {
			s.node.logger.Warn("the agenda of a shard cannot be read; trying again", "kind", s.id.Kind, "shard", s.id.Number, "epoch", s.epoch, "error", err)
			if !s.sleep(recoveryPause.Pause(attempt, rand.Float64())) {
				return
			}
			attempt++
			continue
		}
		for _, e := range page {
			after = e.Key
			if e.Agenda.Due == journal.AtOnce || e.Agenda.Dead > 0 {
				if !s.takeVisit() {
					return
				}
				left.Add(1)
				s.visit(e.Key, left.Done)
			} else if e.Agenda.Due != 0 {
				s.agenda.bring(e.Key, e.Agenda.Due*1e6)
			}
		}
		if len(page) < agendaPage {
			break
		}
	}
	left.Wait()
	if s.ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.recovered) // under the lock: a lane is started here or by who offers
	for _, l := range p.lanes {
		p.start(l, 0)
	}
}

// readAgenda reads a page of a shard's agenda, one of few at the same time: a
// node that takes over many shards has other things to read, too.
func (n *Node) readAgenda(ctx context.Context, id state.Shard, after string) ([]state.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	select {
	case n.readers <- struct{}{}:
		defer func() { <-n.readers }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return n.config.state.Agenda(ctx, id, after, agendaPage)
}

// maxReaders bounds how many agendas a node reads at once.
const maxReaders = 16

// sleep waits for d and reports whether the shard is still owned.
func (s *shard) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// isRecovered reports whether the post may send.
func (p *post) isRecovered() bool {
	select {
	case <-p.recovered:
		return true
	default:
		return false
	}
}

// ready waits until the post may send.
func (p *post) ready(ctx context.Context) error {
	if p.isRecovered() {
		return nil
	}
	select {
	case <-p.recovered:
		return nil
	case <-ctx.Done():
		return causeOf(ctx)
	case <-p.shard.ctx.Done():
		return causeOf(p.shard.ctx)
	}
}

// loaded takes over what the store has of an actor's messages. It is called
// whenever an actor is loaded: what is known already is left as it is.
func (p *post) loaded(from string, stored *journal.Actor) {
	p.mu.Lock()
	doubts := p.doubts[from]
	delete(p.doubts, from)
	p.mu.Unlock()
	for _, b := range doubts {
		if stored.Sending(b.sequence) == nil {
			p.ledger.end(b.to, b.sequence)
		}
	}
	for sequence, row := range stored.DeadLetters {
		if to, ok := p.shard.node.addressee(row.GetMessage()); ok && keepsNumber(row) {
			p.ledger.keep(to, sequence)
		}
	}
	if intent := stored.Intent(); intent != nil {
		p.turns.goOn(intent.GetSequence())
	}
	p.offer(from, stored.Outbox(), true)
}

// doubt remembers bookings whose commit may have failed.
func (p *post) doubt(from string, booked []booking) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.doubts == nil {
		p.doubts = make(map[string][]booking)
	}
	p.doubts[from] = append(p.doubts[from], booked...)
}
