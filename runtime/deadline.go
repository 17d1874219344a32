package cajun

import (
	"context"
	"sync"
	"time"
)

// deadlineContext is a context with a deadline that costs nothing until
// somebody waits for it: most waits of a call end before they begin. release
// must be called when it is no longer needed.
type deadlineContext struct {
	context.Context // the parent
	deadline        time.Time

	mu     sync.Mutex
	inner  context.Context
	cancel context.CancelFunc
}

// Deadline implements context.Context.
func (d *deadlineContext) Deadline() (time.Time, bool) { return d.deadline, true }

// Done implements context.Context.
func (d *deadlineContext) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inner == nil {
		d.inner, d.cancel = context.WithDeadline(d.Context, d.deadline)
	}
	return d.inner.Done()
}

// Err implements context.Context. It does not look at the clock: who has not
// asked for Done has not begun to wait.
func (d *deadlineContext) Err() error {
	d.mu.Lock()
	inner := d.inner
	d.mu.Unlock()
	if inner != nil {
		return inner.Err()
	}
	return d.Context.Err()
}

// release frees what waiting has cost.
func (d *deadlineContext) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cancel != nil {
		d.cancel()
	}
}
