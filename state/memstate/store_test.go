package memstate_test

import (
	"testing"

	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/memstate"
	"github.com/cajun-go/cajun/state/statetest"
)

func open(testing.TB) state.Store { return memstate.New() }

func TestConformance(t *testing.T) { statetest.Run(t, open) }

// TestAcrossBubbles uses one store inside and outside synctest bubbles.
func TestAcrossBubbles(t *testing.T) {
	store := memstate.New()
	shard := state.Shard{Kind: "k", Number: 1}
	for epoch := uint64(1); epoch < 4; epoch++ {
		bubble.Test(t, func(t *testing.T) {
			f := state.Fence{Epoch: epoch, Session: "s"}
			if err := store.Seal(t.Context(), []state.Seal{{Shard: shard, Fence: f}})[0]; err != nil {
				t.Fatal(err)
			}
			c := state.Commit{Actor: state.Actor{Shard: shard, Key: "a"}, Fence: f, Version: epoch - 1}
			if err := store.Commit(t.Context(), []state.Commit{c}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func BenchmarkStore(b *testing.B) { statetest.Bench(b, open) }
