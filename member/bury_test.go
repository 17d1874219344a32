package member

import (
	"errors"
	"testing"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/metadata"
)

func TestBury(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWire(t)
		leader, suspect := join(t, w, nil), join(t, w, nil)
		suspect.Abandon()
		begin := time.Now()
		for range 2 { // the second finds nothing to do
			if err := Bury(t.Context(), w, testSpace(t), suspect.Member(), leader.Present()); err != nil {
				t.Fatal(err)
			}
		}
		if time.Since(begin) != 0 {
			t.Error("it waited for something")
		}
		if _, found, _ := w.Get(t.Context(), suspect.Key()); found {
			t.Error("the member key is still there")
		}
		if err := w.KeepAlive(t.Context(), suspect.Lease()); !errors.Is(err, metadata.ErrLeaseGone) {
			t.Errorf("the lease: %v", err)
		}
	})
}

// Each condition of the burial protects a live session; refused burials leave
// its lease alone.
func TestBuryIsRefused(t *testing.T) {
	unclear := func(metadata.Txn, metadata.Result, error) error { return errCut }
	for name, prepare := range map[string]func(t *testing.T, w *wire, undertaker, suspect *Session) (Member, metadata.Cond){
		"undertaker is no member": func(t *testing.T, _ *wire, undertaker, suspect *Session) (Member, metadata.Cond) {
			if err := undertaker.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			return suspect.Member(), undertaker.Present()
		},
		"suspect changed its record": func(t *testing.T, _ *wire, undertaker, suspect *Session) (Member, metadata.Cond) {
			old := suspect.Member()
			if err := suspect.Update(t.Context(), func(m *Member) { m.Draining = true }); err != nil {
				t.Fatal(err)
			}
			return old, undertaker.Present()
		},
		"unclear and not applied": func(t *testing.T, w *wire, undertaker, suspect *Session) (Member, metadata.Cond) {
			if err := undertaker.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.set(func() { w.onCommit = unclear })
			return suspect.Member(), undertaker.Present()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWire(t)
				undertaker, suspect := join(t, w, nil), join(t, w, nil)
				who, guard := prepare(t, w, undertaker, suspect)
				err := Bury(t.Context(), w, testSpace(t), who, guard)
				want := ErrNotBuried
				if w.onCommit != nil {
					want = errCut
				}
				if !errors.Is(err, want) {
					t.Fatalf("Bury: %v, want %v", err, want)
				}
				pass(3 * suspect.TTL())
				wantCheck(t, suspect, nil)
			})
		})
	}
}

// A burial whose answer was lost is completed.
func TestBuryAfterAnUnclearCommit(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWire(t)
		undertaker, suspect := join(t, w, nil), join(t, w, nil)
		suspect.Abandon()
		w.set(func() { w.onCommit = func(metadata.Txn, metadata.Result, error) error { return errCut } })
		if err := Bury(t.Context(), w, testSpace(t), suspect.Member(), undertaker.Present()); err != nil {
			t.Fatal(err)
		}
		if err := w.KeepAlive(t.Context(), suspect.Lease()); !errors.Is(err, metadata.ErrLeaseGone) {
			t.Errorf("the lease: %v", err)
		}
	})
}

// A live process that is buried by mistake stops by itself.
func TestTheBuriedLearnOfIt(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWire(t)
		undertaker, suspect := join(t, w, nil), join(t, w, nil)
		if err := Bury(t.Context(), w, testSpace(t), suspect.Member(), undertaker.Present()); err != nil {
			t.Fatal(err)
		}
		<-suspect.Done()
		wantCheck(t, suspect, ErrLost)
		wantCheck(t, undertaker, nil)
	})
}
