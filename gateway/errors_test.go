package gateway_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"

	"github.com/cajun-go/cajun/gateway"
	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
)

// What the runtime says of a call names nodes and the cluster, whatever its code.
func TestNamesOfNodesStayInside(t *testing.T) {
	detail, err := connectproto.NewErrorDetail(&cajunv1.CallStatus{Outcome: cajunv1.Outcome_OUTCOME_NOT_EXECUTED})
	if err != nil {
		t.Fatal(err)
	}
	for code, text := range map[connect.Code]string{
		connect.CodeUnavailable:        "node n1 cannot be reached: dial tcp 10.0.0.5:7000",
		connect.CodeDeadlineExceeded:   "the deadline passed while the actor's node n1 was at it",
		connect.CodeCanceled:           "the caller cancelled the call while the actor's node n1 was at it",
		connect.CodeResourceExhausted:  "node n1 feeds 65536 streams and takes no more: spread the actors over more nodes",
		connect.CodeFailedPrecondition: "EXACTLY_ONCE calls need a state store on the actor's node, and node n1 has none: start it with WithState",
		connect.CodeUnimplemented:      `no live node of cluster "n1" knows the method Add of desk.v1.Desk`,
		connect.CodeNotFound:           `no node of cluster "n1" has ever hosted the kind desk.v1.Desk`,
	} {
		got := gateway.Outward(connect.NewError(code, text).WithDetail(detail))
		if connect.CodeOf(got) != code || cajun.OutcomeOf(got) != guarantee.NotExecuted || strings.Contains(got.Error(), "n1") {
			t.Errorf("%v: %v", code, got)
		}
	}
	// What is about the request is for whoever has sent it.
	const text = "the request of desk.v1.Desk/Try has 5 bytes, at most 4 are taken: send less at a time"
	if got := gateway.Outward(connect.NewError(connect.CodeResourceExhausted, text).WithDetail(detail)); !strings.Contains(got.Error(), text) {
		t.Errorf("got %v", got)
	}
}

// TestPanicsTellWhatTheCallMayHaveDone: code of the user that panics before the call has
// got past it has kept the call from the actor; after that the call may have run.
func TestPanicsTellWhatTheCallMayHaveDone(t *testing.T) {
	o := open(t, gateway.WithLogger(discard()), gateway.WithInterceptors(func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			info, _ := connect.CallInfoForServerContext(ctx)
			if info.RequestHeader().Get("X-Panic") == "before" {
				panic("as the test wants it")
			}
			defer func() {
				if info.RequestHeader().Get("X-Panic") == "after" {
					panic("as the test wants it")
				}
			}()
			return next(ctx, spec, stream)
		}
	}))
	o.on("fail", func(context.Context) error {
		return connect.NewError(connect.CodeAborted, "nothing is sent before the panic")
	})
	o.doors(t, func(t *testing.T, base string) {
		for when, outcome := range map[string]string{"before": "OUTCOME_NOT_EXECUTED", "after": "OUTCOME_MAYBE_EXECUTED"} {
			a := o.curl(base, "/actors/"+when+"/desk.v1.Desk/Try", `{"script": "fail"}`, "X-Panic", when)
			if a.want(t, 500, "internal", "the gateway failed"); a.outcome() != outcome {
				t.Errorf("a panic %s the call: outcome %q", when, a.outcome())
			}
		}
	})
}

// TestCallsThatAreServedTwice: an interceptor that repeats a call gets no second run of
// it, and its client is never told that the first one did not happen.
func TestCallsThatAreServedTwice(t *testing.T) {
	var asked atomic.Int64
	o := open(t, gateway.WithLogger(discard()), gateway.WithInterceptors(func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			if next(ctx, spec, stream) == nil {
				return nil
			}
			return next(ctx, spec, stream)
		}
	}), gateway.WithAuthorize(func(context.Context, gateway.Request) (string, error) {
		if asked.Add(1)%2 == 0 {
			return "", connect.NewError(connect.CodeResourceExhausted, "one call each")
		}
		return "", nil
	}))
	o.on("fail", func(context.Context) error { panic("as the test wants it") })
	o.doors(t, func(t *testing.T, base string) {
		key := strings.ReplaceAll(t.Name(), "/", ".")
		a := o.curl(base, "/actors/"+key+"/desk.v1.Desk/Try", `{"script": "fail"}`)
		if a.want(t, 500, "internal", "twice"); a.outcome() != "OUTCOME_MAYBE_EXECUTED" || o.runsOf(key) != 1 {
			t.Errorf("outcome %q after %d runs", a.outcome(), o.runsOf(key))
		}
		asked.Store(0)
	})
}
