//go:build unix

package failpoint

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	failpointv1 "github.com/cajun-go/cajun/crashtest/gen/failpoint/v1"
	"github.com/cajun-go/cajun/crashtest/gen/failpoint/v1/failpointv1cajun"
	"github.com/cajun-go/cajun/crashtest/internal/process"
	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
)

// audit asks whether all that the load was told is so, once all nodes run and
// the callers have ended, and returns what is not. It gives what is still on its
// way some time.
//
// It first reads only those who get notes: whoever reads another scribe wakes it
// and what it has to see to, and would not find out that nobody else does.
func (l *load) audit(within time.Duration) []string {
	ctx, cancel := context.WithTimeout(l.c.t.Context(), process.Patience(within))
	defer cancel()
	wrong := l.settle(ctx, l.receivers())
	if len(wrong) == 0 {
		wrong = append(wrong, l.auditClocks(ctx)...)
	}
	if len(wrong) == 0 {
		all := l.scribes()
		for _, clock := range l.clocks {
			all[clock], all[witnessOf(clock)] = true, true
		}
		wrong = append(wrong, l.settle(ctx, all)...)
	}
	return slices.Concat(l.mistakes, wrong, l.deadLetters())
}

// settle reads scribes until there is nothing to complain about, or nothing but
// what time will not change.
func (l *load) settle(ctx context.Context, keys map[string]bool) []string {
	states := make(map[string]*failpointv1.ScribeState)
	var wrong []complaint
	poll(ctx, func() bool {
		wrong = l.read(ctx, keys, states)
		wrong = append(wrong, l.check(states)...)
		clear(keys)
		for _, c := range wrong {
			if c.final {
				return true
			}
			for _, s := range c.scribes {
				keys[s] = true
			}
		}
		return len(wrong) == 0
	})
	return texts(wrong)
}

// readers is how many scribes are read at a time, and readTimeout how long one
// may take.
const (
	readers     = 16
	readTimeout = 10 * time.Second
)

// read reads scribes into states.
func (l *load) read(ctx context.Context, keys map[string]bool, states map[string]*failpointv1.ScribeState) (wrong []complaint) {
	queue := make(chan string)
	var mu sync.Mutex
	var work sync.WaitGroup
	for range readers {
		work.Go(func() {
			for key := range queue {
				s, err := l.readOne(ctx, key)
				mu.Lock()
				if err != nil {
					wrong = append(wrong, complaint{fmt.Sprintf("%s cannot be read: %v", key, err), []string{key}, false})
				} else {
					states[key] = s
				}
				mu.Unlock()
			}
		})
	}
	for key := range keys {
		queue <- key
	}
	close(queue)
	work.Wait()
	return wrong
}

func (l *load) readOne(ctx context.Context, key string) (*failpointv1.ScribeState, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
	defer cancel()
	return scribeFor(l.c.anyClient(), key).Read(cajun.Deliver(ctx, guarantee.AtLeastOnce), &failpointv1.ReadRequest{})
}

// auditClocks sees whether the clocks go on ringing, which only their witnesses
// are asked for, and stops them.
func (l *load) auditClocks(ctx context.Context) (wrong []string) {
	for _, clock := range l.clocks {
		heard := func() int {
			s, err := l.readOne(ctx, witnessOf(clock))
			if err != nil {
				return 0
			}
			return len(s.GetNotes()[clock].GetNumbers())
		}
		before := heard()
		if !poll(ctx, func() bool { return heard() > before }) {
			wrong = append(wrong, fmt.Sprintf("%s has rung %d times and rings no more", clock, before))
		}
		l.stopClock(clock)
	}
	return wrong
}

// deadLetters lists the messages that were given up: the scribes refuse none.
func (l *load) deadLetters() (wrong []string) {
	ctx, cancel := context.WithTimeout(l.c.t.Context(), readTimeout)
	defer cancel()
	for d, err := range l.c.anyClient().DeadLetters(ctx, failpointv1cajun.ScribeKind) {
		if err != nil {
			return append(wrong, fmt.Sprintf("the dead letters cannot be listed: %v", err))
		}
		wrong = append(wrong, fmt.Sprintf("%s has a dead letter to %s after %d attempts: %s", d.Key, d.ToKey, d.Attempts, d.Reason))
	}
	return wrong
}
