package bubble_test

import (
	"sync"
	"testing"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
)

// TestTimersOfOneInstant is what crashes the race detector when bubbles have
// more than one processor: many look at timers that are due at the same time.
func TestTimersOfOneInstant(t *testing.T) {
	for range 100 {
		bubble.Test(t, func(t *testing.T) {
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					for range 100 {
						due := time.NewTimer(time.Millisecond)
						time.Sleep(time.Millisecond)
						<-due.C
					}
				})
			}
			all.Wait()
		})
	}
}
