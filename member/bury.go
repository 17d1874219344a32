package member

import (
	"context"
	"errors"
	"fmt"

	"github.com/cajun-go/cajun/metadata"
)

// ErrNotBuried says that a burial's conditions did not hold: who wanted it has
// no right to (any more), or the suspect changed its record, which only the
// living do.
var ErrNotBuried = errors.New("member: not buried: the guard or the suspect's record has changed")

// Bury removes the session of a process that is known to be dead before its
// lease expires: it deletes the suspect's member key, provided that guard holds
// (the leader's election key, or the member key of the next in line) and that
// the suspect's record is as the caller saw it, and then revokes its lease. A
// suspect that is already gone is no error. After any other error than
// ErrNotBuried the suspect may or may not be buried; calling again is safe.
func Bury(ctx context.Context, store metadata.Store, space metadata.Space, suspect Member, guard metadata.Cond) error {
	key := space.Member(suspect.Session)
	res, err := store.Commit(ctx, metadata.Txn{
		If:   []metadata.Cond{guard, metadata.ModifiedAt(key, suspect.Modified)},
		Then: []metadata.Op{metadata.Delete(key)},
	})
	if err != nil || !res.Applied {
		// The lease must not be touched unless the member key is known to be
		// gone: revoking is bound to no condition.
		entry, found, readErr := store.Get(ctx, key)
		switch {
		case readErr != nil:
			return fmt.Errorf("member: burial of %s: %w", suspect.Session, errors.Join(err, readErr))
		case found && entry.Created == suspect.Created && err != nil:
			return fmt.Errorf("member: burial of %s: %w", suspect.Session, err)
		case found && entry.Created == suspect.Created:
			return fmt.Errorf("%w (session %s)", ErrNotBuried, suspect.Session)
		}
	}
	if suspect.Lease == 0 {
		return nil
	}
	if err := store.Revoke(ctx, suspect.Lease); err != nil {
		return fmt.Errorf("member: %s is buried, but its lease is left to expire: %w", suspect.Session, err)
	}
	return nil
}
