package main

import (
	"context"
	"fmt"
	"iter"

	greeterv1 "github.com/cajun-go/cajun/examples/gen/greeter/v1"
	"github.com/cajun-go/cajun/examples/gen/greeter/v1/greeterv1cajun"
	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
)

// greeter is the actor: one per key, wherever it lives at the moment.
type greeter struct {
	greeterv1cajun.UnimplementedGreeter
	self  *cajun.Self
	node  string
	state *greeterv1.GreeterState
	// greetings has those who watch.
	greetings cajun.Topic[*greeterv1.WatchResponse]
}

// hostGreeter lets a node host greeters that tell its name.
func hostGreeter(node string) cajun.Option {
	return greeterv1cajun.HostGreeter(func(self *cajun.Self, state *greeterv1.GreeterState) (*greeter, error) {
		return &greeter{self: self, node: node, state: state}, nil
	})
}

// Greet changes the state in place. The runtime stores it together with the
// reply before the caller gets to see either.
func (g *greeter) Greet(ctx context.Context, req *greeterv1.GreetRequest) (*greeterv1.GreetResponse, error) {
	call, _ := cajun.CallFrom(ctx)
	switch call.Level {
	case guarantee.ExactlyOnce:
		g.state.ExactlyOnce++
	case guarantee.AtLeastOnce:
		g.state.AtLeastOnce++
	default:
		g.state.AtMostOnce++
	}
	name := req.GetName()
	if name == "" {
		name = "stranger"
	}
	greeting := fmt.Sprintf("Hello %s, this is %s.", name, g.self.Key())
	greetings := g.state.AtMostOnce + g.state.AtLeastOnce + g.state.ExactlyOnce
	err := g.greetings.Publish(ctx, &greeterv1.WatchResponse{Greeting: greeting, Greetings: greetings})
	return &greeterv1.GreetResponse{Greeting: greeting, Greetings: greetings, Node: g.node}, err
}

// Watch returns at once; what Greet publishes goes to all who watch, once it is
// stored.
func (g *greeter) Watch(ctx context.Context, _ *greeterv1.WatchRequest) (iter.Seq2[*greeterv1.WatchResponse, error], error) {
	return g.greetings.Subscribe(ctx), nil
}

// Tally only reads.
func (g *greeter) Tally(context.Context, *greeterv1.TallyRequest) (*greeterv1.TallyResponse, error) {
	return &greeterv1.TallyResponse{
		AtMostOnce:  g.state.AtMostOnce,
		AtLeastOnce: g.state.AtLeastOnce,
		ExactlyOnce: g.state.ExactlyOnce,
		Node:        g.node,
	}, nil
}

// Wave is for callers that do not wait.
func (g *greeter) Wave(context.Context, *greeterv1.WaveRequest) error { return nil }
