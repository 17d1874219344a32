package cajun_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/cajuntest"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// wantRefusal checks that a call was refused without having run.
func wantRefusal(t testing.TB, err error, code connect.Code, mentions ...string) {
	t.Helper()
	wantOutcome(t, err, guarantee.NotExecuted, mentions...)
	if got := connect.CodeOf(err); got != code {
		t.Errorf("code %v, want %v, of: %v", got, code, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	ctx := testContext(t)
	hello := &probev1.EchoRequest{Text: "hello"}
	for name, c := range map[string]struct {
		call func() error
		code connect.Code
		says []string
	}{
		"empty key": {func() error { _, err := probev1cajun.NewEchoPid(w.Node(0), "").Echo(ctx, hello); return err }, connect.CodeInvalidArgument, []string{"empty", "1 to 512 bytes"}},
		"long key": {func() error {
			_, err := probev1cajun.NewEchoPid(w.Node(0), strings.Repeat("k", 513)).Echo(ctx, hello)
			return err
		}, connect.CodeInvalidArgument, []string{"513", "use a hash"}},
		"not UTF-8": {func() error { _, err := probev1cajun.NewEchoPid(w.Node(0), "\xff").Echo(ctx, hello); return err }, connect.CodeInvalidArgument, []string{"UTF-8", "base64"}},
		"typed nil": {func() error { _, err := probev1cajun.NewEchoPid(w.Node(0), "a").Echo(ctx, nil); return err }, connect.CodeInvalidArgument, []string{"nil", "pass an empty message"}},
		"zero Pid":  {func() error { _, err := probev1cajun.EchoPid{}.Echo(ctx, hello); return err }, connect.CodeInvalidArgument, []string{"the Pid is empty", "New…Pid"}},
		"no node":   {func() error { _, err := probev1cajun.NewEchoPid(nil, "a").Echo(ctx, hello); return err }, connect.CodeInvalidArgument, []string{"no node"}},
		"nil node":  {func() error { _, err := probev1cajun.NewEchoPid((*cajun.Node)(nil), "a").Echo(ctx, hello); return err }, connect.CodeInvalidArgument, []string{"no node"}},
		"nil Self":  {func() error { _, err := probev1cajun.NewEchoPid((*cajun.Self)(nil), "a").Echo(ctx, hello); return err }, connect.CodeInvalidArgument, []string{"no node"}},
		"bare Self": {func() error {
			_, err := probev1cajun.NewEchoPid(cajun.NewSelf(nil, "k", "a"), "a").Echo(ctx, hello)
			return err
		}, connect.CodeInvalidArgument, []string{"no node"}},
		"no such level": {func() error {
			_, err := probev1cajun.NewEchoPid(w.Node(0), "a").Echo(cajun.Deliver(ctx, 9), hello)
			return err
		}, connect.CodeInvalidArgument, []string{"no delivery level"}},
		"too surely": {func() error {
			_, err := probev1cajun.NewCounterPid(w.Node(0), "a").Get(cajun.Deliver(ctx, guarantee.ExactlyOnce), &probev1.GetRequest{})
			return err
		}, connect.CodeInvalidArgument, []string{"no side effects", "AT_LEAST_ONCE"}},
		"empty call key": {func() error {
			_, err := probev1cajun.NewEchoPid(w.Node(0), "a").Echo(cajun.Idempotent(ctx, ""), hello)
			return err
		}, connect.CodeInvalidArgument, []string{"empty"}},
		"long call key": {func() error {
			_, err := probev1cajun.NewEchoPid(w.Node(0), "a").Echo(cajun.Idempotent(ctx, strings.Repeat("k", 257)), hello)
			return err
		}, connect.CodeInvalidArgument, []string{"257", "256"}},
		"call key not UTF-8": {func() error {
			_, err := probev1cajun.NewEchoPid(w.Node(0), "a").Echo(cajun.Idempotent(ctx, "\xff"), hello)
			return err
		}, connect.CodeInvalidArgument, []string{"UTF-8"}},
		"timer without a name": {func() error {
			return cajun.Schedule(ctx, probev1cajun.NewEchoPid(w.Node(0), "a").Note, hello, cajun.Timer{After: time.Second})
		}, connect.CodeInvalidArgument, []string{"no name"}},
		"timer in the past": {func() error {
			return cajun.Schedule(ctx, probev1cajun.NewEchoPid(w.Node(0), "a").Note, hello, cajun.Timer{Name: "x", After: -1})
		}, connect.CodeInvalidArgument, []string{"negative"}},
		"timer too often": {func() error {
			return cajun.Schedule(ctx, probev1cajun.NewEchoPid(w.Node(0), "a").Note, hello, cajun.Timer{Name: "x", Every: 1})
		}, connect.CodeInvalidArgument, []string{"1ms"}},
		"timer of a function": {func() error {
			return cajun.Schedule(ctx, func(context.Context, *probev1.EchoRequest) error { return nil }, hello, cajun.Timer{Name: "x"})
		}, connect.CodeInvalidArgument, []string{"one-way method of a Pid"}},
		"timer of nobody":  {func() error { return cajun.Unschedule(ctx, nil, "x") }, connect.CodeInvalidArgument, []string{"needs the Pid"}},
		"timer of no name": {func() error { return cajun.Unschedule(ctx, probev1cajun.NewEchoPid(w.Node(0), "a"), "") }, connect.CodeInvalidArgument, []string{"no name"}},
		"timer with a tome": {func() error {
			return cajun.Unschedule(ctx, probev1cajun.NewEchoPid(w.Node(0), "a"), strings.Repeat("n", 257))
		}, connect.CodeInvalidArgument, []string{"257", "256"}},
	} {
		t.Run(name, func(t *testing.T) { wantRefusal(t, c.call(), c.code, c.says...) })
	}
	if _, found := w.Node(0).Cluster().Owner(cajun.Pid{}); found {
		t.Error("the zero Pid has an owner")
	}
	for _, call := range w.calls() {
		t.Errorf("a refused call ran: %v", call)
	}
}

func TestUntypedNilRequestIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	kind := &cajun.Kind{Name: probev1cajun.EchoKind}
	m := cajun.NewMethod[proto.Message, *probev1.EchoReply](kind, "Echo", cajun.MethodOptions{})
	_, err := m.Call(testContext(t), cajun.NewPid(w.Node(0), kind, "a"), nil)
	wantRefusal(t, err, connect.CodeInvalidArgument, "nil")
}

func TestRefusalsWhereverTheActorLives(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	ctx := testContext(t)
	w.sites(t, func(t *testing.T, owner int) {
		pid := w.echoOn(0, owner, t.Name())
		before := len(w.calls())
		_, err := pid.Echo(ctx, &probev1.EchoRequest{Payload: make([]byte, link.DefaultMaxMessage)})
		wantRefusal(t, err, connect.CodeResourceExhausted, "probe.v1.Echo/Echo", "send less")

		many := ctx
		for i := range link.MaxHeaders + 1 {
			many = cajun.SetHeader(many, strings.Repeat("h", i+1), "v")
		}
		_, err = pid.Echo(many, &probev1.EchoRequest{})
		wantRefusal(t, err, connect.CodeInvalidArgument, "129 headers")
		_, err = pid.Echo(cajun.SetHeader(ctx, "h", "\xff"), &probev1.EchoRequest{})
		wantRefusal(t, err, connect.CodeInvalidArgument, "not UTF-8")
		_, err = pid.Echo(cajun.SetHeader(ctx, "h", strings.Repeat("v", link.MaxText+1)), &probev1.EchoRequest{})
		wantRefusal(t, err, connect.CodeInvalidArgument, "65537 bytes")

		newer := &cajun.Kind{Name: probev1cajun.EchoKind, Shards: 64}
		m := cajun.NewMethod[*probev1.EchoRequest, *probev1.EchoReply](newer, "Sing", cajun.MethodOptions{})
		_, err = m.Call(ctx, pid.Pid, &probev1.EchoRequest{})
		wantRefusal(t, err, connect.CodeUnimplemented, "Sing", "another generation")
		if ran := len(w.calls()) - before; ran != 0 {
			t.Errorf("%d refused calls ran", ran)
		}
	})
}

// TestLargeAnswers expects the same of an actor here and there for what cannot
// be sent back.
func TestLargeAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	ctx := testContext(t)
	w.on("long error", func(context.Context, *cajun.Self) error {
		return connect.NewError(connect.CodeAborted, strings.Repeat("x", link.MaxText+1))
	})
	w.on("garbled", func(context.Context, *cajun.Self) error { return connect.NewError(connect.CodeAborted, "\xff") })
	w.sites(t, func(t *testing.T, owner int) {
		pid := w.echoOn(0, owner, t.Name())
		// The reply is the request and a little more.
		_, err := pid.Echo(ctx, &probev1.EchoRequest{Text: "grow", Payload: make([]byte, link.DefaultMaxMessage-100)})
		if err != nil {
			t.Fatal(err)
		}
		for _, script := range []string{"long error", "garbled"} {
			_, err = pid.Echo(ctx, &probev1.EchoRequest{Text: script})
			wantOutcome(t, err, guarantee.Answered)
			if connect.CodeOf(err) != connect.CodeAborted {
				t.Errorf("%s: %v", script, err)
			}
		}
		big := w.counterOn(0, owner, t.Name())
		if _, err := big.Add(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
			t.Fatal(err)
		}
		_, err = big.Add(ctx, &probev1.AddRequest{Amount: 1, Script: "huge"})
		wantOutcome(t, err, guarantee.NotCommitted, "the reply of probe.v1.Counter/Add", "send less")
		if connect.CodeOf(err) != connect.CodeResourceExhausted {
			t.Errorf("code of: %v", err)
		}
		r, err := big.Get(ctx, &probev1.GetRequest{})
		if err != nil || r.GetSum() != 1 {
			t.Errorf("after an undeliverable reply: %v, %v", r, err)
		}
	})
}

func TestKindsThatNobodyHosts(t *testing.T) {
	t.Parallel()
	s := newStage()
	c := cajuntest.Start(t, 1)
	ctx := testContext(t)
	pid := probev1cajun.NewEchoPid(c.Node(0), "a")
	_, err := pid.Echo(ctx, &probev1.EchoRequest{})
	wantRefusal(t, err, connect.CodeNotFound, "probe.v1.Echo", "start one with its Host option")

	host := c.Add(s.options())
	eventually(t, "the kind is known", func() bool { _, err := pid.Echo(ctx, &probev1.EchoRequest{}); return err == nil })
	if err := c.Node(host).Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is gone", func() bool { return len(c.Node(0).Cluster().Members) == 1 })
	_, err = pid.Echo(ctx, &probev1.EchoRequest{})
	wantRefusal(t, err, connect.CodeUnavailable, "no live node", "start one with its Host option")

	if err := c.Node(0).Close(); err != nil {
		t.Fatal(err)
	}
	_, err = pid.Echo(ctx, &probev1.EchoRequest{})
	wantRefusal(t, err, connect.CodeUnavailable, "closed")
}
