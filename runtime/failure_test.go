package cajun_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"

	"github.com/cajun-go/cajun/cajuntest"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// TestFullMailbox fills a mailbox of four.
func TestFullMailbox(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		g := w.hold("hold")
		pid := w.echoOn(0, owner, "a")
		var calls []<-chan answer[*probev1.EchoReply]
		for range 5 {
			calls = append(calls, async(func() (*probev1.EchoReply, error) { return pid.Echo(t.Context(), &probev1.EchoRequest{Text: "hold"}) }))
			synctest.Wait()
		}
		began := time.Now()
		for _, call := range []func(context.Context, *probev1.EchoRequest) (*probev1.EchoReply, error){pid.Echo, pid.EchoSure, pid.EchoOnce} {
			_, err := call(t.Context(), &probev1.EchoRequest{})
			wantRefusal(t, err, connect.CodeResourceExhausted, "mailbox", "4 messages", "mailbox_capacity")
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("refused after %v, want at once", took)
		}
		g.release()
		for _, c := range calls {
			if r := <-c; r.err != nil {
				t.Error(r.err)
			}
		}
		synctest.Wait()
		if _, err := pid.Echo(t.Context(), &probev1.EchoRequest{}); err != nil {
			t.Error(err)
		}
		if n := w.runsOf(key(pid)); n != 6 {
			t.Errorf("%d runs, want 6", n)
		}
	})
}

// TestPanics lets handlers panic, and end their goroutines.
func TestPanics(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		w.on("panic", func(context.Context, *cajun.Self) error { panic("ouch") })
		w.on("goexit", func(context.Context, *cajun.Self) error { runtime.Goexit(); return nil })
		ctx := testContext(t)
		stateful, stateless := w.counterOn(0, owner, "c"), w.echoOn(0, owner, "e")
		if _, err := stateful.Add(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
			t.Fatal(err)
		}
		for script, says := range map[string]string{"panic": "panicked; its stack is in the log", "goexit": "ended its goroutine"} {
			for name, call := range map[string]func() error{
				"Add": func() error {
					_, err := stateful.Add(ctx, &probev1.AddRequest{Amount: 100, Script: script})
					return err
				},
				"AddSure": func() error {
					_, err := stateful.AddSure(ctx, &probev1.AddRequest{Amount: 100, Script: script})
					return err
				},
				"AddOnce": func() error {
					_, err := stateful.AddOnce(ctx, &probev1.AddRequest{Amount: 100, Script: script})
					return err
				},
				"Echo": func() error { _, err := stateless.Echo(ctx, &probev1.EchoRequest{Text: script}); return err },
			} {
				queued := async(func() (*probev1.AddReply, error) { return stateful.Add(ctx, &probev1.AddRequest{}) })
				err := call()
				wantOutcome(t, err, guarantee.NotCommitted, name, says)
				if connect.CodeOf(err) != connect.CodeInternal {
					t.Errorf("code of %v", err)
				}
				if r := <-queued; r.err != nil {
					t.Errorf("another call suffers: %v", r.err)
				}
			}
		}
		r, err := stateful.Get(ctx, &probev1.GetRequest{})
		if err != nil || r.GetSum() != 1 {
			t.Errorf("after the panics: %v, %v, want 1", r, err)
		}
		if n := strings.Count(w.noted(), "+"+key(stateful)); n < 2 {
			t.Errorf("the actor's memory was not dropped: %s", w.noted())
		}
	})
}

func TestNilReply(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		pid := w.counterOn(0, owner, "a")
		for range 2 {
			_, err := pid.AddOnce(ctx, &probev1.AddRequest{Amount: 5, Script: "nil"})
			wantOutcome(t, err, guarantee.NotCommitted, "AddOnce", "return an empty message")
		}
		if r, err := pid.Get(ctx, &probev1.GetRequest{}); err != nil || r.GetSum() != 0 {
			t.Errorf("%v, %v, want the state of before", r, err)
		}
	})
}

// fragile is an actor whose birth and end go wrong.
type fragile struct {
	*echo
	onActivate, onPassivate func() error
}

func (f *fragile) OnActivate(context.Context) error  { return f.onActivate() }
func (f *fragile) OnPassivate(context.Context) error { return f.onPassivate() }

// TestFailingHooks lets the function that makes actors, and their hooks, fail
// in every way, and then heal.
func TestFailingHooks(t *testing.T) {
	t.Parallel()
	ways := map[string]struct {
		f    func() error
		code connect.Code
		says string
	}{
		"error":   {func() error { return errors.New("not today") }, connect.CodeUnknown, "not today"},
		"connect": {func() error { return connect.NewError(connect.CodeNotFound, "no such actor") }, connect.CodeNotFound, "no such actor"},
		"panic":   {func() error { panic("ouch") }, connect.CodeInternal, "panicked"},
		"goexit":  {func() error { runtime.Goexit(); return nil }, connect.CodeInternal, "ended its goroutine"},
	}
	for name, way := range ways {
		for _, where := range []string{"spawn", "OnActivate", "OnPassivate"} {
			t.Run(where+"/"+name, func(t *testing.T) {
				t.Parallel()
				bubble.Test(t, func(t *testing.T) {
					s := newStage()
					broken := map[string]bool{where: true}
					try := func(place string) error {
						if broken[place] {
							return way.f()
						}
						return nil
					}
					c := cajuntest.Start(t, 1, probev1cajun.HostEcho(func(self *cajun.Self) (*fragile, error) {
						f := &fragile{echo: &echo{stage: s, self: self}}
						f.onActivate = func() error { return try("OnActivate") }
						f.onPassivate = func() error { return try("OnPassivate") }
						return f, try("spawn")
					}))
					pid := probev1cajun.NewEchoPid(c.Node(0), "a")
					s.on("leave", func(_ context.Context, self *cajun.Self) error { self.Passivate(); return nil })
					_, err := pid.Echo(t.Context(), &probev1.EchoRequest{Text: "leave"})
					if where != "OnPassivate" {
						if name == "goexit" {
							wantOutcome(t, err, guarantee.NotCommitted, way.says)
						} else {
							wantOutcome(t, err, guarantee.NotExecuted, "activated", way.says)
						}
						if connect.CodeOf(err) != way.code {
							t.Errorf("code of %v", err)
						}
					} else if err != nil {
						t.Error(err)
					}
					synctest.Wait()
					broken[where] = false
					if _, err := pid.Echo(t.Context(), &probev1.EchoRequest{}); err != nil {
						t.Errorf("when it is well again: %v", err)
					}
				})
			})
		}
	}
}

// TestCycles lets chains come back to where they started.
func TestCycles(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		a, b := w.echoOn(0, owner, "a"), w.echoOn(0, 1-owner, "b")
		var aAgain, bAgain probev1cajun.EchoPid
		w.on("self", func(ctx context.Context, self *cajun.Self) error {
			_, err := probev1cajun.NewEchoPid(self, self.Key()).Echo(ctx, &probev1.EchoRequest{})
			return err
		})
		w.on("a to b", func(ctx context.Context, self *cajun.Self) error {
			bAgain = probev1cajun.NewEchoPid(self, key(b))
			_, err := bAgain.Echo(ctx, &probev1.EchoRequest{Text: "b to a"})
			return err
		})
		w.on("b to a", func(ctx context.Context, self *cajun.Self) error {
			aAgain = probev1cajun.NewEchoPid(self, key(a))
			_, err := aAgain.Echo(ctx, &probev1.EchoRequest{})
			return err
		})
		w.on("notify self", func(ctx context.Context, self *cajun.Self) error {
			return probev1cajun.NewEchoPid(self, self.Key()).Note(ctx, &probev1.EchoRequest{})
		})
		_, err := a.Echo(ctx, &probev1.EchoRequest{Text: "self"})
		wantOutcome(t, err, guarantee.Answered, fmt.Sprintf("%s → %s", a, a), "one-way")
		_, err = a.Echo(ctx, &probev1.EchoRequest{Text: "a to b"})
		wantOutcome(t, err, guarantee.Answered, fmt.Sprintf("%s → %s → %s", a, b, a))
		if connect.CodeOf(err) != connect.CodeFailedPrecondition {
			t.Errorf("code of %v", err)
		}
		if _, err := a.Echo(ctx, &probev1.EchoRequest{Text: "notify self"}); err != nil {
			t.Errorf("a one-way call to itself: %v", err)
		}
		synctest.Wait()
		if n := w.runsOf(key(a)); n != 4 {
			t.Errorf("a ran %d times, want 4: thrice for us and once for its own note", n)
		}
	})
}

// TestDepth lets every actor call the next.
func TestDepth(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.on("deeper", func(ctx context.Context, self *cajun.Self) error {
		_, err := probev1cajun.NewEchoPid(self, self.Key()+"x").Echo(ctx, &probev1.EchoRequest{Text: "deeper"})
		return err
	})
	_, err := probev1cajun.NewEchoPid(w.Node(0), "x").Echo(testContext(t), &probev1.EchoRequest{Text: "deeper"})
	wantOutcome(t, err, guarantee.Answered, "nest 32 deep", "probe.v1.Echo/x → probe.v1.Echo/xx")
	if n := len(w.calls()); n != 32 {
		t.Errorf("%d calls deep, want 32", n)
	}
}

// TestContextIsDeadAfterItsTurn keeps a handler's context.
func TestContextIsDeadAfterItsTurn(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		kept := make(chan context.Context, 1)
		w.on("keep", func(ctx context.Context, _ *cajun.Self) error { kept <- ctx; return nil })
		pid, other := w.echoOn(0, owner, "a"), w.echoOn(0, owner, "b")
		if _, err := pid.Echo(testContext(t), &probev1.EchoRequest{Text: "keep"}); err != nil {
			t.Fatal(err)
		}
		ctx := <-kept
		if ctx.Err() == nil {
			t.Error("the context lives on")
		}
		for name, late := range map[string]context.Context{"itself": ctx, "a child": context.WithoutCancel(ctx)} {
			_, err := other.Echo(late, &probev1.EchoRequest{})
			wantOutcome(t, err, guarantee.NotExecuted)
			if name == "a child" {
				wantRefusal(t, err, connect.CodeFailedPrecondition, "turn", "is over")
			}
		}
		synctest.Wait()
		if n := w.runsOf(key(other)); n != 0 {
			t.Errorf("%d late calls ran", n)
		}
	})
}

// TestHandlerErrors checks what arrives of a handler's error.
func TestHandlerErrors(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		detail, err := connectproto.NewErrorDetail(&probev1.EchoRequest{Text: "the detail"})
		if err != nil {
			t.Fatal(err)
		}
		w.on("connect", func(context.Context, *cajun.Self) error {
			return fmt.Errorf("wrapped: %w", connect.NewError(connect.CodeAborted, "the message").WithDetail(detail))
		})
		w.on("ordinary", func(context.Context, *cajun.Self) error { return errRehearsed })
		w.on("deadline", func(context.Context, *cajun.Self) error { return context.DeadlineExceeded })
		w.on("passed on", func(ctx context.Context, self *cajun.Self) error {
			_, err := probev1cajun.NewEchoPid(self, "").Echo(ctx, &probev1.EchoRequest{})
			if cajun.OutcomeOf(err) != guarantee.NotExecuted {
				return fmt.Errorf("outcome %v of the nested call", cajun.OutcomeOf(err))
			}
			return err
		})
		pid := w.echoOn(0, owner, "a")
		calls := []func(context.Context, *probev1.EchoRequest) (*probev1.EchoReply, error){pid.Echo, pid.EchoSure, pid.EchoOnce}
		for i, call := range calls {
			before := w.runsOf(key(pid))
			_, err := call(testContext(t), &probev1.EchoRequest{Text: "connect"})
			wantOutcome(t, err, guarantee.Answered)
			e := new(connect.Error)
			if !errors.As(err, &e) || e.Code() != connect.CodeAborted || e.Message() != "the message" {
				t.Errorf("got %v", err)
			}
			found := 0
			for _, d := range e.Details() {
				if d.Type == detail.Type && string(d.Value) == string(detail.Value) {
					found++
				}
			}
			if found != 1 || len(e.Details()) != 2 {
				t.Errorf("details %v", e.Details())
			}
			for script, code := range map[string]connect.Code{"ordinary": connect.CodeUnknown, "deadline": connect.CodeDeadlineExceeded, "passed on": connect.CodeInvalidArgument} {
				_, err = call(testContext(t), &probev1.EchoRequest{Text: script})
				wantOutcome(t, err, guarantee.Answered)
				if connect.CodeOf(err) != code {
					t.Errorf("%s: %v", script, err)
				}
			}
			if n := w.runsOf(key(pid)) - before; n != 4 {
				t.Errorf("call %d: handlers that said no ran %d times, want 4", i, n)
			}
		}
	})
}
