package placement

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/state"
)

func TestFirstUse(t *testing.T) {
	run(t, 2, 8, func(t *testing.T, c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		if len(a.manager.Owned())+len(b.manager.Owned()) != 0 {
			t.Error("never-claimed shards were claimed unasked")
		}
		rec := a.mustClaim(shard(3))
		if rec.Epoch != 1 {
			t.Errorf("the first epoch is %d", rec.Epoch)
		}
		c.check(shard(3), a)
		if got, ok := a.table.Lookup(testKind, 3); !ok || got != rec {
			t.Errorf("the table shows %+v", got)
		}
		// Whoever comes second is sent to the first.
		if got, err := b.claim(shard(3)); err != nil || got != rec {
			t.Errorf("Claim by another = %+v, %v, want the record", got, err)
		}
		if got, err := a.claim(shard(3)); err != nil || got != rec {
			t.Errorf("Claim of an own shard = %+v, %v", got, err)
		}
		c.check(shard(3), a)
		b.manager.mu.Lock()
		defer b.manager.mu.Unlock()
		if n := len(b.manager.slots); n > 0 {
			t.Errorf("the other node keeps %d slots for nothing", n)
		}
	})
}

// Two nodes that claim one shard at the same moment: one gets it, and both are
// told which.
func TestFirstUseRace(t *testing.T) {
	run(t, 3, 100, func(t *testing.T, c *cluster) {
		var work sync.WaitGroup
		for i := range c.shards {
			for _, n := range c.nodes {
				work.Go(func() {
					if rec, err := n.claim(shard(i)); err != nil || rec.Phase != Open {
						t.Errorf("%s: %+v, %v", n.name, rec, err)
					}
				})
			}
		}
		work.Wait()
		synctest.Wait()
		for i := range c.shards {
			rec, _ := c.record(shard(i))
			c.check(shard(i), c.bySession(rec.Owner))
			if rec.Epoch != 1 {
				t.Errorf("shard %d was claimed %d times", i, rec.Epoch)
			}
		}
	})
}

func TestClaimsAreBatched(t *testing.T) {
	run(t, 1, 1000, func(t *testing.T, c *cluster) {
		a := c.nodes[0]
		a.store.hook(slowly)
		a.fences.delay = time.Millisecond
		c.claimAll()
		if n := len(a.manager.Owned()); n != 1000 {
			t.Fatalf("%d shards are owned", n)
		}
		if a.store.commits > 60 || a.fences.calls > 60 {
			t.Errorf("%d transactions and %d seals for 1000 claims", a.store.commits, a.fences.calls)
		}
	})
}

// slowly commits in a millisecond.
func slowly(ctx context.Context, txn metadata.Txn, commit commitFunc) (metadata.Result, error) {
	<-time.After(time.Millisecond)
	return commit(ctx, txn)
}

// A full batch of claims, each with all the conditions that there are, fits
// into one transaction.
func TestFullBatchFitsTheStore(t *testing.T) {
	run(t, 1, batchSize, func(t *testing.T, c *cluster) {
		m := c.nodes[0].manager
		m.Close() // so that it claims nothing by itself
		m.ctx = t.Context()
		var group []write
		for i := range batchSize {
			orphan := Record{Owner: fmt.Sprint("gone ", i), Epoch: 1, Phase: Open}
			orphan.Modified = putRecord(t, c.meta, c.space, testKind, uint32(i), orphan)
			value, err := orphan.Claimed(m.me, 0).Encode()
			if err != nil {
				t.Fatal(err)
			}
			group = append(group, write{
				conds: claimConditions(c.space, shard(i), m.me, m.session.Present(), orphan, true),
				op:    metadata.Put(c.space.Shard(testKind, uint32(i)), value, 0),
				done:  make(chan writeResult, 1),
			})
		}
		m.commit(group)
		for i, w := range group {
			if res := <-w.done; res.err != nil || !res.applied {
				t.Errorf("claim %d: %+v", i, res)
			}
		}
		if n := c.nodes[0].store.commits; n != 1 {
			t.Errorf("%d transactions", n)
		}
	})
}

// One claim of a batch that must be refused takes no other with it.
func TestBatchWithARefusedClaim(t *testing.T) {
	run(t, 2, 64, func(t *testing.T, c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		var once sync.Once
		a.store.hook(func(ctx context.Context, txn metadata.Txn, commit commitFunc) (metadata.Result, error) {
			once.Do(func() { b.mustClaim(shard(20)) })
			return commit(ctx, txn)
		})
		var work sync.WaitGroup
		for i := range c.shards {
			work.Go(func() {
				rec, err := a.claim(shard(i))
				if err != nil || (rec.Owner == b.session.ID()) != (i == 20) {
					t.Errorf("shard %d: %+v, %v", i, rec, err)
				}
			})
		}
		work.Wait()
		synctest.Wait()
		c.check(shard(20), b)
		c.check(shard(19), a)
	})
}

type commitFunc = func(context.Context, metadata.Txn) (metadata.Result, error)

func TestCrashOrphansAreTakenOver(t *testing.T) {
	run(t, 3, 300, func(t *testing.T, c *cluster) {
		for _, n := range c.nodes {
			n.store.hook(func(ctx context.Context, txn metadata.Txn, commit commitFunc) (metadata.Result, error) {
				res, err := slowly(ctx, txn, commit)
				if err != nil && !n.dead() {
					t.Errorf("a transaction of %d conditions: %v", len(txn.If), err)
				}
				return res, err
			})
		}
		c.claimAll()
		before := c.loads()
		crashed := c.nodes[1]
		var lost []state.Shard
		epochs := make(map[state.Shard]uint64)
		for s, e := range crashed.manager.Owned() {
			lost = append(lost, s)
			epochs[s] = e
		}
		if len(lost) == 0 {
			t.Fatal("the node had nothing")
		}
		crashed.crash()
		c.settle(crashed.session.TTL() + 50*time.Millisecond) // the first turn is at once
		loads := c.loads()
		if sum(loads) != 300 {
			t.Errorf("loads after the crash: %v, before: %v", loads, before)
		}
		for _, l := range loads {
			if l < 135 || l > 165 {
				t.Errorf("loads are out of bounds: %v", loads)
			}
		}
		for _, s := range lost {
			rec, _ := c.record(s)
			if rec.Epoch != epochs[s]+1 {
				t.Errorf("%s: epoch %d after %d", s, rec.Epoch, epochs[s])
			}
			c.check(s, c.bySession(rec.Owner))
			if err := crashed.load(s, epochs[s]); !isFenced(err) {
				t.Errorf("%s: the fence lets the dead owner read: %v", s, err)
			}
		}
	})
}

func isFenced(err error) bool {
	var fenced *state.FencedError
	return errors.As(err, &fenced)
}

// Orphans are claimed unasked after a full restart; shards that were never used
// stay free.
func TestFullRestart(t *testing.T) {
	run(t, 2, 64, func(t *testing.T, c *cluster) {
		for i := range 40 {
			if _, err := c.nodes[i%2].claim(shard(i)); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range c.nodes {
			n.crash()
		}
		c.settle(time.Minute)
		c.add()
		c.add()
		c.settle(5 * time.Second)
		if loads := c.loads(); sum(loads) != 40 {
			t.Errorf("loads after the restart: %v, want 40 in all", loads)
		}
		for i := range 40 {
			rec, _ := c.record(shard(i))
			c.check(shard(i), c.bySession(rec.Owner))
		}
	})
}

// When the first in line cannot reach the stores, the next takes its turn.
func TestTurns(t *testing.T) {
	run(t, 4, 60, func(t *testing.T, c *cluster) {
		c.claimAll()
		crashed, mute := c.nodes[0], c.nodes[1]
		mute.store.hook(func(context.Context, metadata.Txn, commitFunc) (metadata.Result, error) {
			return metadata.Result{}, errLie
		})
		lost := crashed.manager.Owned()
		crashed.crash()
		c.settle(crashed.session.TTL() + 50*time.Millisecond)
		waiting := 0
		for s := range lost {
			if rec, _ := c.record(s); rec.Owner == crashed.session.ID() {
				waiting++
			}
		}
		if waiting == 0 || waiting == len(lost) {
			t.Fatalf("%d of %d orphans wait for the mute node's turn to pass", waiting, len(lost))
		}
		c.settle(turnTime)
		for s := range lost {
			rec, _ := c.record(s)
			if n := c.bySession(rec.Owner); n == crashed || n == mute {
				t.Errorf("%s is still %s's", s, n.name)
			} else {
				c.check(s, n)
			}
		}
		mute.store.hook(nil)
	})
}

func TestMove(t *testing.T) {
	run(t, 2, 8, func(t *testing.T, c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		a.mustClaim(shard(1))
		a.took()
		c.move(shard(1), b)
		synctest.Wait()
		c.check(shard(1), b)
		if calls := a.took(); !slices.Equal(calls, []string{"1 drain 1", "1 drop 1"}) {
			t.Errorf("the old host was told %q", calls)
		}
		if calls := b.took(); !slices.Equal(calls, []string{"1 serve 2"}) {
			t.Errorf("the new host was told %q", calls)
		}
		if err := a.load(shard(1), 1); !isFenced(err) {
			t.Errorf("the fence lets the old owner read: %v", err)
		}
	})
}

// A host that is slow to finish delays its own shard, up to drainTimeout, and no
// other one.
func TestSlowDrainDelaysNobodyElse(t *testing.T) {
	run(t, 2, 8, func(t *testing.T, c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		for i := range 8 {
			a.mustClaim(shard(i))
		}
		a.onDrain = func(ctx context.Context, s state.Shard) {
			if s.Number == 1 {
				<-ctx.Done()
			}
		}
		start := time.Now()
		for i := range 8 {
			c.move(shard(i), b)
		}
		synctest.Wait()
		for i := range 8 {
			if i == 1 {
				// While it drains, whoever asks is told where it goes.
				if rec, err := a.claim(shard(1)); err != nil || rec.Phase != Draining || rec.Target != b.session.ID() {
					t.Errorf("Claim while draining = %+v, %v", rec, err)
				}
				continue
			}
			c.check(shard(i), b)
		}
		c.settle(drainTimeout - time.Since(start))
		c.check(shard(1), b)
	})
}

func TestTargetDiesWhileDraining(t *testing.T) {
	run(t, 2, 8, func(t *testing.T, c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		a.mustClaim(shard(1))
		finish := make(chan struct{})
		a.onDrain = func(context.Context, state.Shard) { <-finish }
		c.move(shard(1), b)
		synctest.Wait()
		b.crash()
		bury(c, b)
		a.took()
		close(finish)
		synctest.Wait()
		c.check(shard(1), a)
		if calls := a.took(); !slices.Equal(calls, []string{"1 serve 1"}) {
			t.Errorf("the host was told %q, want to serve on under the same epoch", calls)
		}
	})
}

// bury deletes a member key, as the leader does for a dead process.
func bury(c *cluster, n *node) {
	c.t.Helper()
	if err := c.meta.Revoke(c.t.Context(), n.session.Lease()); err != nil {
		c.t.Fatal(err)
	}
	synctest.Wait()
}

// A released shard whose target dies before it claims is anyone's.
func TestTargetDiesBeforeItClaims(t *testing.T) {
	run(t, 3, 8, func(t *testing.T, c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		a.mustClaim(shard(1))
		b.store.hook(func(context.Context, metadata.Txn, commitFunc) (metadata.Result, error) {
			return metadata.Result{}, errLie
		})
		c.move(shard(1), b)
		synctest.Wait()
		if rec, _ := c.record(shard(1)); rec.Phase != Released || rec.Target != b.session.ID() {
			t.Fatalf("the record is %+v", rec)
		}
		if rec, err := a.claim(shard(1)); err != nil || rec.Phase != Released {
			t.Errorf("Claim of a shard released to another = %+v, %v, want its record", rec, err)
		}
		b.crash()
		bury(c, b)
		c.settle(2 * turnTime)
		rec, _ := c.record(shard(1))
		if rec.Owner == b.session.ID() || rec.Epoch != 2 {
			t.Fatalf("the record is %+v", rec)
		}
		c.check(shard(1), c.bySession(rec.Owner))
	})
}

// An owner whose view does not show the target yet asks the store before it
// calls the move off.
func TestTargetThatTheOwnerDoesNotKnow(t *testing.T) {
	run(t, 2, 8, func(t *testing.T, c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		a.mustClaim(shard(1))
		a.view.Close() // it sees nobody from now on
		late := c.add()
		c.move(shard(1), late)
		synctest.Wait()
		c.check(shard(1), late)
		_ = b
	})
}

// An owner that the view does not show is not taken for dead: the store knows.
func TestOwnerThatTheViewDoesNotShow(t *testing.T) {
	run(t, 1, 8, func(t *testing.T, c *cluster) {
		a := c.nodes[0]
		a.view.Close()
		late := c.add()
		want := late.mustClaim(shard(1))
		synctest.Wait()
		for range 3 {
			if rec, err := a.claim(shard(1)); err != nil || rec != want {
				t.Errorf("Claim = %+v, %v, want the owner's record", rec, err)
			}
		}
		c.settle(10 * time.Second)
		c.check(shard(1), late)
		if n := a.store.commits; n > 20 {
			t.Errorf("%d attempts to claim what has an owner", n)
		}
	})
}

func TestTargetThatDoesNotHost(t *testing.T) {
	run(t, 1, 8, func(t *testing.T, c *cluster) {
		a := c.nodes[0]
		a.mustClaim(shard(1))
		other := c.addWith(func(cfg *member.Config) { cfg.Member.Kinds = nil })
		c.move(shard(1), other)
		synctest.Wait()
		c.check(shard(1), a)
		if rec, _ := c.record(shard(1)); rec.Epoch != 1 {
			t.Errorf("epoch %d: it was handed over to a node that cannot take it", rec.Epoch)
		}
		if rec, err := other.claim(shard(1)); err != nil || rec.Owner != a.session.ID() {
			t.Errorf("Claim by a node that does not host = %+v, %v, want the owner's record", rec, err)
		}
		if _, err := other.claim(shard(2)); !errors.Is(err, ErrNotHosted) {
			t.Errorf("Claim by a node that does not host: %v", err)
		}
	})
}

func TestUnsealedShardIsReleasedToAnyone(t *testing.T) {
	run(t, 2, 8, func(t *testing.T, c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		a.fences.setDown(true)
		start := time.Now()
		if rec, err := a.claim(shard(1)); !errors.Is(err, ErrUnsealed) || rec.Phase != Released || rec.Target != "" {
			t.Errorf("Claim = %+v, %v, want a release", rec, err)
		}
		if took := time.Since(start); took < sealTimeout || took > sealTimeout+time.Second {
			t.Errorf("it took %v", took)
		}
		synctest.Wait()
		c.check(shard(1), b) // whose turn is before that of who let go
		if calls := a.took(); len(calls) > 0 {
			t.Errorf("the host was told %q of a shard without a fence", calls)
		}
		a.fences.setDown(false)
	})
}

// With nobody else there, the one that let go tries again.
func TestUnsealedShardIsTriedAgain(t *testing.T) {
	run(t, 1, 8, func(t *testing.T, c *cluster) {
		a := c.nodes[0]
		a.fences.setDown(true)
		if _, err := a.claim(shard(1)); !errors.Is(err, ErrUnsealed) {
			t.Errorf("Claim: %v", err)
		}
		a.fences.setDown(false)
		c.settle(10 * time.Second)
		c.check(shard(1), a)
	})
}

// After the metadata store was restored, records are older than fences.
func TestRefusedSealClaimsAboveTheFence(t *testing.T) {
	run(t, 2, 8, func(t *testing.T, c *cluster) {
		for i := range 8 {
			fence := state.Fence{Epoch: uint64(i * 100), Session: "of the past"}
			if i > 0 {
				if err := c.state.Seal(t.Context(), []state.Seal{{Shard: shard(i), Fence: fence}})[0]; err != nil {
					t.Fatal(err)
				}
			}
		}
		a := c.nodes[0]
		for i := range 8 {
			if rec := a.mustClaim(shard(i)); rec.Epoch != uint64(i*100)+1 {
				t.Errorf("shard %d: epoch %d", i, rec.Epoch)
			}
			c.check(shard(i), a)
		}
		if a.store.commits > 2*8 {
			t.Errorf("%d transactions to get above 8 fences", a.store.commits)
		}
	})
}

// A record that is gone names nobody.
func TestLostRecordDropsTheShard(t *testing.T) {
	run(t, 2, 8, func(t *testing.T, c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		a.mustClaim(shard(1))
		if _, err := c.meta.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Delete(c.space.Shard(testKind, 1))}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if a.serves(shard(1)) != 0 {
			t.Error("a shard without a record is served")
		}
		if rec := b.mustClaim(shard(1)); rec.Epoch != 2 {
			t.Errorf("the new epoch is %d, want one above the fence", rec.Epoch)
		}
	})
}

func TestClaimThatTimedOutButApplied(t *testing.T) {
	for _, when := range []string{"before the error", "after the error", "never"} {
		t.Run(when, func(t *testing.T) {
			run(t, 2, 8, func(t *testing.T, c *cluster) {
				a := c.nodes[0]
				lies := 0
				a.store.hook(func(ctx context.Context, txn metadata.Txn, commit commitFunc) (metadata.Result, error) {
					if lies++; lies > 1 {
						return commit(ctx, txn)
					}
					switch when {
					case "before the error":
						if res, err := commit(ctx, txn); err != nil || !res.Applied {
							t.Errorf("the lie was none: %+v, %v", res, err)
						}
					case "after the error":
						time.AfterFunc(time.Second, func() { commit(context.Background(), txn) })
					}
					return metadata.Result{}, errLie
				})
				rec := a.mustClaim(shard(1))
				if want := map[string]uint64{"before the error": 2, "after the error": 1, "never": 1}[when]; rec.Epoch != want {
					t.Errorf("epoch %d, want %d", rec.Epoch, want)
				}
				c.settle(2 * time.Second)
				c.check(shard(1), a)
			})
		})
	}
}

// A claim that nobody waits for any more and that is applied late must not
// leave a shard that names a node which does not serve it.
func TestForgottenClaimThatApplied(t *testing.T) {
	run(t, 2, 8, func(t *testing.T, c *cluster) {
		a := c.nodes[0]
		key := c.space.Shard(testKind, 1)
		value, err := Record{}.Claimed(a.session.ID(), 0).Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.meta.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Put(key, value, 0)}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c.check(shard(1), a)
		if rec, _ := c.record(shard(1)); rec.Epoch != 2 {
			t.Errorf("epoch %d, want a new claim", rec.Epoch)
		}
	})
}

func TestReleaseThatTimedOut(t *testing.T) {
	for _, applies := range []bool{true, false} {
		run(t, 2, 8, func(t *testing.T, c *cluster) {
			a, b := c.nodes[0], c.nodes[1]
			a.mustClaim(shard(1))
			lies := 0
			a.store.hook(func(ctx context.Context, txn metadata.Txn, commit commitFunc) (metadata.Result, error) {
				if lies++; lies > 1 {
					return commit(ctx, txn)
				}
				if applies {
					commit(ctx, txn)
				}
				return metadata.Result{}, errLie
			})
			a.took()
			c.move(shard(1), b)
			c.settle(time.Second)
			c.check(shard(1), b)
			if calls := a.took(); !slices.Equal(calls, []string{"1 drain 1", "1 drop 1"}) {
				t.Errorf("the old host was told %q", calls)
			}
		})
	}
}

func TestFencedShardIsDroppedAndClaimedAgain(t *testing.T) {
	run(t, 1, 8, func(t *testing.T, c *cluster) {
		a := c.nodes[0]
		a.mustClaim(shard(1))
		stranger := state.Seal{Shard: shard(1), Fence: state.Fence{Epoch: 5, Session: "a stranger"}}
		if err := c.state.Seal(t.Context(), []state.Seal{stranger})[0]; err != nil {
			t.Fatal(err)
		}
		a.took()
		a.manager.Fenced(shard(1), 7) // of another life: ignored
		if calls := a.took(); len(calls) > 0 {
			t.Errorf("the host was told %q", calls)
		}
		a.manager.Fenced(shard(1), 1)
		if calls := a.took(); !slices.Equal(calls, []string{"1 drop 1", "1 serve 6"}) {
			t.Errorf("the host was told %q", calls)
		}
		c.check(shard(1), a)
	})
}

func TestLostSessionDropsEverything(t *testing.T) {
	run(t, 2, 40, func(t *testing.T, c *cluster) {
		c.claimAll()
		a, b := c.nodes[0], c.nodes[1]
		if len(a.manager.Owned()) == 0 {
			t.Fatal("nothing to drop")
		}
		slow := shard(-1)
		for s := range a.manager.Owned() {
			slow = s
			break
		}
		a.onDrain = func(ctx context.Context, _ state.Shard) { <-ctx.Done() }
		c.move(slow, b)
		synctest.Wait()
		bury(c, a)
		synctest.Wait()
		if n := len(a.manager.Owned()); n > 0 {
			t.Errorf("%d shards are served after the session was lost", n)
		}
		if _, err := a.claim(shard(1)); !errors.Is(err, member.ErrLost) {
			t.Errorf("Claim without a session: %v", err)
		}
		c.settle(2 * turnTime)
		if n := len(b.manager.Owned()); n != 40 {
			t.Errorf("the other node has %d shards", n)
		}
	})
}

// A node whose lease is in doubt claims nothing, not even what names it, until
// the lease is confirmed.
func TestSuspendedNodeClaimsNothing(t *testing.T) {
	run(t, 1, 8, func(t *testing.T, c *cluster) {
		a := c.nodes[0]
		a.mustClaim(shard(1))
		a.store.setMute(true)
		c.settle(a.session.TTL() * 9 / 10)
		if _, err := a.claim(shard(2)); !errors.Is(err, member.ErrSuspended) {
			t.Errorf("Claim while suspended: %v", err)
		}
		c.put(shard(3), Record{}.Claimed(a.session.ID(), 0))
		synctest.Wait()
		if rec, _ := c.record(shard(3)); rec.Epoch != 1 {
			t.Errorf("a suspended node has claimed: %+v", rec)
		}
		if _, err := a.claim(shard(3)); !errors.Is(err, member.ErrSuspended) {
			t.Errorf("Claim of a shard that names a suspended node: %v", err)
		}
		if a.serves(shard(1)) == 0 {
			t.Error("a suspended node dropped what it has")
		}
		a.store.setMute(false)
		c.settle(a.session.TTL() / 4)
		c.check(shard(3), a)
		c.check(shard(1), a)
	})
}

// A drain is cut short when the shard is lost meanwhile.
func TestShardLostWhileDraining(t *testing.T) {
	run(t, 2, 8, func(t *testing.T, c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		a.mustClaim(shard(1))
		a.onDrain = func(ctx context.Context, _ state.Shard) { <-ctx.Done() }
		c.move(shard(1), b)
		synctest.Wait()
		a.took()
		rec, _ := c.record(shard(1))
		c.put(shard(1), rec.Claimed(b.session.ID(), 0))
		if calls := a.took(); !slices.Equal(calls, []string{"1 drop 1"}) {
			t.Errorf("the host was told %q, want to drop at once", calls)
		}
	})
}

// A record with the right session and another epoch is another life of the
// shard.
func TestRecordWithAnotherEpochDropsTheShard(t *testing.T) {
	run(t, 1, 8, func(t *testing.T, c *cluster) {
		a := c.nodes[0]
		a.mustClaim(shard(1))
		a.took()
		c.put(shard(1), Record{Owner: a.session.ID(), Epoch: 5, Phase: Open})
		if calls := a.took(); !slices.Equal(calls, []string{"1 drop 1", "1 serve 6"}) {
			t.Errorf("the host was told %q", calls)
		}
		c.check(shard(1), a)
	})
}

// After a restore, a record may name another session under the same epoch.
func TestRecordWithAnotherOwnerDropsTheShard(t *testing.T) {
	run(t, 2, 8, func(t *testing.T, c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		a.mustClaim(shard(1))
		c.restored = true // then two may serve for a moment, as one does not know
		b.store.hook(func(context.Context, metadata.Txn, commitFunc) (metadata.Result, error) {
			return metadata.Result{}, errLie
		})
		c.put(shard(1), Record{Owner: b.session.ID(), Epoch: 1, Phase: Open})
		synctest.Wait()
		if a.serves(shard(1)) != 0 {
			t.Error("a shard that is somebody else's is still served")
		}
		b.store.hook(nil)
		c.settle(10 * time.Second)
		c.check(shard(1), b)
	})
}

// A node hands on what names it although it does not serve it.
func TestUnservedShardIsHandedOn(t *testing.T) {
	run(t, 2, 8, func(t *testing.T, c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		claimed := Record{}.Claimed(a.session.ID(), 0)
		c.put(shard(1), claimed.Moving(b.session.ID()))
		synctest.Wait()
		c.check(shard(1), b)
		if calls := a.took(); len(calls) > 0 {
			t.Errorf("the old host was told %q", calls)
		}
		if err := a.session.Update(t.Context(), func(m *member.Member) { m.Draining = true }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c.put(shard(2), claimed)
		synctest.Wait()
		if rec, _ := c.record(shard(2)); rec.Owner == a.session.ID() && rec.Phase != Released {
			t.Errorf("a draining node keeps what a late claim gave it: %+v", rec)
		}
	})
}

// When the leader changes its mind and the table is behind, the owner finds the
// new target in the store.
func TestReleaseWithAnOldTable(t *testing.T) {
	run(t, 3, 8, func(t *testing.T, c *cluster) {
		a, b, d := c.nodes[0], c.nodes[1], c.nodes[2]
		a.mustClaim(shard(1))
		finish := make(chan struct{})
		a.onDrain = func(context.Context, state.Shard) { <-finish }
		c.move(shard(1), b)
		synctest.Wait()
		a.table.Close()
		rec, _ := c.record(shard(1))
		c.put(shard(1), rec.Moving(d.session.ID()))
		close(finish)
		synctest.Wait()
		c.check(shard(1), d)
	})
}

// Close does not wait for a store that fails.
func TestCloseIsPrompt(t *testing.T) {
	run(t, 1, 8, func(t *testing.T, c *cluster) {
		a := c.nodes[0]
		a.store.hook(func(context.Context, metadata.Txn, commitFunc) (metadata.Result, error) {
			return metadata.Result{}, errLie
		})
		answer := make(chan error, 1)
		go func() {
			_, err := a.claim(shard(1))
			answer <- err
		}()
		c.settle(20 * time.Second) // the pauses have become long
		start := time.Now()
		a.manager.Close()
		if took := time.Since(start); took > 0 {
			t.Errorf("Close took %v", took)
		}
		if err := <-answer; !errors.Is(err, ErrClosed) {
			t.Errorf("Claim: %v", err)
		}
		if _, err := a.claim(shard(1)); !errors.Is(err, ErrClosed) {
			t.Errorf("Claim after Close: %v", err)
		}
	})
}

// A claim that fails and fails does not keep the stores busy.
func TestFailingClaimsPause(t *testing.T) {
	run(t, 2, 8, func(t *testing.T, c *cluster) {
		a := c.nodes[0]
		a.store.hook(func(context.Context, metadata.Txn, commitFunc) (metadata.Result, error) {
			return metadata.Result{}, errLie
		})
		var work sync.WaitGroup
		for range 100 {
			work.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				if _, err := a.manager.Claim(ctx, shard(1)); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Claim: %v", err)
				}
			})
		}
		work.Wait()
		if n := a.store.commits; n < 3 || n > 40 {
			t.Errorf("%d attempts within 20 s", n)
		}
	})
}

// Drain waits for claims that are on their way, and undoes them.
func TestDrainDuringAClaim(t *testing.T) {
	run(t, 1, 8, func(t *testing.T, c *cluster) {
		a := c.nodes[0]
		a.store.hook(func(ctx context.Context, txn metadata.Txn, commit commitFunc) (metadata.Result, error) {
			<-time.After(time.Second)
			return commit(ctx, txn)
		})
		go func() { _, _ = a.claim(shard(1)) }()
		synctest.Wait()
		if err := a.manager.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if rec, found := c.record(shard(1)); !found || rec.Phase != Released || a.serves(shard(1)) != 0 {
			t.Errorf("the record is %+v, served: %d", rec, a.serves(shard(1)))
		}
	})
}

// All nodes drain at once: each lets go by itself.
func TestDrainOfAllNodes(t *testing.T) {
	run(t, 2, 40, func(t *testing.T, c *cluster) {
		c.claimAll()
		var work sync.WaitGroup
		for _, n := range c.nodes {
			work.Go(func() {
				if err := n.session.Update(t.Context(), func(m *member.Member) { m.Draining = true }); err != nil {
					t.Error(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if err := n.manager.Drain(ctx); err != nil {
					t.Errorf("%s: %v", n.name, err)
				}
			})
		}
		work.Wait()
		for i := range c.shards {
			if rec, _ := c.record(shard(i)); rec.Phase != Released {
				t.Fatalf("shard %d: %+v", i, rec)
			}
		}
	})
}

// The only node that could take the shards of a draining one dies.
func TestDrainWhenTheOthersDie(t *testing.T) {
	run(t, 2, 8, func(t *testing.T, c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		a.mustClaim(shard(1))
		time.AfterFunc(time.Second, b.session.Abandon)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := a.manager.Drain(ctx); err != nil {
			t.Fatal(err)
		}
		if rec, _ := c.record(shard(1)); rec.Phase != Released || rec.Target != "" {
			t.Errorf("the record is %+v", rec)
		}
	})
}

func TestDrainOfTheLastNode(t *testing.T) {
	run(t, 1, 200, func(t *testing.T, c *cluster) {
		a := c.nodes[0]
		c.claimAll()
		a.store.hook(slowly)
		commits := a.store.commits
		if err := a.manager.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(a.manager.Owned()); n != 0 {
			t.Errorf("%d shards are left", n)
		}
		for i := range c.shards {
			if rec, _ := c.record(shard(i)); rec.Phase != Released || rec.Target != "" || a.load(shard(i), rec.Epoch) != nil {
				t.Fatalf("shard %d: %+v", i, rec)
			}
		}
		if n := a.store.commits - commits; n > 20 {
			t.Errorf("%d transactions to release 200 shards", n)
		}
		if _, err := a.claim(shard(1)); !errors.Is(err, ErrDraining) {
			t.Errorf("Claim while draining: %v", err)
		}
		// The next node takes up what was released.
		b := c.add()
		c.settle(time.Second)
		if n := len(b.manager.Owned()); n != 200 {
			t.Errorf("the next node has %d shards", n)
		}
	})
}

// With others there, the leader moves the shards; without a leader, Drain waits
// for it and the node goes on when the context ends.
func TestDrainWaitsForTheLeader(t *testing.T) {
	run(t, 2, 8, func(t *testing.T, c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		for i := range 4 {
			a.mustClaim(shard(i))
		}
		drain := func(d time.Duration) error {
			if err := a.session.Update(t.Context(), func(m *member.Member) { m.Draining = true }); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			return a.manager.Drain(ctx)
		}
		if err := drain(time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Drain without a leader: %v", err)
		}
		if n := len(a.manager.Owned()); n != 4 {
			t.Fatalf("%d shards are left after a Drain that failed", n)
		}
		time.AfterFunc(time.Second, func() {
			for i := range 4 {
				c.move(shard(i), b)
			}
		})
		if err := drain(time.Minute); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range 4 {
			c.check(shard(i), b)
		}
	})
}

// A draining node does not take what was released to it.
func TestDrainingTargetDeclines(t *testing.T) {
	run(t, 3, 8, func(t *testing.T, c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		a.mustClaim(shard(1))
		if err := b.session.Update(t.Context(), func(m *member.Member) { m.Draining = true }); err != nil {
			t.Fatal(err)
		}
		if err := b.manager.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.move(shard(1), b)
		c.settle(2 * turnTime)
		rec, _ := c.record(shard(1))
		if rec.Owner == b.session.ID() || rec.Phase != Open {
			t.Fatalf("the record is %+v", rec)
		}
		c.check(shard(1), c.bySession(rec.Owner))
	})
}

// A drain that is called off in the middle serves again what it had drained.
func TestDrainCalledOff(t *testing.T) {
	run(t, 1, 8, func(t *testing.T, c *cluster) {
		a := c.nodes[0]
		a.mustClaim(shard(1))
		a.onDrain = func(ctx context.Context, _ state.Shard) { <-ctx.Done() }
		a.took()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.manager.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Drain: %v", err)
		}
		c.settle(drainTimeout)
		if calls := a.took(); !slices.Equal(calls, []string{"1 drain 1", "1 serve 1"}) {
			t.Errorf("the host was told %q", calls)
		}
		c.check(shard(1), a)
	})
}

func TestPreferred(t *testing.T) {
	run(t, 3, 64, func(t *testing.T, c *cluster) {
		for i := range c.shards {
			first, ok := c.nodes[0].manager.Preferred(testKind, uint32(i))
			order := c.nodes[0].manager.Turns(testKind, uint32(i))
			if !ok || len(order) != 3 || order[0] != first {
				t.Errorf("shard %d: preferred %s, turns %v", i, first, order)
			}
			for _, n := range c.nodes {
				if other, _ := n.manager.Preferred(testKind, uint32(i)); other != first {
					t.Errorf("shard %d: nodes disagree: %s, %s", i, first, other)
				}
			}
		}
		if _, ok := c.nodes[0].manager.Preferred("no.such.Kind", 0); ok {
			t.Error("somebody is preferred for a kind that nobody hosts")
		}
		c.claimAll()
		for name, n := range c.loads() {
			if n < 17 || n > 26 {
				t.Errorf("%s got %d of 64 shards", name, n)
			}
		}
	})
}
