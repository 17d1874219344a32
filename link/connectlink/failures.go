package connectlink

import (
	"sync"
	"time"
)

const (
	firstPause  = 20 * time.Millisecond
	longestWait = 500 * time.Millisecond
	// manyFailures is when those that are over are swept out.
	manyFailures = 64
)

// failures remembers dials that failed, so that many senders to a dead peer do
// not dial it all the time.
type failures struct {
	mu sync.Mutex
	of map[failureKey]failure
}

type failureKey struct{ session, address string }

type failure struct {
	err   error
	until time.Time
	pause time.Duration
}

// recent returns the error of the last dial while it is too early for another.
func (fs *failures) recent(session, address string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f, ok := fs.of[failureKey{session, address}]; ok && time.Now().Before(f.until) {
		return f.err
	}
	return nil
}

// record notes how a dial ended.
func (fs *failures) record(session, address string, err error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	key := failureKey{session, address}
	if err == nil {
		delete(fs.of, key)
		return
	}
	now := time.Now()
	if len(fs.of) >= manyFailures {
		for k, f := range fs.of {
			if now.After(f.until.Add(longestWait)) {
				delete(fs.of, k)
			}
		}
	}
	if fs.of == nil {
		fs.of = make(map[failureKey]failure)
	}
	pause := firstPause
	if last, ok := fs.of[key]; ok {
		pause = min(2*last.pause, longestWait)
	}
	fs.of[key] = failure{err: err, until: now.Add(pause), pause: pause}
}
