package placement

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
