package journal

import "context"

// Commit writes one turn by itself.
func (a *Actor) Commit(ctx context.Context, t Turn) error {
	a.Add(t)
	return a.Flush(ctx)
}
