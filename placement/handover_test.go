package placement

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/state"
)

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
		// What the drain may have left behind must not commit beside what comes now.
		if calls := a.took(); !slices.Equal(calls, []string{"1 drop 1", "1 serve 2"}) {
			t.Errorf("the host was told %q, want to serve on under the next epoch", calls)
		}
	})
}

// The leader may move shards to a member whose manager has not started yet.
func TestReleasedBeforeTheStart(t *testing.T) {
	run(t, 1, 8, func(t *testing.T, c *cluster) {
		a := c.nodes[0]
		a.mustClaim(shard(1))
		b := &node{c: c, name: "late", store: &faultyMeta{Store: c.meta}, fences: &faultyState{Store: c.state},
			epochs: map[state.Shard]uint64{}, drained: map[state.Shard]bool{}}
		var errs [4]error
		// In the order in which a node starts.
		b.view, errs[0] = member.NewView(t.Context(), b.store, c.space, nil)
		b.table, errs[1] = NewTable(t.Context(), b.store, c.space, nil)
		b.session, errs[2] = member.Join(t.Context(), member.Config{Store: b.store, Space: c.space, Member: member.Member{
			Name: b.name, Address: b.name, Kinds: map[string][]string{testKind: nil}}})
		synctest.Wait()
		c.move(shard(1), b)
		synctest.Wait() // a has released it
		b.manager, errs[3] = Start(t.Context(), Config{Store: b.store, Space: c.space, State: b.fences, Session: b.session,
			View: b.view, Table: b.table, Kinds: []HostedKind{{Identity: testKind, Shards: c.shards}}, Host: b})
		if err := errors.Join(errs[:]...); err != nil {
			t.Fatal(err)
		}
		c.nodes = append(c.nodes, b)
		c.settle(time.Minute)
		c.check(shard(1), b)
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
		if calls := a.took(); !slices.Equal(calls, []string{"1 drain 1", "1 drop 1", "1 serve 2"}) {
			t.Errorf("the host was told %q", calls)
		}
		c.check(shard(1), a)
	})
}
