package placement

import (
	"cmp"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Slack is how far a load may be from its share before shards are moved for
// balance: by this part of the share, or by one shard where that is more.
const Slack = 0.10

const (
	// deviations is how many standard deviations chance explains.
	deviations = 4
	// unlikelyNone is the share at which it is unlikely to have nothing by
	// chance: exp(-7) is below 0.001.
	unlikelyNone = 7
)

// Orphan is the owner to give to Plan for a shard that was claimed once and
// belongs to nobody now. Any session that is no candidate means the same.
const Orphan = "-"

// Plan returns the wanted owner of every shard of a kind, given its current
// owners: owners[n] is the session that shard n counts for, Orphan, or "" for a
// shard that was never claimed. It is a pure function of its arguments, and the
// order of the candidates does not matter.
//
// The share of a candidate is the number of claimed shards times its part of
// all weights. Plan moves as few claimed shards as it can such that
//
//   - shards of a session that is no candidate or is draining get a new owner;
//   - every load ends within Slack of the share;
//   - a candidate that has less than that, or nothing, gets its whole share
//     (rounded down), from orphans where there are some, and otherwise from
//     those that have more than theirs. It gets the shards that rank it best.
//
// Everything else stays where it is. Where there is a choice, rendezvous order
// makes it. Never-claimed shards are distributed last, such that with them the
// loads stay within Slack of the share of all shards, as far as that can be had
// without moving claimed ones. Without candidates that take shards, every
// wanted owner is "".
//
// While there are never-claimed shards, it is chance which of a candidate's
// shards are in use. Loads that chance explains, up to four standard deviations,
// are no reason to move anything: that evens out as more shards are used.
func Plan(kind string, owners []string, candidates []Candidate) []string {
	wanted := make([]string, len(owners))
	p := newPlanner(kind, len(owners), candidates)
	if len(p.nodes) == 0 {
		return wanted
	}
	index := p.index()
	var kept, orphans, free []uint32
	for n, owner := range owners {
		shard := uint32(n)
		if i, ok := index[owner]; ok {
			p.give(shard, i)
			kept = append(kept, shard)
		} else if owner != "" {
			orphans = append(orphans, shard)
		} else {
			free = append(free, shard)
		}
	}
	p.setShares(len(kept)+len(orphans), len(free))
	p.place(orphans)
	p.fillFrom(orphans)
	p.balance(append(kept, orphans...))
	if len(free) > 0 {
		p.setShares(len(owners), 0)
		p.place(free)
		p.fillFrom(free)
	}
	for n := range wanted {
		wanted[n] = p.nodes[p.wanted[n]].session
	}
	return wanted
}

// planner is the state of one run of Plan.
type planner struct {
	kind   string
	nodes  []planNode
	weight float64 // of all nodes
	equal  bool    // all nodes have the same weight
	// wanted is the node that each shard goes to; none at first.
	wanted []int32
	scores scoreTable
}

// planNode is a candidate that takes shards.
type planNode struct {
	session string
	hash    uint64
	weight  float64
	load    int
	// The share lies between floor and ceil, and the load may be anything from
	// low to high.
	low, floor, ceil, high int
	// open marks a receiver of the current shift that wants more.
	open bool
}

const none = int32(-1)

func newPlanner(kind string, shards int, candidates []Candidate) *planner {
	p := &planner{kind: kind, wanted: make([]int32, shards), equal: true}
	for i := range p.wanted {
		p.wanted[i] = none
	}
	for _, c := range candidates {
		if !c.Draining {
			p.nodes = append(p.nodes, planNode{session: c.Session, hash: xxhash.Sum64String(c.Session), weight: weight(c)})
		}
	}
	slices.SortFunc(p.nodes, func(a, b planNode) int { return cmp.Compare(a.session, b.session) })
	for _, n := range p.nodes {
		p.weight += n.weight
		p.equal = p.equal && n.weight == p.nodes[0].weight
	}
	return p
}

func (p *planner) index() map[string]int32 {
	index := make(map[string]int32, len(p.nodes))
	for i, n := range p.nodes {
		index[n.session] = int32(i)
	}
	return index
}

// setShares computes the bounds of every load for this many shards, of a kind
// that has so many others which were never claimed.
func (p *planner) setShares(shards, free int) {
	const epsilon = 1e-9 // what sums of weights may be off
	for i := range p.nodes {
		n := &p.nodes[i]
		part := n.weight / p.weight
		share := float64(shards) * part
		// The variance of a sample without replacement.
		variance := share * (1 - part) * float64(free) / float64(max(1, shards+free-1))
		slack := max(share*Slack, 1) + deviations*math.Sqrt(variance)
		n.floor = int(math.Floor(share + epsilon))
		n.ceil = int(math.Ceil(share - epsilon))
		n.high = int(math.Floor(share + slack + epsilon))
		n.low = max(0, int(math.Ceil(share-slack-epsilon)))
		// Who has nothing has joined, if chance does not explain it, and is not
		// left out because one shard more or less would do.
		if free == 0 || share >= unlikelyNone {
			n.low = max(n.low, min(n.floor, 1))
		}
	}
}

// give sets the wanted owner of a shard.
func (p *planner) give(shard uint32, node int32) {
	if from := p.wanted[shard]; from != none {
		p.nodes[from].load--
	}
	p.wanted[shard] = node
	p.nodes[node].load++
}

// place gives shards that have no owner to the first in their order with room.
// Somebody always has: the upper bounds of all add up to more than the shards.
func (p *planner) place(shards []uint32) {
	for _, shard := range shards {
		row, _ := p.scores.row(p, shard)
		p.give(shard, p.first(row, func(n *planNode) bool { return n.load < n.high }))
	}
}

// first returns the first node in a shard's order, given by the scores of all
// nodes, that may take it.
func (p *planner) first(row []float64, may func(*planNode) bool) int32 {
	best, high := int32(0), math.Inf(-1)
	for i, score := range row {
		if score > high && may(&p.nodes[i]) {
			best, high = int32(i), score
		}
	}
	return best
}

// scoreAll writes the scores of all nodes for a shard into row. Only their order
// and how near they are to each other matter: among equal weights the logarithm,
// which is most of the cost, changes neither order nor purpose.
func (p *planner) scoreAll(shard uint32, row []float64) {
	salt := shardSalt(p.kind, shard)
	for i := range p.nodes {
		u := unit(salt, p.nodes[i].hash)
		if p.equal {
			row[i] = u
		} else {
			row[i] = weigh(u, p.nodes[i].weight)
		}
	}
}

// fillFrom fills the needy from shards that were only just placed, so that
// this costs no move: first all of them up to their lower bounds, then to their
// shares.
func (p *planner) fillFrom(placed []uint32) {
	needy := p.needy()
	if len(placed) == 0 || len(needy) == 0 {
		return
	}
	low := func(n *planNode) int { return n.low }
	floor := func(n *planNode) int { return n.floor }
	p.shift(placed, needy, low, low)
	p.shift(placed, needy, floor, floor)
}

// balance moves the least number of shards after which all bounds hold and the
// needy have their shares. What is above its bounds gives first, as it must give
// anyway.
func (p *planner) balance(shards []uint32) {
	high := func(n *planNode) int { return n.high }
	floor := func(n *planNode) int { return n.floor }
	if needy := p.needy(); len(needy) > 0 {
		p.shift(shards, needy, high, floor)
		p.shift(shards, needy, floor, floor)
	}
	for i := range p.nodes {
		if p.nodes[i].load > p.nodes[i].high {
			p.shift(shards, p.all(), high, func(n *planNode) int { return n.ceil })
			return
		}
	}
}

func (p *planner) needy() []int32 {
	return slices.DeleteFunc(p.all(), func(i int32) bool { return p.nodes[i].load >= p.nodes[i].low })
}

func (p *planner) all() []int32 {
	all := make([]int32, len(p.nodes))
	for i := range all {
		all[i] = int32(i)
	}
	return all
}

// shift moves shards from nodes that have more than keep to receivers that have
// less than want, as long as there are both. The shards that rank a receiver
// best go first.
func (p *planner) shift(shards []uint32, receivers []int32, keep, want func(*planNode) int) {
	var open []int32
	for _, i := range receivers {
		n := &p.nodes[i]
		if n.open = n.load < want(n); n.open {
			open = append(open, i)
		}
	}
	if len(open) == 0 {
		return
	}
	var offers offerHeap
	for _, shard := range shards {
		if from := &p.nodes[p.wanted[shard]]; from.load > keep(from) {
			offers = append(offers, p.offer(shard, open))
		}
	}
	offers.init()
	for len(offers) > 0 && len(open) > 0 {
		o := &offers[0]
		from, to := &p.nodes[p.wanted[o.shard]], &p.nodes[o.to]
		switch {
		case from.load <= keep(from):
			offers.pop()
		case !to.open:
			*o = p.offer(o.shard, open)
			offers.down(0)
		default:
			p.give(o.shard, o.to)
			offers.pop()
			if to.load >= want(to) {
				to.open = false
				open = slices.DeleteFunc(open, func(i int32) bool { return !p.nodes[i].open })
			}
		}
	}
	for _, i := range open {
		p.nodes[i].open = false
	}
}
