package cajun

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errTurnOver = errors.New("cajun: the turn is over; a handler's context must not be used after the handler has returned")
	// errMoved cancels turns that outstay the hand-over of their shard.
	errMoved = errors.New("cajun: the actor is moving to another node")
)

// turnContext is the context of one turn. It carries the caller's deadline and
// cancellation and nothing else of the caller, so that a handler sees the same
// whether its caller is local or remote. Its Done channel is made when somebody
// asks for it: most handlers never do.
type turnContext struct {
	call     *call
	deadline time.Time
	// caller is the local caller's context, whose end ends the turn's; nil for
	// remote callers, who send a cancel.
	caller context.Context

	// inner is the context behind this one, once somebody has asked for it.
	inner atomic.Pointer[innerContext]
	mu    sync.Mutex // making inner, and what follows
	cause error      // why the context ended, if it did before the turn
	// effect collects what the turn does besides; made on first use, and not
	// after the handler has ended.
	effect *effects
	ended  bool
	// feed is the stream that the turn opens, and news tells others what the turn
	// has published.
	feed *feed
	news []func()
}

// innerContext is a context and what ends it.
type innerContext struct {
	context.Context
	stop context.CancelCauseFunc
}

type turnKey struct{}

// turnFrom returns the turn that ctx belongs to, or nil.
func turnFrom(ctx context.Context) *turnContext {
	t, _ := ctx.Value(turnKey{}).(*turnContext)
	return t
}

// Deadline implements context.Context.
func (t *turnContext) Deadline() (time.Time, bool) { return t.deadline, !t.deadline.IsZero() }

// Value implements context.Context.
func (t *turnContext) Value(key any) any {
	if _, ok := key.(turnKey); ok {
		return t
	}
	return nil
}

// Done implements context.Context.
func (t *turnContext) Done() <-chan struct{} { return t.real().Done() }

// Err implements context.Context.
func (t *turnContext) Err() error {
	err := t.real().Err()
	if err == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if errors.Is(t.cause, context.DeadlineExceeded) {
		return context.DeadlineExceeded // the caller's clock was the first to say so
	}
	return err
}

// real returns the context behind t, made on first use.
func (t *turnContext) real() context.Context {
	if inner := t.inner.Load(); inner != nil {
		return inner
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if inner := t.inner.Load(); inner != nil {
		return inner
	}
	inner := t.makeInner()
	t.inner.Store(inner)
	if t.cause != nil {
		inner.stop(t.cause)
	}
	// A turn that has just ended may not have seen inner yet.
	if t.over() {
		inner.stop(errTurnOver)
	}
	return inner
}

func (t *turnContext) makeInner() *innerContext {
	ctx, stop := context.WithCancelCause(context.Background())
	cancel, release := func() {}, func() bool { return true }
	if !t.deadline.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, t.deadline)
	}
	if t.caller != nil {
		release = context.AfterFunc(t.caller, func() { t.end(causeOf(t.caller)) })
	}
	return &innerContext{ctx, func(cause error) { release(); stop(cause); cancel() }}
}

// end ends the context; the first cause stays.
func (t *turnContext) end(cause error) {
	t.mu.Lock()
	if t.cause == nil {
		t.cause = cause
	}
	inner, f := t.inner.Load(), t.feed
	t.mu.Unlock()
	if f != nil {
		f.cancel(cause)
	}
	if inner != nil {
		inner.stop(cause)
	}
}

// close ends the context with its turn, whose call is done already.
func (t *turnContext) close() {
	if inner := t.inner.Load(); inner != nil {
		inner.stop(errTurnOver)
	}
}

// over reports whether the turn has ended.
func (t *turnContext) over() bool { return t.call.state.Load() == callDone }

// interruption tells why the turn's caller stopped waiting, or nil.
func (t *turnContext) interruption() error {
	t.mu.Lock()
	cause := t.cause
	t.mu.Unlock()
	switch {
	case cause != nil:
		return cause
	case t.caller != nil && t.caller.Err() != nil:
		return t.caller.Err()
	case !t.deadline.IsZero() && !time.Now().Before(t.deadline):
		return context.DeadlineExceeded
	}
	return nil
}
