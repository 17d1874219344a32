package metatest

import (
	"errors"
	"time"

	"github.com/cajun-go/cajun/metadata"
)

func leaseTests() []test {
	return []test{
		{name: "LeaseGrant", run: testGrant},
		{name: "LeaseExpires", run: testExpires},
		{name: "LeaseKeepAlive", run: testKeepAlive},
		{name: "LeaseRevoke", run: testRevoke},
		{name: "LeaseGone", run: testGone},
		{name: "LeaseConditionsComeFirst", run: testConditionsComeFirst},
		{name: "LeaseRebind", run: testRebind},
		{name: "LeaseDeletedKey", run: testDeletedKey},
	}
}

// bind puts a key that is bound to a lease.
func (e *env) bind(name string, id metadata.LeaseID) metadata.Result {
	e.Helper()
	return e.do(metadata.Put(e.key(name), []byte("v"), id))
}

func testGrant(e *env) {
	a, b := e.grant(1500*time.Millisecond), e.grant(time.Minute)
	if a.ID == 0 || b.ID == 0 || a.ID == b.ID {
		e.Errorf("leases %d and %d", a.ID, b.ID)
	}
	if a.TTL < 1500*time.Millisecond || b.TTL < time.Minute {
		e.Errorf("granted %v and %v, less than asked for", a.TTL, b.TTL)
	}
	if b.TTL > time.Minute+time.Second {
		e.Errorf("granted %v for a minute", b.TTL)
	}
	e.bind("k", b.ID)
	if entry, _ := e.get("k"); entry.Lease != b.ID {
		e.Errorf("the entry is bound to %d, want %d", entry.Lease, b.ID)
	}
	for _, ttl := range []time.Duration{0, -time.Second} {
		if lease, err := e.store.Grant(e.Context(), ttl); err == nil {
			e.Errorf("Grant(%v) = %+v, want an error", ttl, lease)
		}
	}
	e.revoke(a.ID)
	e.revoke(b.ID)
}

func testExpires(e *env) {
	began := time.Now()
	lease := e.grant(shortTTL)
	r := e.bind("bound", lease.ID)
	e.bind("bound too", lease.ID)
	e.put("free", "v")
	w := e.watch("", r.Revision)
	for deleted := 0; deleted < 2; {
		ev := w.events(1)[0]
		if !ev.Deleted {
			continue
		}
		deleted++
		if took := time.Since(began); took < lease.TTL {
			e.Errorf("%q expired after %v, before its %v", ev.Entry.Key, took, lease.TTL)
		}
	}
	e.wantAbsent("bound")
	e.wantAbsent("bound too")
	e.wantValue("free", "v")
	if err := e.store.KeepAlive(e.Context(), lease.ID); !errors.Is(err, metadata.ErrLeaseGone) {
		e.Errorf("KeepAlive of an expired lease: %v, want ErrLeaseGone", err)
	}
}

func testKeepAlive(e *env) {
	lease := e.grant(2 * shortTTL)
	r := e.bind("k", lease.ID)
	renewals := time.NewTicker(lease.TTL / 4)
	defer renewals.Stop()
	renewed := time.Now()
	for range 8 {
		select {
		case <-renewals.C:
		case <-e.Context().Done():
			e.Fatal("the test ended")
		}
		previous := renewed
		renewed = time.Now()
		err := e.store.KeepAlive(e.Context(), lease.ID)
		if err != nil && time.Since(previous) > lease.TTL {
			e.Skipf("this machine is too slow to renew a lease of %v in time", lease.TTL)
		}
		if err != nil {
			e.Fatalf("KeepAlive: %v", err)
		}
	}
	e.wantValue("k", "v")
	w := e.watch("", r.Revision)
	if ev := w.events(1)[0]; !ev.Deleted {
		e.Errorf("got %+v, want the deletion", ev)
	}
	if took := time.Since(renewed); took < lease.TTL {
		e.Errorf("expired %v after the last renewal, before its %v", took, lease.TTL)
	}
}

func testRevoke(e *env) {
	lease := e.grant(time.Minute)
	r := e.bind("a", lease.ID)
	e.bind("b", lease.ID)
	e.put("c", "v")
	w := e.watch("", r.Revision)
	w.events(2)
	e.revoke(lease.ID)
	e.wantAbsent("a")
	e.wantAbsent("b")
	e.wantValue("c", "v")
	for _, ev := range w.events(2) {
		if !ev.Deleted {
			e.Errorf("got %+v, want a deletion", ev)
		}
	}
	e.revoke(lease.ID) // no error
	if err := e.store.KeepAlive(e.Context(), lease.ID); !errors.Is(err, metadata.ErrLeaseGone) {
		e.Errorf("KeepAlive of a revoked lease: %v, want ErrLeaseGone", err)
	}
}

func testGone(e *env) {
	revoked := e.grant(time.Minute)
	e.revoke(revoked.ID)
	for name, id := range map[string]metadata.LeaseID{"revoked": revoked.ID, "never granted": 1 << 40} {
		t := metadata.Txn{Then: []metadata.Op{
			metadata.Put(e.key("free"), []byte("v"), 0), metadata.Put(e.key("bound"), []byte("v"), id),
		}}
		if r, err := e.store.Commit(e.Context(), t); !errors.Is(err, metadata.ErrLeaseGone) {
			e.Errorf("Commit with a lease that was %s: %+v, %v; want ErrLeaseGone", name, r, err)
		}
		if err := e.store.KeepAlive(e.Context(), id); !errors.Is(err, metadata.ErrLeaseGone) {
			e.Errorf("KeepAlive of a lease that was %s: %v, want ErrLeaseGone", name, err)
		}
		e.revoke(id)
	}
	if err := e.store.KeepAlive(e.Context(), 0); !errors.Is(err, metadata.ErrLeaseGone) {
		e.Errorf("KeepAlive of no lease: %v, want ErrLeaseGone", err)
	}
	if s := e.list(""); len(s.Entries) != 0 {
		e.Errorf("puts with leases that are gone left %+v", s.Entries)
	}
}

func testConditionsComeFirst(e *env) {
	lease := e.grant(time.Minute)
	e.revoke(lease.ID)
	r := e.commit(metadata.Txn{
		If:   []metadata.Cond{metadata.Present(e.key("none"))},
		Then: []metadata.Op{metadata.Put(e.key("k"), nil, lease.ID)},
	})
	if r.Applied {
		e.Error("applied against its condition")
	}
}

func testRebind(e *env) {
	a, b := e.grant(time.Minute), e.grant(time.Minute)
	e.bind("k", a.ID)
	e.bind("freed", a.ID)
	e.bind("k", b.ID)
	e.bind("freed", 0)
	if entry, _ := e.get("k"); entry.Lease != b.ID {
		e.Errorf("the entry is bound to %d, want %d", entry.Lease, b.ID)
	}
	e.revoke(a.ID)
	e.wantValue("k", "v")
	e.wantValue("freed", "v")
	e.revoke(b.ID)
	e.wantAbsent("k")
	e.wantValue("freed", "v")
}

// testDeletedKey writes a key again, unbound, after its bound life was
// deleted: the old lease must not take the new life.
func testDeletedKey(e *env) {
	lease := e.grant(time.Minute)
	e.bind("k", lease.ID)
	e.delete("k")
	e.put("k", "new")
	e.revoke(lease.ID)
	e.wantValue("k", "new")
}
