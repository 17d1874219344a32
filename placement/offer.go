package placement

import "slices"

// offer is a shard that could go to a receiver.
type offer struct {
	// rank is the receiver's score for the shard relative to the best score of
	// all nodes: 1 when it comes first in the shard's order.
	rank  float64
	shard uint32
	to    int32
}

// offer returns the best that a shard can do among the open receivers.
func (p *planner) offer(shard uint32, open []int32) offer {
	row, best := p.scores.row(p, shard)
	o := offer{shard: shard, to: none}
	for _, i := range open {
		if rank := row[i] / best; o.to == none || rank > o.rank {
			o.rank, o.to = rank, i
		}
	}
	return o
}

// before orders offers: the best rank first, ties by the shard's number.
func (o offer) before(other offer) bool {
	if o.rank != other.rank {
		return o.rank > other.rank
	}
	return o.shard < other.shard
}

// offerHeap is a binary heap with the best offer at 0. A typed one: with
// container/heap, the calls through its interface dominate Plan.
type offerHeap []offer

func (h offerHeap) init() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

// down restores the order after the offer at i has become worse.
func (h offerHeap) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1].before(h[child]) {
			child++
		}
		if !h[child].before(h[i]) {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

func (h *offerHeap) pop() {
	last := len(*h) - 1
	(*h)[0] = (*h)[last]
	*h = (*h)[:last]
	h.down(0)
}

// scoreTable keeps the scores of every node for the shards that were asked
// for. A plan that moves nothing computes none.
type scoreTable struct {
	scores []float64
	best   []float64 // 0 for rows that are not computed yet
}

// row returns the scores of all nodes for a shard, and the best of them.
func (t *scoreTable) row(p *planner, shard uint32) (row []float64, best float64) {
	width := len(p.nodes)
	if t.scores == nil {
		t.scores = make([]float64, len(p.wanted)*width)
		t.best = make([]float64, len(p.wanted))
	}
	row = t.scores[int(shard)*width:][:width]
	if t.best[shard] == 0 {
		p.scoreAll(shard, row)
		t.best[shard] = slices.Max(row)
	}
	return row, t.best[shard]
}
