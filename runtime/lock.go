package cajun

import "sync"

// lock is a mutex for what is held while a store writes. Who waits for it waits
// for that long, and in a bubble of synctest such a wait must let time pass,
// which one for a sync.Mutex does not. The zero value is not locked.
type lock struct {
	mu   sync.Mutex
	held bool
	// free wakes who waits.
	free sync.Cond
}

// Lock implements sync.Locker.
func (l *lock) Lock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.held {
		l.free.L = &l.mu
		l.free.Wait()
	}
	l.held = true
}

// Unlock implements sync.Locker.
func (l *lock) Unlock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	l.free.Signal()
}
