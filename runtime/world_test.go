package cajun_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cajun-go/cajun/cajuntest"
	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/link/memlink"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// world is a cluster with the stage that its actors play on.
type world struct {
	*cajuntest.Cluster
	*stage
	t testing.TB
}

// newWorld starts a cluster whose nodes host both kinds.
func newWorld(t testing.TB, nodes int, opts ...cajun.Option) *world {
	t.Helper()
	s := newStage()
	return &world{Cluster: cajuntest.Start(t, nodes, append([]cajun.Option{s.options()}, opts...)...), stage: s, t: t}
}

// echoOn returns an echo actor that lives on node owner, to be called through
// node from. Different names give different actors.
func (w *world) echoOn(from, owner int, name string) probev1cajun.EchoPid {
	w.t.Helper()
	return probev1cajun.NewEchoPid(w.Node(from), w.placed(owner, name, func(key string) (cajun.Target, error) {
		pid := probev1cajun.NewEchoPid(w.Node(from), key)
		_, err := pid.Echo(testContext(w.t), &probev1.EchoRequest{})
		return pid, err
	}))
}

// counterOn is echoOn for counters.
func (w *world) counterOn(from, owner int, name string) probev1cajun.CounterPid {
	w.t.Helper()
	return probev1cajun.NewCounterPid(w.Node(from), w.placed(owner, name, func(key string) (cajun.Target, error) {
		pid := probev1cajun.NewCounterPid(w.Node(from), key)
		_, err := pid.Get(testContext(w.t), &probev1.GetRequest{})
		return pid, err
	}))
}

func (w *world) placed(owner int, name string, touch func(key string) (cajun.Target, error)) string {
	w.t.Helper()
	for k := range 200 {
		key := fmt.Sprintf("%s-%d", name, k)
		pid, err := touch(key)
		if err != nil {
			w.t.Fatalf("placing %s: %v", key, err)
		}
		if w.Owner(pid) != owner {
			continue
		}
		if inBubble() {
			// The leader evens out what was claimed so far.
			time.Sleep(balanceTime)
			if _, err := touch(key); err != nil {
				w.t.Fatalf("placing %s: %v", key, err)
			}
			if w.Owner(pid) != owner {
				continue
			}
		}
		w.forget(key)
		return key
	}
	w.t.Fatalf("no key of %s lands on node %d", name, owner)
	return ""
}

// balanceTime is longer than the leader takes to move what was just claimed.
const balanceTime = 2 * time.Second

// inBubble reports whether time is synctest's, which begins in the year 2000.
func inBubble() bool { return time.Now().Year() < 2010 }

// forget starts the count of an actor's runs anew.
func (s *stage) forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.runs, key)
}

// sites runs a test for an actor on the caller's own node and for one on
// another node. w has at least two nodes; calls go through node 0.
func (w *world) sites(t *testing.T, f func(t *testing.T, owner int)) {
	t.Run("local", func(t *testing.T) { f(t, 0) })
	t.Run("remote", func(t *testing.T) { f(t, 1) })
}

// gateway lets handlers wait for the test: they enter, and go on when the
// test opens it.
type turnstile struct {
	entered chan struct{}
	open    chan struct{}
}

// hold makes handlers with this script wait until the returned turnstile is
// opened, whatever their context says.
func (w *world) hold(name string) *turnstile {
	g := &turnstile{entered: make(chan struct{}, 1000), open: make(chan struct{})}
	w.on(name, func(context.Context, *cajun.Self) error {
		g.entered <- struct{}{}
		<-g.open
		return nil
	})
	w.t.Cleanup(g.release)
	return g
}

func (g *turnstile) release() {
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}

// receive returns the next value, or fails the test.
func receive[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	timer := time.NewTimer(15 * time.Second)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// async makes a call in a goroutine of its own.
func async[T any](f func() (T, error)) <-chan answer[T] {
	c := make(chan answer[T], 1)
	go func() {
		v, err := f()
		c <- answer[T]{v, err}
	}()
	return c
}

type answer[T any] struct {
	value T
	err   error
}

// tap is a transport that lets a test see and stop frames, and forge some.
type tap struct {
	link.Transport

	mu sync.Mutex
	// outgoing is asked for each frame that is sent, one at a time; false
	// swallows it.
	outgoing func(from string, f link.Frame) bool
	// sent is told of each frame that was sent, with its number.
	sent      func(from string, f link.Frame)
	endpoints map[string]*tappedEndpoint
}

func newTap() *tap {
	return &tap{Transport: memlink.NewNetwork().Transport(), endpoints: map[string]*tappedEndpoint{}}
}

func (t *tap) Open(ctx context.Context, cfg link.Config) (link.Endpoint, error) {
	e, err := t.Transport.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	tapped := &tappedEndpoint{Endpoint: e, tap: t, cfg: cfg}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endpoints[cfg.Session] = tapped
	return tapped, nil
}

// watch sets what sees the frames that are sent.
func (t *tap) watch(f func(from string, f link.Frame) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outgoing = f
}

// watchSent sets what is told of the frames that were sent.
func (t *tap) watchSent(f func(from string, f link.Frame)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent = f
}

func (t *tap) passes(from string, f link.Frame) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.outgoing == nil || t.outgoing(from, f)
}

// inject makes a node receive a frame as if it came from another session.
func (t *tap) inject(to, from string, f link.Frame) {
	t.mu.Lock()
	e := t.endpoints[to]
	t.mu.Unlock()
	e.cfg.Receiver.Receive(from, f)
}

// breaks tells a node that its connection to another session has broken.
func (t *tap) breaks(node, session string) {
	t.mu.Lock()
	e := t.endpoints[node]
	t.mu.Unlock()
	e.cfg.Receiver.PeerDown(session, io.ErrUnexpectedEOF)
}

type tappedEndpoint struct {
	link.Endpoint
	tap *tap
	cfg link.Config
}

func (e *tappedEndpoint) Send(ctx context.Context, to link.Peer, f link.Frame) error {
	if !e.tap.passes(e.cfg.Session, f) {
		f.Settle()
		return nil
	}
	err := e.Endpoint.Send(ctx, to, f)
	e.tap.mu.Lock()
	defer e.tap.mu.Unlock()
	if e.tap.sent != nil && err == nil {
		e.tap.sent(e.cfg.Session, f)
	}
	return err
}

// fakeTime runs a test in a bubble of its own, where time costs nothing and
// synctest.Wait tells that nothing moves any more: once for an actor on the
// caller's node, 0, and once for one on another, 1.
func fakeTime(t *testing.T, nodes int, f func(t *testing.T, w *world, owner int), opts ...cajun.Option) {
	t.Parallel()
	for owner, name := range []string{"local", "remote"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble.Test(t, func(t *testing.T) { f(t, newWorld(t, nodes, opts...), owner) })
		})
	}
}

// hooksOf returns the activations and passivations of one actor as pluses and
// minuses.
func (s *stage) hooksOf(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	signs := ""
	for _, h := range s.hooks {
		if h == "+"+key || h == "-"+key {
			signs += h[:1]
		}
	}
	return signs
}

func (s *stage) forgetHooks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = nil
}

// key returns the key of a Pid.
func key(p fmt.Stringer) string {
	_, k, _ := strings.Cut(p.String(), "/")
	return k
}
