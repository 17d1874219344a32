package link

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// model is the Window as its documentation describes it.
type model struct {
	seen map[uint64]bool
	high uint64
}

func (m *model) admit(id uint64) bool {
	if id == 0 || m.seen[id] || id/64+windowWords <= m.high/64 {
		return false
	}
	m.seen[id] = true
	m.high = max(m.high, id)
	return true
}

func TestWindowAgainstModel(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		spread := uint64(1) << random.IntN(15)
		leaps := random.IntN(3) == 0
		var w Window
		m := model{seen: map[uint64]bool{}}
		next := uint64(1)
		for i := range 5000 {
			id := next
			switch random.IntN(4) {
			case 0: // one of those before, or ahead
				id = next - min(next, random.Uint64N(spread)) + random.Uint64N(spread)
			case 1:
				if leaps && random.IntN(200) == 0 {
					next += random.Uint64N(20_000)
				}
			default:
				next++
			}
			if got, want := w.Admit(id), m.admit(id); got != want {
				t.Fatalf("seed %d, step %d: Admit(%d) is %v, want %v", seed, i, id, got, want)
			}
			next = max(next, id)
		}
	}
}

func TestWindowBounds(t *testing.T) {
	var w Window
	for id := uint64(1); id < 100_000; id++ {
		if !w.Admit(id) || w.Admit(id) {
			t.Fatalf("%d is not admitted exactly once", id)
		}
	}
	if len(w.words) != 1 {
		t.Errorf("ascending IDs take %d words", len(w.words))
	}
	if size := unsafe.Sizeof(w); size > 32 {
		t.Errorf("an empty window takes %d bytes", size)
	}
	for id := uint64(100_001); id < 300_000; id += 2 {
		w.Admit(id)
	}
	if len(w.words) > windowWords {
		t.Errorf("gaps take %d words", len(w.words))
	}
	const top = math.MaxUint64
	for _, id := range []uint64{top, top - 1, top - 4000} {
		if !w.Admit(id) || w.Admit(id) {
			t.Errorf("%d is not admitted exactly once", id)
		}
	}
	for _, id := range []uint64{0, 1, 300_000, top - 4096} {
		if w.Admit(id) {
			t.Errorf("%d is admitted", id)
		}
	}
}

func BenchmarkWindow(b *testing.B) {
	var w Window
	id := uint64(0)
	for b.Loop() {
		id++
		w.Admit(id)
	}
}
