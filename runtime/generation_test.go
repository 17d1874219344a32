package cajun_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/cajuntest"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
)

// generation is a kind as one version of its service declares it, with a method
// that all versions have and some that only this one has.
type generation struct {
	kind *cajun.Kind
	say  *cajun.Method[*probev1.EchoRequest, *probev1.EchoReply]
	more []*cajun.Method[*probev1.EchoRequest, *probev1.EchoReply]
	// names are those of more.
	names []string
}

func newGeneration(name string, aliases []string, more ...string) *generation {
	g := &generation{names: more, kind: &cajun.Kind{Name: name, Aliases: aliases, Shards: 8}}
	g.say = cajun.NewMethod[*probev1.EchoRequest, *probev1.EchoReply](g.kind, "Say", cajun.MethodOptions{})
	for _, m := range more {
		g.more = append(g.more, cajun.NewMethod[*probev1.EchoRequest, *probev1.EchoReply](g.kind, m, cajun.MethodOptions{}))
	}
	return g
}

func (g *generation) host() cajun.Option {
	answer := func(text string) func(struct{}, context.Context, *probev1.EchoRequest) (*probev1.EchoReply, error) {
		return func(struct{}, context.Context, *probev1.EchoRequest) (*probev1.EchoReply, error) {
			return &probev1.EchoReply{Text: text}, nil
		}
	}
	handlers := []cajun.Handler[struct{}]{cajun.Handle(g.say, answer("said"))}
	for _, m := range g.more {
		handlers = append(handlers, cajun.Handle(m, answer("more")))
	}
	return cajun.Host(g.kind, func(*cajun.Self) (struct{}, error) { return struct{}{}, nil }, handlers...)
}

// pid addresses an actor as this generation knows it.
func (g *generation) pid(from cajun.Caller, key string) cajun.Pid {
	return cajun.NewPid(from, g.kind, key)
}

// TestNewMethodsGoToNodesThatHaveThem upgrades a cluster of two nodes while
// somebody calls a method that only the new generation has: no node of the old one
// is ever sent the call.
func TestNewMethodsGoToNodesThatHaveThem(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	older, newer := newGeneration("probe.v1.Grown", nil), newGeneration("probe.v1.Grown", nil, "More")
	wire := newTap()
	var sent atomic.Int64
	c := cajuntest.Start(t, 0, cajun.WithTransport(wire))
	old := []int{c.Add(older.host()), c.Add(older.host())}
	from := c.Node(c.Add(cajun.WithClientOnly()))
	olds := map[string]bool{c.Node(old[0]).ID(): true, c.Node(old[1]).ID(): true}
	wire.watch(func(_ string, f link.Frame) bool {
		if f.Request != nil && f.Request.Method == "More" {
			sent.Add(1)
		}
		return true
	})
	more := func(ctx context.Context, key string) error {
		_, err := newer.more[0].Call(ctx, newer.pid(from, key), new(probev1.EchoRequest))
		return err
	}
	keys := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for _, key := range keys {
		if _, err := older.say.Call(ctx, older.pid(from, key), new(probev1.EchoRequest)); err != nil {
			t.Fatal(err)
		}
	}
	err := more(ctx, "a")
	wantRefusal(t, err, connect.CodeUnimplemented, "no live node", "the method More", "upgrade nodes before")
	if n := sent.Load(); n != 0 {
		t.Fatalf("%d calls were sent to nodes that do not have the method", n)
	}

	c.Add(newer.host())
	onOld := ""
	for _, key := range keys {
		if olds[c.Node(c.Owner(newer.pid(from, key))).ID()] {
			onOld = key
		}
	}
	if onOld == "" {
		t.Fatal("all actors have left the old nodes already")
	}
	brief, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	before := sent.Load()
	err = more(brief, onOld)
	wantOutcome(t, err, guarantee.NotExecuted, "has no method More", "go on with the upgrade")
	if sent.Load() != before {
		t.Error("the call was sent to a node that does not have the method")
	}
	// Who waits gets an answer once the actor has moved.
	answered := async(func() (struct{}, error) { return struct{}{}, more(ctx, onOld) })
	for _, i := range old {
		if err := c.Node(i).Drain(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if r := receive(t, "the answer of the new node", answered); r.err != nil {
		t.Error(r.err)
	}
}

// TestUnclaimedActorsGoWhereTheMethodIs makes many first calls, each of which has
// to find a node for its actor.
func TestUnclaimedActorsGoWhereTheMethodIs(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	older, newer := newGeneration("probe.v1.Grown", nil), newGeneration("probe.v1.Grown", nil, "More")
	c := cajuntest.Start(t, 0)
	c.Add(older.host())
	c.Add(newer.host())
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		brief, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := newer.more[0].Call(brief, newer.pid(c.Client(), key), new(probev1.EchoRequest))
		if cancel(); err != nil {
			t.Errorf("key %s: %v", key, err)
		}
	}
}

// TestCallersMayKnowTheNewNameFirst renames a kind, and callers that are deployed
// before any of its hosts.
func TestCallersMayKnowTheNewNameFirst(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	older, newer := newGeneration("probe.v0.Grown", nil), newGeneration("probe.v1.Grown", []string{"probe.v0.Grown"}, "More")
	c := cajuntest.Start(t, 1, older.host())
	r, err := newer.say.Call(ctx, newer.pid(c.Client(), "a"), new(probev1.EchoRequest))
	if err != nil || r.GetText() != "said" {
		t.Fatalf("got %v, %v", r, err)
	}
}
