package state

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Largest sizes in bytes of what names things.
const (
	MaxKindBytes    = 256
	MaxKeyBytes     = 512
	MaxNameBytes    = 1024
	MaxSessionBytes = 256
)

// Size is what c counts against Limits.Bytes.
func (c Commit) Size() int {
	n := len(c.Actor.Key) + len(c.Record)
	for _, r := range c.Put {
		n += len(r.Name) + len(r.Value)
	}
	for _, name := range c.Delete {
		n += len(name)
	}
	if c.Agenda != nil {
		n += len(c.Actor.Key) + agendaBytes
	}
	return n
}

// agendaBytes is at least what a store writes of an agenda, its key aside.
const agendaBytes = 16

// RowCount is what c counts against Limits.Rows.
func (c Commit) RowCount() int {
	n := len(c.Put) + len(c.Delete)
	if c.Agenda != nil {
		n++
	}
	return n
}

// Check returns nil when commits can be sent in one call, and otherwise an
// error that wraps ErrInvalid or ErrTooLarge and says what is wrong. Stores
// call it before anything else, so that all of them refuse the same.
func (l Limits) Check(commits []Commit) error {
	if len(commits) > l.Commits {
		return tooLarge(len(commits), l.Commits, "commits")
	}
	rows, bytes := 0, 0
	seen := make(map[Actor]struct{}, len(commits))
	for i := range commits {
		c := &commits[i]
		if err := c.check(); err != nil {
			return err
		}
		if _, twice := seen[c.Actor]; twice {
			return invalid("actor %q of shard %s appears twice in one call", c.Actor.Key, c.Actor.Shard)
		}
		seen[c.Actor] = struct{}{}
		rows += c.RowCount()
		bytes += c.Size()
	}
	if rows > l.Rows {
		return tooLarge(rows, l.Rows, "rows")
	}
	if bytes > l.Bytes {
		return tooLarge(bytes, l.Bytes, "bytes")
	}
	return nil
}

func (c *Commit) check() error {
	if err := c.Actor.Check(); err != nil {
		return err
	}
	if c.Agenda != nil && c.Agenda.Due < 0 {
		return invalid("an agenda is due at %d: use 0 for never", c.Agenda.Due)
	}
	if len(c.Put)+len(c.Delete) == 0 {
		return nil
	}
	names := make(map[string]struct{}, len(c.Put)+len(c.Delete))
	add := func(name string) error {
		if len(name) == 0 || len(name) > MaxNameBytes {
			return invalid("a row's name has %d bytes: it needs 1 to %d", len(name), MaxNameBytes)
		}
		if _, twice := names[name]; twice {
			return invalid("row %q appears twice in one commit", name)
		}
		names[name] = struct{}{}
		return nil
	}
	for _, r := range c.Put {
		if err := add(r.Name); err != nil {
			return err
		}
	}
	for _, name := range c.Delete {
		if err := add(name); err != nil {
			return err
		}
	}
	return nil
}

// CheckAgenda returns nil, or an error that wraps ErrInvalid when no store can
// list what is asked for.
func CheckAgenda(shard Shard, limit int) error {
	if limit < 1 {
		return invalid("a list of %d agendas: ask for 1 or more", limit)
	}
	return shard.check()
}

// Check returns nil, or an error that wraps ErrInvalid when a cannot name an
// actor.
func (a Actor) Check() error {
	if err := a.Shard.check(); err != nil {
		return err
	}
	if len(a.Key) == 0 || len(a.Key) > MaxKeyBytes {
		return invalid("an actor's key has %d bytes: it needs 1 to %d", len(a.Key), MaxKeyBytes)
	}
	if !utf8.ValidString(a.Key) {
		return invalid("an actor's key is not UTF-8: %q", a.Key)
	}
	return nil
}

// Check returns nil, or an error that wraps ErrInvalid when no store can
// carry s out.
func (s Seal) Check() error {
	if err := s.Shard.check(); err != nil {
		return err
	}
	if s.Fence.Epoch == 0 {
		return invalid("the fence of shard %s has epoch 0: epochs start at 1", s.Shard)
	}
	if n := len(s.Fence.Session); n == 0 || n > MaxSessionBytes {
		return invalid("the fence of shard %s has a session of %d bytes: it needs 1 to %d", s.Shard, n, MaxSessionBytes)
	}
	return nil
}

func (s Shard) check() error {
	switch {
	case len(s.Kind) == 0 || len(s.Kind) > MaxKindBytes:
		return invalid("a kind has %d bytes: it needs 1 to %d", len(s.Kind), MaxKindBytes)
	case !utf8.ValidString(s.Kind) || strings.Contains(s.Kind, "/"):
		return invalid("kind %q is not a full proto name", s.Kind)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

func tooLarge(n, limit int, what string) error {
	return fmt.Errorf("%w: %d %s, of at most %d in one call", ErrTooLarge, n, what, limit)
}
