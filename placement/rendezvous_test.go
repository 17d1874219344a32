package placement

import (
	"math"
	"slices"
	"testing"

	"github.com/cajun-go/cajun/member"
)

// ShardOf is part of the stored data: other values would lose actors.
func TestShardOfIsFixed(t *testing.T) {
	for key, want := range map[string]uint32{"": 409, "alice": 73, "bob": 59, "\xff": 324} {
		if got := ShardOf(key, 1024); got != want {
			t.Errorf("ShardOf(%q) = %d, want %d", key, got, want)
		}
	}
	if got := ShardOf("alice", 1); got != 0 {
		t.Errorf("a kind of one shard has no shard %d", got)
	}
}

func TestOrder(t *testing.T) {
	cs := nodes(5)
	cs[4].Draining = true
	for n := range uint32(1000) {
		order := Order("kind", n, cs)
		if len(order) != 4 || slices.Contains(order, cs[4].Session) {
			t.Fatalf("Order = %v", order)
		}
		// Who leaves does not change the order of the others.
		without := Order("kind", n, slices.Delete(slices.Clone(cs), 1, 2))
		if want := slices.DeleteFunc(order, func(s string) bool { return s == cs[1].Session }); !slices.Equal(without, want) {
			t.Fatalf("without one: %v, want %v", without, want)
		}
	}
	// Kinds and shards have orders of their own.
	same := 0
	for n := range uint32(1000) {
		if slices.Equal(Order("kind", n, cs), Order("other", n, cs)) {
			same++
		}
	}
	if same > 100 {
		t.Errorf("%d of 1000 shards have the same order in two kinds", same)
	}
}

func TestOrderFollowsWeights(t *testing.T) {
	cs := nodes(4)
	weights := []float64{0, 2, 4, 0.5} // 0 counts as 1
	for i := range cs {
		cs[i].Weight = weights[i]
	}
	first := make(map[string]int)
	const shards = 30000
	for n := range uint32(shards) {
		first[Order("kind", n, cs)[0]]++
	}
	for i, w := range []float64{1, 2, 4, 0.5} {
		p := w / 7.5
		want, deviation := p*shards, math.Sqrt(p*(1-p)*shards)
		if got := float64(first[cs[i].Session]); math.Abs(got-want) > 5*deviation {
			t.Errorf("weight %v comes first %v times, want about %v", w, got, want)
		}
	}
}

func TestCandidates(t *testing.T) {
	hosts := map[string][]string{"kind": nil}
	got := Candidates("kind", []member.Member{
		{Session: "a", Kinds: hosts, Weight: 2}, {Session: "b"}, {Session: "c", Kinds: hosts, Draining: true},
		{Session: "d", Kinds: hosts, ClientOnly: true},
	})
	if want := []Candidate{{"a", 2, false}, {"c", 0, true}}; !slices.Equal(got, want) {
		t.Errorf("Candidates = %+v, want %+v", got, want)
	}
}
