//go:build unix

package failpoint

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/cajunetcd"
	"github.com/cajun-go/cajun/crashtest/internal/process"
	cajun "github.com/cajun-go/cajun/runtime"
)

// cluster is node processes that fail and are started anew, and nodes in this
// process that only call.
type cluster struct {
	t        testing.TB
	settings settings
	clients  []*cajun.Node
	nodes    []*process.Process
	deck     *deck
	// progress tells how many calls the load has made.
	progress func() int64
	keepers  sync.WaitGroup
}

// startEtcd starts an etcd in a process of its own and returns its endpoint.
func startEtcd(t testing.TB) string {
	t.Helper()
	return process.Spawn(t, process.RoleEtcd, "etcd", process.EtcdSettings{Dir: t.TempDir()}).Ready()
}

// startCluster starts nodes that fail nowhere yet, and clients.
func startCluster(t testing.TB, nodes int, s settings) *cluster {
	t.Helper()
	s.Verbose = *verbose
	c := &cluster{t: t, settings: s, progress: func() int64 { return 0 }}
	for i := range nodes {
		c.nodes = append(c.nodes, c.launch(i, aim{}))
	}
	for _, n := range c.nodes {
		n.Ready()
	}
	for i := range 2 {
		c.clients = append(c.clients, c.client(fmt.Sprint("client-", i)))
	}
	return c
}

func (c *cluster) launch(i int, a aim) *process.Process {
	s := c.settings
	s.Name, s.Aim = fmt.Sprint("node-", i), a.String()
	return process.Launch(c.t, roleNode, s.Name, s)
}

func (c *cluster) client(name string) *cajun.Node {
	c.t.Helper()
	node, err := cajun.Start(c.t.Context(), cajunetcd.With(clientv3.Config{Endpoints: []string{c.settings.Etcd}}), cajun.WithCluster(c.settings.Cluster),
		cajun.WithName(name), cajun.WithLeaseTTL(c.settings.TTL), cajun.WithClientOnly(),
		cajun.WithLogger(slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { node.Close() })
	return node
}

// anyClient returns one of the clients.
func (c *cluster) anyClient() *cajun.Node { return c.clients[rand.IntN(len(c.clients))] }

// fail makes nodes fail where the deck says, and has all of them running again
// when it returns.
func (c *cluster) fail(d *deck) {
	c.t.Helper()
	c.deck = d
	for i := range c.nodes {
		c.keepers.Go(func() { c.keep(i) })
	}
	c.keepers.Wait()
	for _, n := range c.nodes {
		n.Ready()
	}
}

// keep has a node fail again and again, until the deck is empty. Each life but
// the first one knows from its start where it is to fail.
func (c *cluster) keep(i int) {
	a, more := c.deck.draw()
	if more {
		_ = c.nodes[i].TryTell("aim %v", a)
	}
	for more && !c.t.Failed() {
		c.watch(c.nodes[i], a)
		a, more = c.deck.draw()
		c.nodes[i] = c.launch(i, a)
	}
}

const (
	// boredom is how long a node may take to get to its point before it is to
	// fail at the next hit, and hopeless how long before it is killed anywhere.
	boredom  = 1500 * time.Millisecond
	hopeless = 4 * time.Second
)

// watch waits until a node has failed, and sees to it that it does.
func (c *cluster) watch(n *process.Process, a aim) {
	bored, hope := time.NewTimer(process.Patience(boredom)), time.NewTimer(process.Patience(hopeless))
	defer bored.Stop()
	defer hope.Stop()
	for {
		_, stopped, news := n.Find("stopped ")
		if stopped {
			c.wake(n)
			c.deck.did(a)
			return
		}
		select {
		case <-news:
			continue
		case <-n.Ended():
			if _, died, _ := n.Find("died "); !died {
				c.t.Errorf("%s ended by itself, aiming at %v; it said %q", n.Name(), a, n.Said())
				return
			}
			c.deck.did(a)
			return
		case <-bored.C:
			a.hit = 1
			_ = n.TryTell("aim %v", a) // it may have failed just now
			continue
		case <-hope.C:
		}
		n.Kill()
		if _, died, _ := n.Find("died "); died {
			c.deck.did(a)
		} else {
			c.deck.missed(a)
		}
		return
	}
}

// wake lets a node go on that has stopped itself, once others have taken over
// what it owned and have worked with that, and ends it.
func (c *cluster) wake(n *process.Process) {
	session, ready, _ := n.Find("ready ")
	if ready {
		c.until("the session of the stopped node is over", func() bool { return !c.isMember(session) })
		before := c.progress()
		c.until("others go on", func() bool { return c.progress() > before+100 })
		n.Resume()
		_ = n.TryTell("go-on")
		c.until("the node that was stopped ends", func() bool {
			select {
			case <-n.Ended():
				return true
			default:
				return false
			}
		})
	}
	n.Kill()
}

func (c *cluster) isMember(session string) bool {
	for _, m := range c.clients[0].Cluster().Members {
		if m.Session == session {
			return true
		}
	}
	return false
}

// until polls until the condition holds, for some time, and reports whether it
// does.
func (c *cluster) until(what string, holds func() bool) bool {
	ctx, cancel := context.WithTimeout(c.t.Context(), process.Limit(20*time.Second))
	defer cancel()
	if !poll(ctx, holds) {
		c.t.Errorf("never: %s", what)
		return false
	}
	return true
}

// poll asks again and again whether a condition holds, until it does or ctx
// ends.
func poll(ctx context.Context, holds func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// deck is the aims that are still to come, and what has come of the others.
type deck struct {
	mu   sync.Mutex
	aims []aim
	// stopping is whether a node is to stop itself: one at a time, as the others
	// have to take over from it.
	stopping bool
	// done counts the failures at each point, and misses how often a point was
	// not reached in time.
	done, misses map[string]int
	log          []string
}

func newDeck(aims []aim) *deck {
	return &deck{aims: aims, done: make(map[string]int), misses: make(map[string]int)}
}

func (d *deck) draw() (aim, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.aims) == 0 {
		return aim{}, false
	}
	i := slices.IndexFunc(d.aims, func(a aim) bool { return !a.stop || !d.stopping })
	if i < 0 { // nothing but stops is left, which is for the node that stops now
		return aim{}, false
	}
	a := d.aims[i]
	d.aims = slices.Delete(d.aims, i, i+1)
	d.stopping = d.stopping || a.stop
	return a, true
}

func (d *deck) did(a aim) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done[a.point]++
	d.stopping = d.stopping && !a.stop
	d.log = append(d.log, a.String())
}

// maxMisses is how often it is tried to fail at a point that is not reached.
const maxMisses = 3

// missed puts an aim back, to be tried again later.
func (d *deck) missed(a aim) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.misses[a.point]++
	d.stopping = d.stopping && !a.stop
	d.log = append(d.log, "killed without getting to "+a.String())
	if d.misses[a.point] < maxMisses {
		a.hit = 1
		d.aims = append(d.aims, a)
	}
}

// String tells the failures in order.
func (d *deck) String() string { return strings.Join(d.log, ", ") }
