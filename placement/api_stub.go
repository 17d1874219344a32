package placement

import (
	"context"

	"github.com/cajun-go/cajun/state"
)

// Manager does what one node has to do about ownership.
type Manager struct{}

// Start starts to manage. ctx bounds the start only.
func Start(ctx context.Context, cfg Config) (*Manager, error) { return nil, ErrClosed }

// Claim takes a shard for this node if it may have it, and returns once it is
// served here, or the record that names another live owner.
func (m *Manager) Claim(ctx context.Context, s state.Shard) (Record, error) {
	return Record{}, ErrClosed
}

// Preferred is who should claim a free shard.
func (m *Manager) Preferred(kind string, shard uint32) (session string, ok bool) { return "", false }

// Turns is the order in which nodes should claim a free shard; Preferred first.
func (m *Manager) Turns(kind string, shard uint32) []string { return nil }

// Owned is what this node serves, with the epochs.
func (m *Manager) Owned() map[state.Shard]uint64 { return nil }

// Fenced reports that the state store refused a commit under this epoch.
func (m *Manager) Fenced(s state.Shard, epoch uint64) {}

// Drain returns when this node owns nothing any more, or with ctx's error.
func (m *Manager) Drain(ctx context.Context) error { return ErrClosed }

// Close drops every shard and waits for everything that the manager started.
func (m *Manager) Close() {}
