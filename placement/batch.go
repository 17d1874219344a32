package placement

import (
	"runtime"
	"slices"
	"sync"
)

// batcher hands items to run in groups: those that arrive while earlier groups
// are on their way go together. Its user bounds the number of items.
type batcher[T any] struct {
	// size is the most items of a group, and parallel how many groups may be
	// on their way at once.
	size, parallel int
	run            func([]T)
	// spawn runs a function on a goroutine that somebody waits for.
	spawn func(func())

	mu      sync.Mutex
	queue   []T
	running int
}

func (b *batcher[T]) add(item T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = append(b.queue, item)
	if b.running < b.parallel {
		b.running++
		b.spawn(b.loop)
	}
}

func (b *batcher[T]) loop() {
	runtime.Gosched() // lets whoever is about to add join the first group
	for {
		b.mu.Lock()
		n := min(b.size, len(b.queue))
		if n == 0 {
			b.running--
			b.mu.Unlock()
			return
		}
		group := slices.Clone(b.queue[:n])
		b.queue = slices.Delete(b.queue, 0, n)
		b.mu.Unlock()
		b.run(group)
	}
}
