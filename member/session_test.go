package member

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/metadata"
)

func TestJoinAndClose(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWire(t)
		s := join(t, w, nil)
		e, found, err := w.Get(t.Context(), s.Key())
		if err != nil || !found {
			t.Fatalf("member key: %v, %v", found, err)
		}
		if e.Created != s.Created() || e.Lease != s.Lease() || e.Lease == 0 {
			t.Fatalf("entry %+v does not belong to session created at %d with lease %d", e, s.Created(), s.Lease())
		}
		m, err := Decode(s.ID(), e)
		if err != nil || !m.Hosts("k") || m.Hosts("other") || m.Created != s.Created() {
			t.Fatalf("decoded %+v, %v", m, err)
		}
		if id := s.ID(); len(id) != 26 || id != strings.ToLower(id) {
			t.Errorf("session ID %q", id)
		}
		wantCheck(t, s, nil)

		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatalf("second Close: %v", err)
		}
		<-s.Done()
		wantCheck(t, s, ErrClosed)
		if s.Err() != nil {
			t.Errorf("Err() = %v after Close", s.Err())
		}
		if _, found, _ := w.Get(t.Context(), s.Key()); found {
			t.Error("the member key outlives Close")
		}
		if n := w.revoked.Load(); n != 1 {
			t.Errorf("revoked %d times", n)
		}
	})
}

func TestJoinRefuses(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWire(t)
		for name, cfg := range map[string]Config{
			"short TTL": {Store: w, TTL: MinTTL - 1},
			"no store":  {},
			"weight":    {Store: w, Member: Member{Weight: -1}},
		} {
			cfg.Space = testSpace(t)
			if s, err := Join(t.Context(), cfg); err == nil {
				s.Abandon()
				t.Errorf("%s: joined", name)
			}
		}
	})
}

// A member key whose session does not know that it exists must not live on.
func TestJoinCleansUpAfterAnUnclearCommit(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWire(t)
		w.onCommit = func(metadata.Txn, metadata.Result, error) error { return errCut }
		if _, err := Join(t.Context(), Config{Store: w, Space: testSpace(t)}); !errors.Is(err, errCut) {
			t.Fatalf("Join: %v", err)
		}
		snap, err := w.List(t.Context(), testSpace(t).Members())
		if err != nil || len(snap.Entries) != 0 {
			t.Fatalf("left behind: %v, %v", snap.Entries, err)
		}
	})
}

func TestSessionOutlivesManyTTLs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := join(t, newWire(t), nil)
		state, changed := s.State()
		for range 50 {
			pass(s.TTL() / 3)
			wantCheck(t, s, nil)
		}
		select {
		case <-changed:
			t.Error("the state changed")
		default:
		}
		if state.Suspensions != 0 {
			t.Errorf("%d suspensions", state.Suspensions)
		}
	})
}

func TestLostWhenTheMemberKeyIsDeleted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWire(t)
		s := join(t, w, nil)
		synctest.Wait()
		begin := time.Now()
		if _, err := w.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Delete(s.Key())}}); err != nil {
			t.Fatal(err)
		}
		<-s.Done()
		if d := time.Since(begin); d > 100*time.Millisecond {
			t.Errorf("noticed after %v", d)
		}
		wantCheck(t, s, ErrLost)
		synctest.Wait()
		if err := w.KeepAlive(t.Context(), s.Lease()); !errors.Is(err, metadata.ErrLeaseGone) {
			t.Errorf("the lease lives on: %v", err)
		}
		if err := s.Update(t.Context(), func(*Member) {}); !errors.Is(err, ErrLost) {
			t.Errorf("Update: %v", err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		wantCheck(t, s, ErrLost)
	})
}

// The watch may first see the member key when it has been replaced already.
func TestLostWhenTheWatchFindsAnotherKey(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWire(t)
		for name, tell := range map[string]func(ownKey, metadata.Entry){
			"reset": func(o ownKey, e metadata.Entry) { o.Reset(metadata.Snapshot{Entries: []metadata.Entry{e}}) },
			"apply": func(o ownKey, e metadata.Entry) { o.Apply(metadata.Batch{Events: []metadata.Event{{Entry: e}}}) },
		} {
			s := join(t, w, nil)
			synctest.Wait()
			tell(ownKey{s}, metadata.Entry{Key: s.Key(), Created: s.Created(), Modified: s.Created() + 1})
			tell(ownKey{s}, metadata.Entry{Key: s.Key(), Created: s.Created()})
			if wantCheck(t, s, nil); t.Failed() {
				t.Fatalf("%s: lost to its own key", name)
			}
			tell(ownKey{s}, metadata.Entry{Key: s.Key(), Created: s.Created() + 1})
			wantCheck(t, s, ErrLost)
		}
	})
}

func TestLostWhenTheLeaseExpired(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWire(t)
		w.noWatch.Store(true)
		s := join(t, w, nil)
		synctest.Wait() // it has listed its key and watches
		w.cut()
		pass(3 * s.TTL())
		wantPhase(t, s, Suspended)
		w.heal()
		<-s.Done()
		wantCheck(t, s, ErrLost)
		if !errors.Is(s.Err(), metadata.ErrLeaseGone) {
			t.Errorf("Err() = %v", s.Err())
		}
	})
}

func TestAbandonLeavesTheKeyToTheLease(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWire(t)
		s := join(t, w, nil)
		s.Abandon()
		wantCheck(t, s, ErrClosed)
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, found, _ := w.Get(t.Context(), s.Key()); !found {
			t.Error("the member key went with Abandon")
		}
		pass(s.TTL() + time.Second)
		if _, found, _ := w.Get(t.Context(), s.Key()); found {
			t.Error("the member key outlives its lease")
		}
	})
}

func TestCloseCanBeTriedAgain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWire(t)
		s := join(t, w, nil)
		w.cut()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Close(ctx); err == nil {
			t.Fatal("Close succeeded without the store")
		}
		wantCheck(t, s, ErrClosed)
		w.heal()
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, found, _ := w.Get(t.Context(), s.Key()); found {
			t.Error("the member key is still there")
		}
	})
}

func TestUpdate(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWire(t)
		s := join(t, w, nil)
		const writers = 20
		var work sync.WaitGroup
		for range writers {
			work.Go(func() {
				if err := s.Update(t.Context(), func(m *Member) { m.Weight++; m.Draining = true }); err != nil {
					t.Error(err)
				}
			})
		}
		work.Wait()
		e, _, err := w.Get(t.Context(), s.Key())
		if err != nil {
			t.Fatal(err)
		}
		m, err := Decode(s.ID(), e)
		if err != nil || m.Weight != writers || !m.Draining || m.Created != s.Created() || m.Lease != s.Lease() {
			t.Fatalf("%+v, %v", m, err)
		}
		if got := s.Member(); got.Modified != e.Modified || got.Weight != writers {
			t.Errorf("Member() = %+v", got)
		}
		wantCheck(t, s, nil)
		if err := s.Update(t.Context(), func(m *Member) { m.Weight = -1 }); err == nil {
			t.Error("a record that nobody can read was written")
		}
	})
}

// An update that somebody else's write overtook is made anew.
func TestUpdateComparesItsKey(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWire(t)
		s := join(t, w, nil)
		calls := 0
		err := s.Update(t.Context(), func(m *Member) {
			if calls++; calls == 1 {
				other := *m
				other.Name = "other"
				value, err := other.Encode()
				if err != nil {
					t.Fatal(err)
				}
				put := metadata.Put(s.Key(), value, s.Lease())
				if _, err := w.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{put}}); err != nil {
					t.Fatal(err)
				}
			}
			m.Draining = true
		})
		if m := s.Member(); err != nil || calls != 2 || m.Name != "other" || !m.Draining {
			t.Errorf("%d calls, %+v, %v", calls, m, err)
		}
		old := s.Member()
		old.Name, old.Modified = "old", old.Modified-1
		if s.remember(&old); s.Member().Name != "other" {
			t.Error("an earlier record replaced a later one")
		}
	})
}
