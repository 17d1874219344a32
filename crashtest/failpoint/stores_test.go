//go:build unix

package failpoint

import (
	"context"
	"strings"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/placement"
	"github.com/cajun-go/cajun/state"
)

// watchedState is a state store with points around what nodes ask of it.
type watchedState struct {
	state.Store
	trap *trap
	wire *wire
}

// Seal implements state.Store.
func (s *watchedState) Seal(ctx context.Context, seals []state.Seal) []error {
	s.trap.at("seal.before")
	if len(seals) > 0 && s.trap.springs("seal.sent") {
		s.wire.expect("fences/" + seals[0].Shard.String())
	}
	errs := s.Store.Seal(ctx, seals)
	s.trap.at("seal.after")
	return errs
}

// Agenda implements state.Store.
func (s *watchedState) Agenda(ctx context.Context, shard state.Shard, after string, limit int) ([]state.Entry, error) {
	s.trap.at("agenda.before")
	list, err := s.Store.Agenda(ctx, shard, after, limit)
	if len(list) > 0 {
		s.trap.at("agenda.after")
	}
	return list, err
}

// Load implements state.Store.
func (s *watchedState) Load(ctx context.Context, actor state.Actor, fence state.Fence) (state.Snapshot, error) {
	snapshot, err := s.Store.Load(ctx, actor, fence)
	for _, r := range snapshot.Rows {
		if strings.HasPrefix(r.Name, "o/") || strings.HasPrefix(r.Name, "i/") || r.Name == "n/" {
			s.trap.at("outbox.after")
			break
		}
	}
	return snapshot, err
}

// Commit implements state.Store.
func (s *watchedState) Commit(ctx context.Context, commits []state.Commit) error {
	purposes := purposesOf(commits)
	s.trap.at("commit.before")
	for _, p := range purposes {
		s.trap.at(p + ".before")
	}
	if len(commits) > 0 && s.trap.springs("commit.sent") {
		s.wire.expect(string(commits[0].Record)) // it holds an ID that no other has
	}
	err := s.Store.Commit(ctx, commits)
	if err != nil {
		return err
	}
	s.trap.at("ack.before")
	for _, p := range purposes {
		s.trap.at(p + ".after")
	}
	if s.trap.springs("ack.after") {
		go s.trap.strike() // while the caller goes on
	}
	return nil
}

// purposesOf tells what commits are for.
func purposesOf(commits []state.Commit) (purposes []string) {
	put, removed := make(map[string]bool), make(map[string]bool)
	for _, c := range commits {
		for _, r := range c.Put {
			put[r.Name[:2]] = true
		}
		for _, name := range c.Delete {
			removed[name[:2]] = true
		}
	}
	for _, p := range []struct {
		is   bool
		name string
	}{
		{put["o/"], "posted"}, {removed["o/"], "settled"},
		{put["i/"], "accepted"}, {removed["i/"], "handled"},
		{put["t/"] || removed["t/"], "timer"},
		{put["n/"], "intent"}, {removed["n/"], "intent-over"},
	} {
		if p.is {
			purposes = append(purposes, p.name)
		}
	}
	return purposes
}

// watchedMetadata is a metadata store with points around claims.
type watchedMetadata struct {
	metadata.Store
	trap *trap
	wire *wire
}

// Commit implements metadata.Store.
func (s *watchedMetadata) Commit(ctx context.Context, t metadata.Txn) (metadata.Result, error) {
	record, claims := claimIn(t)
	if !claims {
		return s.Store.Commit(ctx, t)
	}
	s.trap.at("claim.before")
	if s.trap.springs("claim.sent") {
		s.wire.expect(string(record))
	}
	r, err := s.Store.Commit(ctx, t)
	if r.Applied {
		s.trap.at("claim.after")
	}
	return r, err
}

// claimIn returns the first shard record of a transaction that names an owner
// who is to serve the shard.
func claimIn(t metadata.Txn) (record []byte, found bool) {
	for _, op := range t.Then {
		if op.Delete || !strings.Contains(op.Key, "/shards/") {
			continue
		}
		if r, err := placement.Decode(metadata.Entry{Key: op.Key, Value: op.Value}); err == nil && r.Phase == placement.Open {
			return op.Value, true
		}
	}
	return nil, false
}
