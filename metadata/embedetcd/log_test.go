package embedetcd

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestLogCore(t *testing.T) {
	var logs bytes.Buffer
	core := newLogCore(slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	z := zap.New(core, zap.WithFatalHook(zapcore.WriteThenPanic)).With(zap.Int("member", 7))
	z.Warn("early warning")
	z.Error("early error")
	core.serving()
	z.Debug("detail")
	z.Info("chatter")
	z.Warn("late warning", zap.Duration("took", 5), zap.Error(errors.New("because")), zap.Error(nil))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a fatal entry did not panic")
			}
		}()
		z.Fatal("the end")
	}()
	for _, want := range []string{"early error", "late warning", "took=5ns", "because", "member=7", "component=etcd", "the end"} {
		if !strings.Contains(logs.String(), want) {
			t.Errorf("the log misses %q:\n%s", want, logs.String())
		}
	}
	for _, not := range []string{"early warning", "detail", "chatter"} {
		if strings.Contains(logs.String(), not) {
			t.Errorf("the log holds %q:\n%s", not, logs.String())
		}
	}
}
