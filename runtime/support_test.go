package cajun_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// stage is what the actors of one test share with it.
type stage struct {
	mu sync.Mutex
	// runs counts the handler runs per actor.
	runs map[string]int
	// acts are what handlers do when a request's script names them.
	acts map[string]func(context.Context, *cajun.Self) error
	// streams are the events of a stream whose request's script names them.
	streams map[string]func(context.Context) iter.Seq2[*probev1.AddReply, error]
	// seen are the calls that handlers ran for.
	seen []cajun.Call
	// hook is what counters do when they enter memory.
	hook func(context.Context, *cajun.Self) error
	// leaving is told which counters leave memory.
	leaving func(key string)
	// hooks are the activations and passivations, in order.
	hooks []string
}

func newStage() *stage {
	return &stage{runs: map[string]int{}, acts: map[string]func(context.Context, *cajun.Self) error{}, streams: map[string]func(context.Context) iter.Seq2[*probev1.AddReply, error]{}}
}

// on lets handlers do f when a request's script or text is name.
func (s *stage) on(name string, f func(context.Context, *cajun.Self) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acts[name] = f
}

// onWatch lets Watch return the events of f when a request's script is name.
func (s *stage) onWatch(name string, f func(ctx context.Context) iter.Seq2[*probev1.AddReply, error]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[name] = f
}

func (s *stage) play(ctx context.Context, self *cajun.Self, script string) error {
	call, _ := cajun.CallFrom(ctx)
	s.mu.Lock()
	s.runs[self.Key()]++
	s.seen = append(s.seen, call)
	f := s.acts[script]
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(ctx, self)
}

func (s *stage) runsOf(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[key]
}

func (s *stage) calls() []cajun.Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]cajun.Call(nil), s.seen...)
}

func (s *stage) note(hook string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = append(s.hooks, hook)
}

func (s *stage) noted() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.hooks, " ")
}

// options hosts both kinds of actors.
func (s *stage) options() cajun.Option {
	return cajun.Options(
		probev1cajun.HostCounter(func(self *cajun.Self, st *probev1.CounterState) (*counter, error) {
			return &counter{stage: s, self: self, state: st}, nil
		}),
		probev1cajun.HostEcho(func(self *cajun.Self) (*echo, error) {
			return &echo{stage: s, self: self}, nil
		}),
	)
}

// counter has durable state.
type counter struct {
	stage *stage
	self  *cajun.Self
	state *probev1.CounterState
	sums  cajun.Topic[*probev1.AddReply]
}

func (c *counter) OnActivate(ctx context.Context) error {
	c.stage.note("+" + c.self.Key())
	if c.stage.hook != nil {
		return c.stage.hook(ctx, c.self)
	}
	return nil
}

func (c *counter) OnPassivate(context.Context) error {
	c.stage.note("-" + c.self.Key())
	if c.stage.leaving != nil {
		c.stage.leaving(c.self.Key())
	}
	return nil
}

func (c *counter) Add(ctx context.Context, r *probev1.AddRequest) (*probev1.AddReply, error) {
	c.state.Sum += r.GetAmount()
	c.state.Runs++
	for k, v := range r.GetLabels() {
		if c.state.ByLabel == nil {
			c.state.ByLabel = map[string]int64{}
		}
		c.state.ByLabel[k] += v
	}
	if err := c.stage.play(ctx, c.self, r.GetScript()); err != nil {
		return nil, err
	}
	reply := &probev1.AddReply{Sum: c.state.Sum, Runs: c.state.Runs, ByLabel: c.state.ByLabel}
	switch r.GetScript() {
	case "huge":
		reply.Padding = make([]byte, link.DefaultMaxMessage+1)
	case "nil":
		return nil, nil
	case "grow":
		c.state.ByLabel = map[string]int64{strings.Repeat("x", 2<<20): 1}
	case "scribble":
		r.Amount = -1
	}
	return reply, c.sums.Publish(ctx, &probev1.AddReply{Sum: c.state.Sum, Runs: c.state.Runs})
}

func (c *counter) AddSure(ctx context.Context, r *probev1.AddRequest) (*probev1.AddReply, error) {
	return c.Add(ctx, r)
}

func (c *counter) AddOnce(ctx context.Context, r *probev1.AddRequest) (*probev1.AddReply, error) {
	return c.Add(ctx, r)
}

func (c *counter) Get(ctx context.Context, r *probev1.GetRequest) (*probev1.AddReply, error) {
	if r.GetScript() == "scribble" {
		c.state.Sum = -1
	}
	if err := c.stage.play(ctx, c.self, r.GetScript()); err != nil {
		return nil, err
	}
	return &probev1.AddReply{Sum: c.state.Sum, Runs: c.state.Runs}, nil
}

func (c *counter) Watch(ctx context.Context, r *probev1.GetRequest) (iter.Seq2[*probev1.AddReply, error], error) {
	if err := c.stage.play(ctx, c.self, r.GetScript()); err != nil {
		return nil, err
	}
	c.stage.mu.Lock()
	f := c.stage.streams[r.GetScript()]
	c.stage.mu.Unlock()
	if f != nil {
		return f(ctx), nil
	}
	return c.sums.Subscribe(ctx, &probev1.AddReply{Sum: c.state.Sum, Runs: c.state.Runs}), nil
}

func (c *counter) Note(ctx context.Context, r *probev1.AddRequest) error {
	_, err := c.Add(ctx, r)
	return err
}

func (c *counter) NoteSure(ctx context.Context, r *probev1.AddRequest) error { return c.Note(ctx, r) }
func (c *counter) NoteOnce(ctx context.Context, r *probev1.AddRequest) error { return c.Note(ctx, r) }

// echo has no state.
type echo struct {
	stage *stage
	self  *cajun.Self
	last  *probev1.EchoRequest
}

func (e *echo) OnPassivate(context.Context) error { e.stage.note("-" + e.self.Key()); return nil }

func (e *echo) Echo(ctx context.Context, r *probev1.EchoRequest) (*probev1.EchoReply, error) {
	e.last = r
	if err := e.stage.play(ctx, e.self, r.GetText()); err != nil {
		return nil, err
	}
	return &probev1.EchoReply{Text: r.GetText(), Payload: r.GetPayload()}, nil
}

func (e *echo) EchoSure(ctx context.Context, r *probev1.EchoRequest) (*probev1.EchoReply, error) {
	return e.Echo(ctx, r)
}

func (e *echo) EchoOnce(ctx context.Context, r *probev1.EchoRequest) (*probev1.EchoReply, error) {
	return e.Echo(ctx, r)
}

func (e *echo) EchoShared(ctx context.Context, r *probev1.EchoRequest) (*probev1.EchoReply, error) {
	return e.Echo(ctx, r)
}

func (e *echo) EchoQuick(ctx context.Context, r *probev1.EchoRequest) (*probev1.EchoReply, error) {
	return e.Echo(ctx, r)
}

func (e *echo) EchoKey(ctx context.Context, r *probev1.KeyRequest) (*probev1.EchoReply, error) {
	return e.Echo(ctx, &probev1.EchoRequest{Text: r.GetActor()})
}

func (e *echo) EchoNumber(ctx context.Context, r *probev1.NumberRequest) (*probev1.EchoReply, error) {
	return e.Echo(ctx, &probev1.EchoRequest{Text: fmt.Sprint(r.GetActor())})
}

func (e *echo) EchoColor(ctx context.Context, r *probev1.ColorRequest) (*probev1.EchoReply, error) {
	return e.Echo(ctx, &probev1.EchoRequest{Text: r.GetActor().String()})
}

func (e *echo) Note(ctx context.Context, r *probev1.EchoRequest) error {
	_, err := e.Echo(ctx, r)
	return err
}

func (e *echo) NoteSure(ctx context.Context, r *probev1.EchoRequest) error {
	return e.Note(ctx, r)
}

// testContext bounds one step of a test.
func testContext(t testing.TB) context.Context {
	limit := 20 * time.Second
	if inBubble() {
		limit = 10 * time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ctx := testContext(t)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

// wantOutcome checks an error's outcome and that its text names what matters.
func wantOutcome(t testing.TB, err error, outcome guarantee.Outcome, mentions ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with outcome %v", outcome)
	}
	if got := cajun.OutcomeOf(err); got != outcome {
		t.Errorf("outcome %v, want %v, of: %v", got, outcome, err)
	}
	for _, m := range mentions {
		if !strings.Contains(err.Error(), m) {
			t.Errorf("the error does not mention %q: %v", m, err)
		}
	}
}

var errRehearsed = errors.New("as the test wants it")
