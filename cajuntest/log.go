package cajuntest

import (
	"context"
	"log/slog"
)

// gatedLog is the log of one node. A killed process says nothing more: that
// its remains reach no store is what the test asked for, and no news.
type gatedLog struct {
	slog.Handler
	gate *gate
}

func (l gatedLog) Enabled(ctx context.Context, level slog.Level) bool {
	return !l.gate.isKilled() && l.Handler.Enabled(ctx, level)
}

func (l gatedLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return gatedLog{l.Handler.WithAttrs(attrs), l.gate}
}

func (l gatedLog) WithGroup(name string) slog.Handler {
	return gatedLog{l.Handler.WithGroup(name), l.gate}
}
