package metadata

import (
	"errors"
	"fmt"
)

// Validate says why a store refuses t: it is too large, names a key in two
// operations, has an empty key, or a condition that no constructor made.
// Every store calls it before anything else, so a refused transaction has
// applied nothing.
func (t Txn) Validate() error {
	if len(t.If) > MaxTxn {
		return fmt.Errorf("metadata: a transaction of %d conditions: split it, at most %d are taken", len(t.If), MaxTxn)
	}
	if len(t.Then) > MaxTxn {
		return fmt.Errorf("metadata: a transaction of %d operations: split it, at most %d are taken", len(t.Then), MaxTxn)
	}
	for _, c := range t.If {
		if c.Key == "" {
			return errors.New("metadata: a condition without a key")
		}
		if c.Kind < CondAbsent || c.Kind > CondModifiedAt {
			return fmt.Errorf("metadata: a condition on %q of unknown kind %d: make it with Absent, Present, CreatedAt or ModifiedAt", c.Key, c.Kind)
		}
	}
	seen := make(map[string]struct{}, len(t.Then))
	for _, op := range t.Then {
		if op.Key == "" {
			return errors.New("metadata: an operation without a key")
		}
		if _, twice := seen[op.Key]; twice {
			return fmt.Errorf("metadata: a transaction names %q in two operations: keep one", op.Key)
		}
		seen[op.Key] = struct{}{}
	}
	return nil
}
