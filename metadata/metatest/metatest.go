// Package metatest is the suite that every metadata.Store passes.
package metatest

import (
	"bytes"
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/metadata"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// shortTTL is the lease that tests ask for when they wait for its end.
const shortTTL = time.Second

// Compacter is an optional interface of a store under test: forget the
// changes below revision.
type Compacter interface {
	Compact(ctx context.Context, revision int64) error
}

// Option changes how Run tests.
type Option func(*config)

type config struct{ fakeTime bool }

// WithFakeTime runs every test in a testing/synctest bubble of its own, for
// stores that live in this process and take their time from package time.
func WithFakeTime() Option { return func(c *config) { c.fakeTime = true } }

// Run tests the stores that open makes. Every test calls open once, and may
// close the store; open closes it with t.Cleanup. Stores may share what is
// behind them, as each test keeps to keys of its own, but nothing may be
// compacted meanwhile. Tests of one Run are parallel unless time is fake.
//
// A store that implements Compacter gets the tests of compaction too; these
// come after all others have ended.
func Run(t *testing.T, open func(testing.TB) metadata.Store, opts ...Option) {
	var c config
	for _, opt := range opts {
		opt(&c)
	}
	c.run(t, "Shared", open, tests())
	c.run(t, "Compacting", open, compactingTests())
}

// run runs some tests, and ends when all of them have.
func (c config) run(t *testing.T, group string, open func(testing.TB) metadata.Store, tests []test) {
	t.Run(group, func(t *testing.T) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				body := func(t *testing.T) {
					test.run(&env{TB: t, store: open(t), prefix: "/metatest/" + rand.Text() + "/"})
				}
				if c.fakeTime {
					bubble.Test(t, body)
					return
				}
				t.Parallel()
				body(t)
			})
		}
	})
}

// test is one test of the suite.
type test struct {
	name string
	run  func(*env)
}

func tests() []test {
	var all []test
	for _, some := range [][]test{readTests(), txnTests(), leaseTests(), watchTests(), concurrencyTests(), endTests()} {
		all = append(all, some...)
	}
	return all
}

// env is what one test works with.
type env struct {
	testing.TB
	store  metadata.Store
	prefix string
}

// key returns a key of the test's own.
func (e *env) key(name string) string { return e.prefix + name }

// commit commits what must not fail.
func (e *env) commit(t metadata.Txn) metadata.Result {
	e.Helper()
	r, err := e.store.Commit(e.Context(), t)
	if err != nil {
		e.Fatalf("Commit(%+v): %v", t, err)
	}
	return r
}

// do commits operations without conditions.
func (e *env) do(ops ...metadata.Op) metadata.Result {
	e.Helper()
	r := e.commit(metadata.Txn{Then: ops})
	if !r.Applied {
		e.Fatalf("Commit(%+v) without conditions was not applied", ops)
	}
	return r
}

// put writes one key.
func (e *env) put(name, value string) metadata.Result {
	e.Helper()
	return e.do(metadata.Put(e.key(name), []byte(value), 0))
}

// delete deletes one key.
func (e *env) delete(name string) metadata.Result {
	e.Helper()
	return e.do(metadata.Delete(e.key(name)))
}

// get reads one key.
func (e *env) get(name string) (metadata.Entry, bool) {
	e.Helper()
	entry, found, err := e.store.Get(e.Context(), e.key(name))
	if err != nil {
		e.Fatalf("Get(%q): %v", name, err)
	}
	return entry, found
}

// list lists under a part of the test's keys.
func (e *env) list(prefix string) metadata.Snapshot {
	e.Helper()
	s, err := e.store.List(e.Context(), e.key(prefix))
	if err != nil {
		e.Fatalf("List(%q): %v", prefix, err)
	}
	return s
}

// wantValue expects a key with a value.
func (e *env) wantValue(name, value string) {
	e.Helper()
	if entry, found := e.get(name); !found || string(entry.Value) != value {
		e.Errorf("Get(%q) = %q, found %v; want %q", name, entry.Value, found, value)
	}
}

// wantAbsent expects no such key.
func (e *env) wantAbsent(name string) {
	e.Helper()
	if entry, found := e.get(name); found {
		e.Errorf("Get(%q) = %+v, want nothing", name, entry)
	}
}

// wantEntry expects an entry as it was written.
func (e *env) wantEntry(got, want metadata.Entry) {
	e.Helper()
	if got.Key != want.Key || !bytes.Equal(got.Value, want.Value) || got.Created != want.Created ||
		got.Modified != want.Modified || got.Lease != want.Lease {
		e.Errorf("got the entry %+v, want %+v", got, want)
	}
}

// grant grants a lease.
func (e *env) grant(ttl time.Duration) metadata.Lease {
	e.Helper()
	lease, err := e.store.Grant(e.Context(), ttl)
	if err != nil {
		e.Fatalf("Grant(%v): %v", ttl, err)
	}
	return lease
}

// revoke revokes a lease.
func (e *env) revoke(id metadata.LeaseID) {
	e.Helper()
	if err := e.store.Revoke(e.Context(), id); err != nil {
		e.Fatalf("Revoke: %v", err)
	}
}
