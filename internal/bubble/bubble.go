// Package bubble runs tests in bubbles of fake time ([testing/synctest]), also
// under the race detector.
//
// The race detector gives all timers of a bubble one context, but a goroutine
// that looks at the channel of a timer which is due runs that timer by itself.
// Two that do so on two processors at once, or one while the bubble runs others,
// corrupt the detector, which then ends the test with "ThreadSanitizer: CHECK
// failed" or a fault (https://go.dev/issue/78156, seen in Go 1.26). On a single
// processor they take turns. The detector still sees every race: it finds them by
// what orders two accesses, not by their time.
package bubble

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// Test is [synctest.Test]. With the race detector the process has one processor
// for as long as a bubble exists. Tests in bubbles may run in parallel.
func Test(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if raceDetector {
		single.enter()
		defer single.leave()
	}
	synctest.Test(t, f)
}

// single counts the bubbles in the process, whose number of processors it sets.
var single limit

type limit struct {
	mu      sync.Mutex
	bubbles int
	before  int // processors before the first bubble
}

func (l *limit) enter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bubbles++; l.bubbles == 1 {
		l.before = runtime.GOMAXPROCS(1)
	}
}

func (l *limit) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bubbles--; l.bubbles == 0 {
		runtime.GOMAXPROCS(l.before)
	}
}
