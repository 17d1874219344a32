package cajuntest_test

import (
	"bytes"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/cajun-go/cajun/cajuntest"
	greeterv1 "github.com/cajun-go/cajun/examples/gen/greeter/v1"
	"github.com/cajun-go/cajun/examples/gen/greeter/v1/greeterv1cajun"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	cajun "github.com/cajun-go/cajun/runtime"
)

// This is what the README shows.
func TestClientOutlivesOwners(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, c *cajuntest.Cluster) {
		alice := greeterv1cajun.NewGreeterPid(c.Client(), "alice")
		for want := uint64(1); want <= 3; want++ {
			reply, err := alice.Greet(cajun.Deliver(t.Context(), guarantee.ExactlyOnce), &greeterv1.GreetRequest{})
			if err != nil || reply.GetGreetings() != want {
				t.Fatalf("greeting %d: %v, %v", want, reply, err)
			}
			if want < 3 {
				c.Kill(c.Owner(alice))
			}
		}
		if n := c.Client(); c.Node(c.Owner(alice)) == n || n.Err() != nil {
			t.Errorf("the client holds an actor, or ended: %v", n.Err())
		}
	})
}

// The client is in the cluster that the options name, also when node 0 is dead
// by then, and there is one client however many ask at once.
func TestClientFindsTheCluster(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := cajuntest.Start(t, 2, host(), cajun.WithCluster("other"))
		c.Kill(0)
		clients := make([]*cajun.Node, 4)
		var asking sync.WaitGroup
		for i := range clients {
			asking.Go(func() { clients[i] = c.Client() })
		}
		asking.Wait()
		for _, n := range clients {
			if n != clients[0] {
				t.Error("there are several clients")
			}
		}
		if i := c.Add(); i != 2 || c.Size() != 3 {
			t.Errorf("the client has a number: Add made node %d of %d", i, c.Size())
		}
		if err := greet(t, c, 1, "alice", time.Minute, 0); err != nil {
			t.Error(err)
		}
		if _, err := greeterv1cajun.NewGreeterPid(clients[0], "alice").Greet(t.Context(), &greeterv1.GreetRequest{}); err != nil {
			t.Error(err)
		}
	})
}

// listener is a test whose log can be read.
type listener struct {
	testing.TB
	mu  sync.Mutex
	log bytes.Buffer
}

func (l *listener) Output() io.Writer { return l }

func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.Write(p)
}

// A killed node does not complain about its own death. The others do tell that
// they buried it.
func TestTheDeadAreSilent(t *testing.T) {
	l := &listener{TB: t}
	inBubble(t, 1, func(t *testing.T, _ *cajuntest.Cluster) {
		l.TB = t
		c := cajuntest.Start(l, 3, host())
		if err := greet(t, c, 0, "alice", time.Minute, 0); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			c.Kill(i)
			time.Sleep(time.Minute) // of the bubble
		}
	})
	for line := range bytes.Lines(l.log.Bytes()) {
		if !bytes.Contains(line, []byte("buried a member")) {
			t.Errorf("logged: %s", line)
		}
	}
}
