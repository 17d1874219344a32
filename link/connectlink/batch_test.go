package connectlink

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link"
)

// TestRoomGoesByTurns: who comes later does not overtake a large frame that
// waits for room, and one that gives up holds nobody up.
func TestRoomGoesByTurns(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const limit = 1000
		o := newOutbox(limit)
		var mu sync.Mutex
		var order []int
		var all sync.WaitGroup
		add := func(ctx context.Context, size int) {
			all.Go(func() {
				err := o.add(ctx, &link.Frame{Request: &link.Request{ID: 1, Payload: make([]byte, size)}})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					order = append(order, size)
				}
			})
			synctest.Wait()
		}
		check := func(what string, want ...int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			slices.Sort(order) // those for whom there is room come as they like
			slices.Sort(want)
			if !slices.Equal(order, want) {
				t.Errorf("%s: %v, want %v", what, order, want)
			}
		}
		impatient, giveUp := context.WithCancel(t.Context())
		add(t.Context(), 500)
		add(impatient, 900)
		add(t.Context(), 901)
		add(t.Context(), 10)
		add(t.Context(), 11)
		check("a frame that does not fit waits, and so do those behind it", 500)
		giveUp()
		check("the next one does not fit either", 500)
		if _, ok := o.take(nil); !ok {
			t.Fatal("nothing to take")
		}
		check("the large one and what fits beside it", 500, 901, 10, 11)
		add(t.Context(), 5*limit)
		add(t.Context(), 12)
		o.take(nil)
		check("one above the limit has a batch for itself", 500, 901, 10, 11, 5*limit)
		o.take(nil)
		check("after it", 500, 901, 10, 11, 5*limit, 12)
		add(t.Context(), 5*limit)
		o.close(true)
		all.Wait()
	})
}
