//go:build unix

package crashtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/cajunetcd"
	"github.com/cajun-go/cajun/crashtest/internal/process"
	greeterv1 "github.com/cajun-go/cajun/examples/gen/greeter/v1"
	"github.com/cajun-go/cajun/examples/gen/greeter/v1/greeterv1cajun"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/member"
	cajun "github.com/cajun-go/cajun/runtime"
)

// roleNode is the role of a child that is a node.
const roleNode = "node"

// settings configure a node.
type settings struct {
	Name, Cluster string
	Etcd          []string
	TTL           time.Duration
}

// nodeMain is the life of a node: it reads commands from standard input and
// stops at once when that ends.
func nodeMain() int {
	out := &process.Speaker{}
	var s settings
	if err := process.Settings(&s); err != nil {
		out.Say("failed %v", err)
		return 1
	}
	g := &greeters{name: s.Name, out: out, released: make(chan struct{})}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	node, err := cajun.Start(ctx,
		cajunetcd.With(clientv3.Config{Endpoints: s.Etcd}), cajun.WithCluster(s.Cluster), cajun.WithName(s.Name),
		cajun.WithLeaseTTL(s.TTL), g.host(),
		cajun.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))),
	)
	if err != nil {
		out.Say("failed %v", err)
		return 1
	}
	c := &child{node: node, out: out, greeters: g}
	out.Say("ready %s", node.ID())
	go func() {
		c.obey(os.Stdin)
		g.release()
		node.Close()
	}()
	<-node.Done()
	c.work.Wait()
	switch err := node.Err(); {
	case err == nil:
		out.Say("ended well")
	case errors.Is(err, member.ErrLost):
		out.Say("ended lost %v", err)
	default:
		out.Say("ended badly %v", err)
	}
	return 0
}

// child is a node and what its parent asks of it.
type child struct {
	node     *cajun.Node
	out      *process.Speaker
	greeters *greeters
	work     sync.WaitGroup
}

func (c *child) obey(commands io.Reader) {
	lines := bufio.NewScanner(commands)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "release":
			c.greeters.release()
		case "greet": // id, level, key, name
			c.work.Go(func() { c.greet(words[1], words[2], words[3], words[4]) })
		case "tally": // id, key
			c.work.Go(func() { c.tally(words[1], words[2]) })
		case "drain": // at most this long
			limit, _ := time.ParseDuration(words[1])
			c.work.Go(func() { c.drain(limit) })
		}
	}
}

func (c *child) greet(id, level, key, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	reply, err := greeterv1cajun.NewGreeterPid(c.node, key).Greet(cajun.Deliver(ctx, levelNamed(level)), &greeterv1.GreetRequest{Name: name})
	if err != nil {
		c.out.Say("result %s error %v %v", id, cajun.OutcomeOf(err), err)
		return
	}
	c.out.Say("result %s ok %s", id, reply.GetNode())
}

func (c *child) tally(id, key string) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	reply, err := greeterv1cajun.NewGreeterPid(c.node, key).Tally(ctx, &greeterv1.TallyRequest{})
	if err != nil {
		c.out.Say("result %s error %v %v", id, cajun.OutcomeOf(err), err)
		return
	}
	c.out.Say("result %s ok %d", id, reply.GetAtMostOnce())
}

func (c *child) drain(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := c.node.Drain(ctx); err != nil {
		c.out.Say("not drained %v", err)
		return
	}
	c.out.Say("drained")
}

func levelNamed(name string) guarantee.Level {
	for _, l := range levels {
		if l.String() == name {
			return l
		}
	}
	return guarantee.Unspecified
}

// holdName is the name whose greeting takes until the parent says release.
const holdName = "hold"

// greeters are the actors of a child.
type greeters struct {
	name     string
	out      *process.Speaker
	once     sync.Once
	released chan struct{}
}

func (g *greeters) release() { g.once.Do(func() { close(g.released) }) }

func (g *greeters) host() cajun.Option {
	return greeterv1cajun.HostGreeter(func(self *cajun.Self, state *greeterv1.GreeterState) (*greeter, error) {
		return &greeter{all: g, self: self, state: state}, nil
	})
}

// greeter adds each call's own mark to the counter of its level.
type greeter struct {
	greeterv1cajun.UnimplementedGreeter
	all   *greeters
	self  *cajun.Self
	state *greeterv1.GreeterState
}

// Greet adds the mark that the name spells. It ignores its context, as the
// worst of handlers do.
func (g *greeter) Greet(ctx context.Context, req *greeterv1.GreetRequest) (*greeterv1.GreetResponse, error) {
	mark := uint64(1)
	if req.GetName() == holdName {
		g.all.out.Say("entered %s", g.self.Key())
		<-g.all.released
	} else if _, err := fmt.Sscan(req.GetName(), &mark); err != nil {
		return nil, err
	}
	switch call, _ := cajun.CallFrom(ctx); call.Level {
	case guarantee.ExactlyOnce:
		g.state.ExactlyOnce += mark
	case guarantee.AtLeastOnce:
		g.state.AtLeastOnce += mark
	default:
		g.state.AtMostOnce += mark
	}
	return &greeterv1.GreetResponse{Node: g.all.name}, nil
}

// Tally tells the marks.
func (g *greeter) Tally(context.Context, *greeterv1.TallyRequest) (*greeterv1.TallyResponse, error) {
	return &greeterv1.TallyResponse{
		AtMostOnce: g.state.GetAtMostOnce(), AtLeastOnce: g.state.GetAtLeastOnce(), ExactlyOnce: g.state.GetExactlyOnce(), Node: g.all.name,
	}, nil
}

// Wave does nothing.
func (g *greeter) Wave(context.Context, *greeterv1.WaveRequest) error { return nil }
