package placement

import (
	"cmp"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/cajun-go/cajun/member"
)

// Candidate is a live member that hosts a kind, as far as placement cares.
type Candidate struct {
	Session string
	// Weight is its share relative to other candidates; 0 counts as 1.
	Weight float64
	// Draining candidates keep nothing and get nothing.
	Draining bool
}

// Candidates returns those of members that host the kind with this identity.
func Candidates(kind string, members []member.Member) []Candidate {
	var found []Candidate
	for _, m := range members {
		if m.Hosts(kind) && !m.ClientOnly {
			found = append(found, Candidate{Session: m.Session, Weight: m.Weight, Draining: m.Draining})
		}
	}
	return found
}

// Order returns the sessions of the candidates that are not draining, in the
// order in which they take turns for one shard. Each shard has an order of its
// own, a candidate comes first for a part of all shards that is proportional to
// its weight, and one that leaves or joins does not change the order of the
// others.
func Order(kind string, shard uint32, candidates []Candidate) []string {
	type turn struct {
		session string
		score   float64
	}
	turns := make([]turn, 0, len(candidates))
	salt := shardSalt(kind, shard)
	for _, c := range candidates {
		if !c.Draining {
			turns = append(turns, turn{c.Session, weigh(unit(salt, xxhash.Sum64String(c.Session)), weight(c))})
		}
	}
	slices.SortFunc(turns, func(a, b turn) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.session, b.session))
	})
	sessions := make([]string, len(turns))
	for i, t := range turns {
		sessions[i] = t.session
	}
	return sessions
}

func weight(c Candidate) float64 {
	if c.Weight == 0 {
		return 1
	}
	return c.Weight
}

// shardSalt is the shard's part in its scores.
func shardSalt(kind string, shard uint32) uint64 {
	return mix(xxhash.Sum64String(kind) + uint64(shard))
}

// unit maps a shard and a member, given by the hash of its session, to a number
// in (0,1) that looks random.
func unit(salt, session uint64) float64 {
	return (float64(mix(salt^session)>>11) + 0.5) / (1 << 53)
}

// weigh turns such a number into the weighted rendezvous score: the highest of
// several is a member's with a probability proportional to its weight.
func weigh(u, weight float64) float64 { return -weight / math.Log(u) }

// mix is a bijection in which every input bit changes every output bit half of
// the time (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
