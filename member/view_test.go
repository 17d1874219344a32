package member

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/metadata"
)

func newView(t *testing.T, store metadata.Store) *View {
	t.Helper()
	v, err := NewView(t.Context(), store, testSpace(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func sessions(ms []Member) []string {
	ids := make([]string, 0, len(ms))
	for _, m := range ms {
		ids = append(ids, m.Session)
	}
	return ids
}

func TestViewFollowsTheMembers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWire(t)
		a := join(t, w, nil)
		v := newView(t, w)
		if got := sessions(v.Live()); !slices.Equal(got, []string{a.ID()}) {
			t.Fatalf("loaded %v", got)
		}
		synctest.Wait() // the watch is on
		before, changed := v.Snapshot(), v.Changed()
		b := join(t, w, nil)
		<-changed
		if got := sessions(v.Live()); !slices.Equal(got, []string{a.ID(), b.ID()}) {
			t.Fatalf("after a join %v", got)
		}
		if _, ok := before.Get(b.ID()); ok || len(before.Live()) != 1 || v.Generation() != before.Generation()+1 {
			t.Errorf("the old snapshot changed, or the generation %d did not", v.Generation())
		}
		if m, ok := v.Get(b.ID()); !ok || m.Created != b.Created() || m.Lease != b.Lease() {
			t.Errorf("Get = %+v, %v", m, ok)
		}
		if err := b.Update(t.Context(), func(m *Member) { m.Draining = true }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if m, _ := v.Get(b.ID()); !m.Draining {
			t.Error("an update is not seen")
		}
		a.Abandon()
		snap, err := v.Wait(t.Context(), func(s *Snapshot) bool { _, ok := s.Get(a.ID()); return !ok })
		if err != nil || !slices.Equal(sessions(snap.Live()), []string{b.ID()}) {
			t.Fatalf("after a crash %v, %v", sessions(snap.Live()), err)
		}
	})
}

func TestViewWaitEnds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		v := newView(t, newWire(t))
		never := func(*Snapshot) bool { return false }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Wait(ctx, never); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait: %v", err)
		}
		v.Close()
		if _, err := v.Wait(t.Context(), never); err == nil {
			t.Error("Wait on a closed view")
		}
	})
}

// Sync does not wait for a watch that has nothing to tell, and what the watch
// brings late does not turn the view back.
func TestViewSync(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWire(t)
		w.noWatch.Store(true)
		a := join(t, w, nil)
		v := newView(t, w)
		synctest.Wait()
		a.Abandon()
		pass(a.TTL() + time.Second)
		if _, ok := v.Get(a.ID()); !ok {
			t.Fatal("the view is not behind: the test shows nothing")
		}
		res, err := w.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Put("elsewhere", nil, 0)}})
		if err != nil {
			t.Fatal(err)
		}
		snap, err := v.Sync(t.Context(), res.Revision)
		if err != nil || snap.Revision() < res.Revision {
			t.Fatalf("Sync: revision %d of %d, %v", snap.Revision(), res.Revision, err)
		}
		if _, ok := snap.Get(a.ID()); ok {
			t.Error("a dead member is still there")
		}
		v.apply(metadata.Batch{
			Revision: a.Created(),
			Events:   []metadata.Event{{Entry: metadata.Entry{Key: a.Key(), Created: a.Created(), Modified: a.Created()}}},
		})
		v.reset(metadata.Snapshot{Revision: a.Created()})
		if _, ok := v.Get(a.ID()); ok || v.Revision() < res.Revision {
			t.Error("the view went back")
		}
		if _, err := v.Sync(t.Context(), res.Revision+100); err == nil {
			t.Error("Sync to a revision that the store does not know")
		}
	})
}

func TestViewKeepsADamagedMember(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWire(t)
		v := newView(t, w)
		key := testSpace(t).Member("odd")
		if _, err := w.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Put(key, []byte{0xff}, 0)}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if m, ok := v.Get("odd"); !ok || !m.ClientOnly || m.Created == 0 {
			t.Errorf("%+v, %v", m, ok)
		}
	})
}

func TestViewOfAClosedStore(t *testing.T) {
	w := newWire(t)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := NewView(t.Context(), w, testSpace(t), nil); !errors.Is(err, metadata.ErrClosed) {
		t.Errorf("NewView: %v", err)
	}
}
