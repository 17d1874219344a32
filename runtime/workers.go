package cajun

import "sync"

// maxIdleWorkers bounds how many goroutines wait for activations to run.
const maxIdleWorkers = 256

// workers are the goroutines that run activations. They are used again, as
// much of the cost of a short turn would otherwise go into growing a new
// goroutine's stack; the one that became idle last is taken first.
type workers struct {
	mu     sync.Mutex
	closed bool
	idle   []*worker
	all    sync.WaitGroup
}

type worker struct{ work chan *activation }

// run runs an activation on an idle worker, or on a new one.
func (ws *workers) run(a *activation) {
	ws.mu.Lock()
	if last := len(ws.idle) - 1; last >= 0 {
		w := ws.idle[last]
		ws.idle = ws.idle[:last]
		ws.mu.Unlock()
		w.work <- a
		return
	}
	ws.all.Add(1)
	ws.mu.Unlock()
	w := &worker{work: make(chan *activation, 1)}
	w.work <- a
	go ws.loop(w)
}

func (ws *workers) loop(w *worker) {
	defer ws.all.Done()
	for a := range w.work {
		a.run()
		ws.mu.Lock()
		if ws.closed || len(ws.idle) == maxIdleWorkers {
			ws.mu.Unlock()
			return
		}
		ws.idle = append(ws.idle, w)
		ws.mu.Unlock()
	}
}

// stream runs f, which feeds a stream, on a goroutine of its own. It reports false
// when no more are started.
func (ws *workers) stream(f func()) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		return false
	}
	ws.all.Go(f)
	return true
}

// close lets idle workers go, and the others when they are done. No activation
// is run after it, except by activations that run already.
func (ws *workers) close() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.closed = true
	for _, w := range ws.idle {
		close(w.work)
	}
	ws.idle = nil
}
