package cajun

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// agenda is when the actors of a shard need to be looked after although nobody
// calls them: for timers, and for messages whose next attempt is due. It costs
// one entry for an actor, and one timer of the process for the shard.
type agenda struct {
	shard *shard
	mu    sync.Mutex
	queue appointments
	byKey map[string]*appointment
	timer *time.Timer
	over  bool
}

// appointment is when an actor is next to be looked after, in Unix nanoseconds.
type appointment struct {
	key   string
	at    int64
	index int
}

// busyPause is how long an agenda waits when the node looks after as many actors
// as it should.
const busyPause = 5 * time.Millisecond

// set makes at the time at which the actor is looked after; 0 is never.
func (g *agenda) set(key string, at int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.put(key, at)
}

// put is set for who holds g.mu.
func (g *agenda) put(key string, at int64) {
	entry := g.byKey[key]
	switch {
	case entry == nil && at == 0:
		return
	case entry == nil:
		entry = &appointment{key: key, at: at}
		if g.byKey == nil {
			g.byKey = make(map[string]*appointment)
		}
		g.byKey[key] = entry
		heap.Push(&g.queue, entry)
	case at == 0:
		heap.Remove(&g.queue, entry.index)
		delete(g.byKey, key)
	case entry.at == at:
		return
	default:
		entry.at = at
		heap.Fix(&g.queue, entry.index)
	}
	g.arm(0)
}

// bring sees to it that the actor is looked after at that time at the latest.
func (g *agenda) bring(key string, at int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if entry := g.byKey[key]; entry == nil || entry.at > at {
		g.put(key, at)
	}
}

// arm sets the timer for the first appointment, and not before the pause is
// over. g.mu is held.
func (g *agenda) arm(pause time.Duration) {
	if len(g.queue) == 0 || g.over {
		return
	}
	d := max(time.Until(time.Unix(0, g.queue[0].at)), pause)
	if g.timer == nil {
		g.timer = time.AfterFunc(d, g.ring)
		return
	}
	g.timer.Reset(d)
}

// ring has those looked after whose time has come.
func (g *agenda) ring() {
	s := g.shard
	now := time.Now().UnixNano()
	g.mu.Lock()
	var due []string
	pause := time.Duration(0)
	for len(g.queue) > 0 && g.queue[0].at <= now && !g.over {
		if !s.node.tryVisit() {
			pause = busyPause
			break
		}
		entry := heap.Pop(&g.queue).(*appointment)
		delete(g.byKey, entry.key)
		due = append(due, entry.key)
	}
	g.arm(pause)
	g.mu.Unlock()
	for _, key := range due {
		s.visit(key, func() {})
	}
}

// stop ends the agenda.
func (g *agenda) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	if g.timer != nil {
		g.timer.Stop()
	}
}

// tryVisit takes one of the node's places for visits, and takeVisit waits for
// one. A visit gives it back.
func (n *Node) tryVisit() bool {
	select {
	case n.visits <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s *shard) takeVisit() bool {
	select {
	case s.node.visits <- struct{}{}:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// visit has an actor loaded and looked after, and calls done when it was loaded
// or the shard is gone. It has one of the node's places for that, and gives it
// back early when the actor is busy: others are not to wait for its handler.
func (s *shard) visit(key string, done func()) {
	leave := sync.OnceFunc(func() { <-s.node.visits })
	over := sync.OnceFunc(func() {
		leave()
		done()
	})
	stop := context.AfterFunc(s.ctx, over)
	busy := s.attend(key, func() {
		stop()
		over()
	})
	if busy {
		leave()
	}
}

// appointments is a heap, the next one first.
type appointments []*appointment

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (q appointments) Len() int           { return len(q) }
func (q appointments) Less(i, j int) bool { return q[i].at < q[j].at }
func (q appointments) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *appointments) Push(x any) {
	entry := x.(*appointment)
	entry.index = len(*q)
	*q = append(*q, entry)
}

func (q *appointments) Pop() any {
	last := len(*q) - 1
	entry := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return entry
}
