package member

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/metadata"
)

// The deadline counts from when the last acknowledged renewal was sent, and
// lies before the end of the lease.
func TestSuspendsAtTheDeadline(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
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
			bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
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
			bubble.Test(t, func(t *testing.T) {
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
	bubble.Test(t, func(t *testing.T) {
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
