package member

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/metadata"
)

func TestJoinAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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

// The deadline counts from when the last acknowledged renewal was sent, and
// lies before the end of the lease.
func TestSuspendsAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t)
		const slow = 700 * time.Millisecond
		var applied time.Time // when the store renewed: that is when it was sent
		w.beforeAck = func() { applied = time.Now(); pass(slow) }
		s := join(t, w, nil)
		for w.renewals.Load() < 2 {
			pass(10 * time.Millisecond)
		}
		w.cut()
		deadline := applied.Add(s.TTL() - s.TTL()/5)
		_, changed := s.State()
		pass(time.Until(deadline) - time.Millisecond)
		wantCheck(t, s, nil)
		pass(time.Millisecond)
		wantCheck(t, s, ErrSuspended)
		<-changed
		if end := applied.Add(s.TTL()); !time.Now().Before(end) {
			t.Error("the lease ended first")
		}
	})
}

// Nobody needs to ask Check for a suspension to be noticed.
func TestSuspensionIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t)
		s := join(t, w, nil)
		_, changed := s.State()
		w.cut()
		begin := time.Now()
		<-changed
		if passed := time.Since(begin); passed > s.TTL()-s.TTL()/5 {
			t.Errorf("announced after %v", passed)
		}
		state, changed := s.State()
		if state.Phase != Suspended || state.Suspensions != 1 {
			t.Fatalf("state %+v", state)
		}
		w.heal() // before the lease ends
		<-changed
		state, _ = s.State()
		if state.Phase != Active || state.Suspensions != 1 {
			t.Fatalf("state %+v", state)
		}
		wantCheck(t, s, nil)
		select {
		case <-s.Done():
			t.Error("Done is closed")
		default:
		}
	})
}

// A lease that can be renewed is not enough to resume: the member key must be
// there, with the same revision.
func TestResumeNeedsTheMemberKey(t *testing.T) {
	for name, op := range map[string]func(s *Session) metadata.Op{
		"deleted":  func(s *Session) metadata.Op { return metadata.Delete(s.Key()) },
		"replaced": func(s *Session) metadata.Op { return metadata.Put(s.Key(), nil, s.Lease()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWire(t)
				w.noWatch.Store(true) // only the read can tell
				s := join(t, w, nil)
				synctest.Wait() // it has listed its key and watches
				w.cut()
				_, changed := s.State()
				<-changed
				ops := []metadata.Op{metadata.Delete(s.Key()), op(s)}
				for _, op := range ops {
					if _, err := w.Store.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{op}}); err != nil {
						t.Fatal(err)
					}
				}
				w.heal()
				<-s.Done()
				wantCheck(t, s, ErrLost)
				if state, _ := s.State(); state.Phase != Lost || !errors.Is(s.Err(), ErrLost) {
					t.Errorf("state %+v, Err %v", state, s.Err())
				}
			})
		})
	}
}

// While the member key cannot be read, renewals alone change nothing.
func TestResumeWaitsForTheRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t)
		clock := newJumpClock()
		s := join(t, w, func(c *Config) { c.Clock = clock })
		w.set(func() { w.onGet = func() error { return errCut } })
		clock.jump(time.Minute, time.Minute, time.Minute)
		before := w.renewals.Load()
		for range 40 {
			wantCheck(t, s, ErrSuspended)
			pass(s.TTL() / 10)
		}
		if w.renewals.Load() == before {
			t.Fatal("no renewal was acknowledged: the test shows nothing")
		}
		w.set(func() { w.onGet = nil })
		pass(s.TTL() / 3)
		wantCheck(t, s, nil)
	})
}

// A read that takes longer than the renewal lasts resumes nothing.
func TestResumeInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t)
		clock := newJumpClock()
		s := join(t, w, func(c *Config) { c.Clock = clock })
		reads := 0
		w.set(func() {
			w.onGet = func() error {
				if reads++; reads <= 3 {
					clock.jump(time.Minute, time.Minute, time.Minute)
				}
				return nil
			}
		})
		clock.jump(time.Minute, time.Minute, time.Minute)
		pass(s.TTL())
		if state, _ := s.State(); state.Phase != Active || state.Suspensions != 1 || reads != 4 {
			t.Errorf("state %+v after %d reads: it resumed without a valid grant", state, reads)
		}
	})
}

// A process that was stopped finds on waking the answer to a renewal that it
// sent before. Neither that answer nor Check may let it pass.
func TestWakingUpWithAnAnswerUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t)
		clock := newJumpClock()
		s := join(t, w, func(c *Config) { c.Clock = clock })
		arrived, release := make(chan struct{}), make(chan struct{})
		w.set(func() {
			w.beforeAck = func() { close(arrived); <-release }
			w.onGet = func() error { return errCut }
		})
		<-arrived
		wantCheck(t, s, nil)
		clock.jump(time.Minute, time.Minute, time.Minute)
		w.set(func() { w.beforeAck = nil })
		close(release)
		synctest.Wait() // nobody has asked Check since the jump
		wantCheck(t, s, ErrSuspended)
		pass(s.TTL())
		wantCheck(t, s, ErrSuspended)
	})
}

// The trust ended and nobody looked before the next renewal was acknowledged.
func TestUnnoticedExpiryStillNeedsTheRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t)
		clock := newJumpClock()
		s := join(t, w, func(c *Config) { c.Clock = clock })
		w.set(func() {
			w.onGet = func() error { return errCut }
			w.beforeAck = func() { pass(10 * time.Millisecond) }
		})
		for n := w.renewals.Load(); w.renewals.Load() == n; {
			pass(time.Millisecond)
		}
		// The next renewal is sent after the jump, so its grant would be good.
		clock.jump(time.Minute, time.Minute, time.Minute)
		for n := w.renewals.Load(); w.renewals.Load() == n; {
			pass(time.Millisecond)
		}
		synctest.Wait()
		wantCheck(t, s, ErrSuspended)
	})
}

func TestClockJumps(t *testing.T) {
	const hour = time.Hour
	for name, tc := range map[string]struct {
		mono, wall, boot time.Duration
		want             error
	}{
		"stopped process":               {hour, hour, hour, ErrSuspended},
		"machine slept":                 {0, hour, hour, ErrSuspended},
		"slept, wall clock set back":    {0, -hour, hour, ErrSuspended},
		"wall clock set forwards":       {0, hour, 0, nil},
		"wall clock set back":           {0, -hour, 0, nil},
		"stopped, wall clock set back":  {hour, -hour, hour, ErrSuspended},
		"stopped, broken boot clock":    {hour, 0, 0, ErrSuspended},
		"short sleep below the margin":  {0, time.Second, time.Second, nil},
		"slewed within the tolerance":   {0, tolerance, hour, nil},
		"sleep just past the tolerance": {0, tolerance + 1, hour, ErrSuspended},
		"slewed across the deadline":    {4*time.Second - 1, 4 * time.Second, 0, ErrSuspended},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := newJumpClock()
				s := join(t, newWire(t), func(c *Config) { c.Clock = clock })
				wantCheck(t, s, nil)
				clock.jump(tc.mono, tc.wall, tc.boot)
				wantCheck(t, s, tc.want)
				pass(s.TTL()) // the discipline runs: the key is there
				wantCheck(t, s, nil)
			})
		})
	}
}

// The boot clock may cost a system call, so it is asked only in doubt.
func TestBootClockIsAskedOnlyInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := newJumpClock()
		s := join(t, newWire(t), func(c *Config) { c.Clock = clock })
		before := clock.boots.Load()
		for range 100 {
			wantCheck(t, s, nil)
		}
		if n := clock.boots.Load() - before; n != 0 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestLostWhenTheMemberKeyIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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

// Check is on the way of every call.
func TestCheckDoesNotAllocate(t *testing.T) {
	w := newWire(t)
	s := join(t, w, nil)
	if n := testing.AllocsPerRun(1000, func() { _ = s.Check() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	g := newGrant(s.clock, time.Hour)
	g.sent.Wall -= time.Minute // in doubt: the boot clock is asked
	if n := testing.AllocsPerRun(1000, func() { _ = g.left(s.clock) }); n != 0 {
		t.Errorf("%v allocations in doubt", n)
	}
}

func BenchmarkCheck(b *testing.B) {
	s := &Session{clock: SystemClock()}
	s.standing.Store(&standing{state: State{Phase: Active}, grant: newGrant(s.clock, time.Hour)})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if s.Check() != nil {
				b.Error("not trusted")
			}
		}
	})
}
