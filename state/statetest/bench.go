package statetest

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/cajun-go/cajun/state"
)

// Bench measures a store: commits one after the other, from many goroutines,
// and in groups; loads; and seals. Each commit writes a record of 100 bytes
// and a row.
func Bench(b *testing.B, open func(t testing.TB) state.Store) {
	b.Run("CommitSeries", func(b *testing.B) { benchGroups(b, open, 1) })
	b.Run("CommitGrouped", func(b *testing.B) { benchGroups(b, open, open(b).Limits().Commits) })
	for _, n := range []int{16, 64} {
		b.Run(fmt.Sprintf("CommitConcurrent%d", n), func(b *testing.B) { benchConcurrent(b, open, n) })
	}
	b.Run("Load", func(b *testing.B) { benchLoad(b, open) })
	b.Run("Seal", func(b *testing.B) { benchSeal(b, open) })
}

func benchCommit(f state.Fence, i int) state.Commit {
	return state.Commit{
		Actor: actor(uint32(i%64), fmt.Sprintf("key-%d", i)), Fence: f,
		Record: make([]byte, 100), Put: []state.Row{{Name: "dedup/session", Value: make([]byte, 60)}},
	}
}

func benchEnv(b *testing.B, open func(t testing.TB) state.Store) (*env, state.Fence) {
	e := newEnv(b, open)
	e.ctx = b.Context()
	f := fence(1, "session")
	for n := range uint32(64) {
		e.mustSeal(shard(n), f)
	}
	b.ReportAllocs()
	return e, f
}

// benchGroups commits size actors at a time; one op is one actor's commit.
func benchGroups(b *testing.B, open func(t testing.TB) state.Store, size int) {
	e, f := benchEnv(b, open)
	commits := make([]state.Commit, size)
	for i := range commits {
		commits[i] = benchCommit(f, i)
	}
	b.ResetTimer()
	for done := 0; done < b.N; done += size {
		e.mustCommit(commits...)
		for i := range commits {
			commits[i].Version++
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

func benchConcurrent(b *testing.B, open func(t testing.TB) state.Store, goroutines int) {
	e, f := benchEnv(b, open)
	var next atomic.Int64
	b.SetParallelism(max(1, goroutines/runtime.GOMAXPROCS(0)))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c := benchCommit(f, int(next.Add(1)))
		for pb.Next() {
			if err := e.commit(c); err != nil {
				b.Error(err)
				return
			}
			c.Version++
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

func benchLoad(b *testing.B, open func(t testing.TB) state.Store) {
	e, f := benchEnv(b, open)
	c := benchCommit(f, 1)
	e.mustCommit(c)
	b.ResetTimer()
	for b.Loop() {
		e.mustLoad(c.Actor, f)
	}
}

// benchSeal raises the fences of 1,024 shards; one op is one shard.
func benchSeal(b *testing.B, open func(t testing.TB) state.Store) {
	const shards = 1024
	e, _ := benchEnv(b, open)
	seals := make([]state.Seal, shards)
	b.ResetTimer()
	for done, epoch := 0, uint64(2); done < b.N; done, epoch = done+shards, epoch+1 {
		for i := range seals {
			seals[i] = state.Seal{Shard: shard(uint32(i)), Fence: fence(epoch, "session")}
		}
		for i, err := range e.store.Seal(e.ctx, seals) {
			if err != nil {
				b.Fatalf("Seal(%v): %v", seals[i], err)
			}
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "seals/s")
}
