package embedetcd

import (
	"context"
	"log/slog"
	"sync/atomic"

	"go.uber.org/zap/zapcore"
)

// logCore passes etcd's log entries on to slog: errors always, and warnings
// once the server serves. Before that they only question settings that are
// meant to be as they are.
type logCore struct {
	logger *slog.Logger
	ready  *atomic.Bool
}

func newLogCore(l *slog.Logger) logCore {
	return logCore{logger: l.With("component", "etcd"), ready: new(atomic.Bool)}
}

// serving ends the silence about warnings.
func (c logCore) serving() { c.ready.Store(true) }

// Enabled implements zapcore.Core.
func (c logCore) Enabled(l zapcore.Level) bool {
	level := slogLevel(l)
	if level < slog.LevelError && (level < slog.LevelWarn || !c.ready.Load()) {
		return false
	}
	return c.logger.Enabled(context.Background(), level)
}

// With implements zapcore.Core.
func (c logCore) With(fields []zapcore.Field) zapcore.Core {
	c.logger = c.logger.With(attrs(fields)...)
	return c
}

// Check implements zapcore.Core.
func (c logCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements zapcore.Core.
func (c logCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.logger.Log(context.Background(), slogLevel(e.Level), e.Message, attrs(fields)...)
	return nil
}

// Sync implements zapcore.Core.
func (c logCore) Sync() error { return nil }

// slogLevel translates a level; what zap ranks above an error is one here.
func slogLevel(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	case l == zapcore.InfoLevel:
		return slog.LevelInfo
	default:
		return slog.LevelDebug
	}
}

// attrs translates fields.
func attrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	out := make([]any, 0, len(fields))
	for _, f := range fields {
		f.AddTo(enc)
		if v, ok := enc.Fields[f.Key]; ok {
			out = append(out, slog.Any(f.Key, v))
		}
	}
	return out
}
