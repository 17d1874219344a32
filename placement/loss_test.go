package placement

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/state"
)

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
