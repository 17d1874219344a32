//go:build unix

package failpoint

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	cajun "github.com/cajun-go/cajun/runtime"

	failpointv1 "github.com/cajun-go/cajun/crashtest/gen/failpoint/v1"
	"github.com/cajun-go/cajun/crashtest/gen/failpoint/v1/failpointv1cajun"
	"github.com/cajun-go/cajun/guarantee"
)

// hostScribes makes a node host the actors of the campaign.
func hostScribes() cajun.Option {
	return failpointv1cajun.HostScribe(func(self *cajun.Self, state *failpointv1.ScribeState) (*scribe, error) {
		return &scribe{self: self, state: state}, nil
	})
}

// scribe implements failpointv1cajun.Scribe.
type scribe struct {
	self  *cajun.Self
	state *failpointv1.ScribeState
}

func (s *scribe) pid(key string) failpointv1cajun.ScribePid {
	return failpointv1cajun.NewScribePid(s.self, key)
}

// enter notes that something took effect, and returns how many such notes there
// are.
func (s *scribe) enter(name string) uint64 {
	if s.state.Entries == nil {
		s.state.Entries = make(map[string]uint32)
	}
	s.state.Entries[name]++
	n := uint64(0)
	for _, times := range s.state.Entries {
		n += uint64(times)
	}
	return n
}

func (s *scribe) fault(format string, args ...any) {
	if len(s.state.Faults) < 20 {
		s.state.Faults = append(s.state.Faults, fmt.Sprintf(format, args...))
	}
}

// send sends the next note to another scribe and returns its number.
func (s *scribe) send(ctx context.Context, to string) (uint64, error) {
	if s.state.Sent == nil {
		s.state.Sent = make(map[string]uint64)
	}
	s.state.Sent[to]++
	return s.state.Sent[to], s.pid(to).Note(ctx, &failpointv1.NoteRequest{From: s.self.Key(), Number: s.state.Sent[to]})
}

// Enter implements failpointv1cajun.Scribe.
func (s *scribe) Enter(_ context.Context, req *failpointv1.EnterRequest) (*failpointv1.EnterReply, error) {
	return &failpointv1.EnterReply{Entries: s.enter(req.GetName())}, nil
}

// Chain implements failpointv1cajun.Scribe.
func (s *scribe) Chain(ctx context.Context, req *failpointv1.ChainRequest) (*failpointv1.ChainReply, error) {
	reply := &failpointv1.ChainReply{Entries: []uint64{s.enter(req.GetName())}}
	if to := req.GetNoteTo(); to != "" {
		if _, err := s.send(ctx, to); err != nil {
			return nil, err
		}
	}
	if next := req.GetNext(); len(next) > 0 {
		rest := &failpointv1.ChainRequest{Name: req.GetName(), Next: next[1:], NoteTo: req.GetNoteTo()}
		r, err := s.pid(next[0]).Chain(cajun.Deliver(ctx, guarantee.ExactlyOnce), rest)
		if err != nil {
			return nil, err
		}
		reply.Entries = append(reply.Entries, r.GetEntries()...)
	}
	return reply, nil
}

// Post implements failpointv1cajun.Scribe.
func (s *scribe) Post(ctx context.Context, req *failpointv1.PostRequest) (*failpointv1.PostReply, error) {
	s.enter(req.GetName())
	reply := new(failpointv1.PostReply)
	for range req.GetNotes() {
		reply.Last = nil
		for _, to := range req.GetTo() {
			last, err := s.send(ctx, to)
			if err != nil {
				return nil, err
			}
			reply.Last = append(reply.Last, last)
		}
	}
	if after := req.GetRingAfterNanos(); after > 0 {
		ring := &failpointv1.RingRequest{Name: req.GetName(), Witness: req.GetWitness()}
		if err := cajun.Schedule(ctx, s.pid(s.self.Key()).Ring, ring, cajun.Timer{Name: req.GetName(), After: time.Duration(after)}); err != nil {
			return nil, err
		}
	}
	return reply, nil
}

// Note implements failpointv1cajun.Scribe.
func (s *scribe) Note(_ context.Context, req *failpointv1.NoteRequest) error {
	if s.state.Notes == nil {
		s.state.Notes = make(map[string]*failpointv1.Notes)
	}
	notes := s.state.Notes[req.GetFrom()]
	if notes == nil {
		notes = new(failpointv1.Notes)
		s.state.Notes[req.GetFrom()] = notes
	}
	notes.Numbers = append(notes.Numbers, req.GetNumber())
	return nil
}

// Ring implements failpointv1cajun.Scribe.
func (s *scribe) Ring(ctx context.Context, req *failpointv1.RingRequest) error {
	if req.GetEveryNanos() > 0 {
		s.tick(ctx, req)
	} else {
		s.enter(ringOf(req.GetName()))
	}
	_, err := s.send(ctx, req.GetWitness())
	return err
}

// ringOf names the entry of a timer's only call.
func ringOf(name string) string { return "ring of " + name }

// tick checks a call of a timer that rings again and again: each due time is
// above the last one and in the rhythm of the first.
func (s *scribe) tick(ctx context.Context, req *failpointv1.RingRequest) {
	call, _ := cajun.CallFrom(ctx)
	timer, text, _ := strings.Cut(call.ID, "@")
	due, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		s.fault("the ID %q has no due time", call.ID)
		return
	}
	if s.state.Ticks == nil {
		s.state.Ticks = make(map[string]*failpointv1.Ticks)
	}
	ticks := s.state.Ticks[req.GetName()]
	switch {
	case ticks == nil:
		ticks = &failpointv1.Ticks{Timer: timer, FirstDue: due}
		s.state.Ticks[req.GetName()] = ticks
	case ticks.GetTimer() != timer:
		s.fault("the timer %s has become %s", ticks.GetTimer(), timer)
	case due <= ticks.GetLastDue():
		s.fault("the timer %s rang for %d after it had for %d", timer, due, ticks.GetLastDue())
	case (due-ticks.GetFirstDue())%req.GetEveryNanos() != 0:
		s.fault("the timer %s rang for %d, which is out of its rhythm", timer, due)
	}
	ticks.LastDue = due
	ticks.Count++
}

// Read implements failpointv1cajun.Scribe.
func (s *scribe) Read(context.Context, *failpointv1.ReadRequest) (*failpointv1.ScribeState, error) {
	return s.state, nil
}
