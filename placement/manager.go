package placement

import (
	"context"
	"errors"
	"log/slog"

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
// Each Serve is followed by one Drop with the same epoch. In between, Drain may
// be called, and after it either Drop or, when the move was called off, Serve
// once more with the same epoch.
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

// Config is what Start needs. Everything but State and Logger is required.
type Config struct {
	Store metadata.Store
	Space metadata.Space
	// State holds the fences. When it is nil, nothing is sealed.
	State   state.Store
	Session *member.Session
	View    *member.View
	Table   *Table
	Kinds   []HostedKind
	Host    Host
	// Logger may be nil: then nothing is logged.
	Logger *slog.Logger
}
