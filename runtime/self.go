package cajun

import (
	"context"
	"log/slog"
)

// Self is what an actor sees of itself. It is a Caller: Pids made from it call
// through the actor's node.
type Self struct {
	n          *Node
	kind, key  string
	activation *activation
}

// NewSelf returns a Self that is not backed by an activation, for tests of
// handlers: Epoch is 0 and Passivate does nothing.
func NewSelf(from Caller, kind, key string) *Self {
	s := &Self{kind: kind, key: key}
	if from != nil {
		s.n = from.node()
	}
	return s
}

func (s *Self) node() *Node {
	if s == nil {
		return nil
	}
	return s.n
}

// Kind is the full name of the actor's service.
func (s *Self) Kind() string { return s.kind }

// Key is the actor's key.
func (s *Self) Key() string { return s.key }

// Epoch is the number of the ownership under which the actor was activated. It
// rises whenever the actor's shard changes hands, so that other systems can
// refuse a former owner.
func (s *Self) Epoch() uint64 {
	if s.activation == nil {
		return 0
	}
	return s.activation.shard.epoch
}

// Logger returns the node's logger with the actor's kind. The key is left out
// unless the node logs at debug level, as keys may be personal data.
func (s *Self) Logger() *slog.Logger {
	if s.n == nil {
		return slog.Default().With("kind", s.kind)
	}
	return s.n.logger.With("kind", s.kind, slog.Any("key", debugOnly{s.n.logger, s.key}))
}

// Passivate asks for the actor to leave memory once its present turn and the
// messages that are queued are done.
func (s *Self) Passivate() {
	if s.activation != nil {
		s.activation.requestPassivation()
	}
}

// debugOnly is a log value that shows itself only to loggers at debug level.
type debugOnly struct {
	logger *slog.Logger
	value  string
}

// LogValue implements slog.LogValuer.
func (d debugOnly) LogValue() slog.Value {
	if d.logger.Enabled(context.Background(), slog.LevelDebug) {
		return slog.StringValue(d.value)
	}
	return slog.StringValue("-")
}
