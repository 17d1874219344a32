package placement

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cajun-go/cajun/metadata"
)

// balance does what the leader does: it moves what a plan wants elsewhere.
func (c *cluster) balance() {
	c.t.Helper()
	var observer *node
	live := make(map[string]bool)
	for _, n := range c.nodes {
		if !n.dead() {
			observer = n
			live[n.session.ID()] = true
		}
	}
	records := observer.table.Records(testKind)
	owners := make([]string, len(records))
	for i, rec := range records {
		if rec.Epoch == 0 {
			continue
		}
		if owners[i] = rec.Holder(func(s string) bool { return live[s] }); owners[i] == "" {
			owners[i] = Orphan
		}
	}
	for i, wanted := range Plan(testKind, owners, Candidates(testKind, observer.view.Live())) {
		rec := records[i]
		if rec.Phase == Open && wanted != "" && live[rec.Owner] && wanted != rec.Owner {
			value, err := rec.Moving(wanted).Encode()
			if err != nil {
				c.t.Fatal(err)
			}
			key := c.space.Shard(testKind, uint32(i))
			if _, err := c.meta.Commit(c.t.Context(), metadata.Txn{
				If:   []metadata.Cond{metadata.ModifiedAt(key, rec.Modified)},
				Then: []metadata.Op{metadata.Put(key, value, 0)},
			}); err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

// liar answers some commits with an error, applied before, later, or never.
func liar(rng *rand.Rand) func(context.Context, metadata.Txn, commitFunc) (metadata.Result, error) {
	var mu sync.Mutex
	return func(ctx context.Context, txn metadata.Txn, commit commitFunc) (metadata.Result, error) {
		mu.Lock()
		dice, delay := rng.IntN(10), time.Duration(rng.IntN(1500))*time.Millisecond
		mu.Unlock()
		switch dice {
		case 0:
			commit(ctx, txn)
			return metadata.Result{}, errLie
		case 1:
			return metadata.Result{}, errLie
		case 2:
			time.AfterFunc(delay, func() { commit(context.WithoutCancel(ctx), txn) })
			return metadata.Result{}, errLie
		}
		<-time.After(delay / 100)
		return commit(ctx, txn)
	}
}

// Whatever happens, no shard is served twice (the host checks that all the
// time), and when it is over every shard that was ever used has one owner, and
// the loads are balanced.
func TestChaos(t *testing.T) {
	const shards = 60
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			run(t, 3, shards, func(t *testing.T, c *cluster) {
				rng := rand.New(rand.NewPCG(seed, 1))
				add := func() {
					n := c.add()
					n.store.hook(liar(rand.New(rand.NewPCG(seed, uint64(len(c.nodes))))))
				}
				alive := func() (nodes []*node) {
					for _, n := range c.nodes {
						if !n.dead() {
							nodes = append(nodes, n)
						}
					}
					return nodes
				}
				for range 60 {
					nodes := alive()
					n := nodes[rng.IntN(len(nodes))]
					switch rng.IntN(8) {
					case 0:
						if len(nodes) > 1 {
							n.crash()
							if rng.IntN(2) == 0 {
								bury(c, n)
							}
						}
					case 1:
						if len(nodes) < 5 {
							add()
						}
					case 2:
						n.fences.setDown(rng.IntN(2) == 0)
					case 3, 4:
						c.balance()
					default:
						for range 8 {
							ctx, cancel := context.WithTimeout(t.Context(), time.Second)
							defer cancel()
							// It may fail; that it leaves no damage shows below.
							_, _ = n.manager.Claim(ctx, shard(rng.IntN(shards)))
						}
					}
					c.settle(time.Duration(rng.IntN(1000)) * time.Millisecond)
				}
				for _, n := range alive() {
					n.store.hook(nil)
					n.fences.setDown(false)
				}
				c.settle(30 * time.Second) // late commits, leases, turns
				for range 10 {
					c.balance()
					c.settle(15 * time.Second)
				}
				claimed := 0
				owners := make([]string, shards)
				for i := range shards {
					if rec, found := c.record(shard(i)); found {
						claimed++
						owners[i] = rec.Owner
						if n := c.bySession(rec.Owner); n == nil || n.dead() {
							t.Errorf("shard %d has a dead owner: %+v", i, rec)
						} else {
							c.check(shard(i), n)
						}
					}
				}
				if loads := c.loads(); sum(loads) != claimed || claimed < shards/3 {
					t.Errorf("loads %v of %d claimed shards", loads, claimed)
				}
				moved := moves(owners, Plan(testKind, owners, Candidates(testKind, alive()[0].view.Live())))
				if total(moved) != moved[""] {
					t.Errorf("after all moves there are more: %v", moved)
				}
			})
		})
	}
}
