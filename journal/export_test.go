package journal

import "context"

// Commit writes one turn by itself.
func (a *Actor) Commit(ctx context.Context, t Turn) error {
	a.Add(t)
	return a.Flush(ctx)
}

// Ticks is how many times are kept of timers, those of replaced ones included.
func (a *Actor) Ticks() int { return len(a.items.clock) }
