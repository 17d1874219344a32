package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/gateway"
	deskv1 "github.com/cajun-go/cajun/gateway/internal/gen/desk/v1"
	"github.com/cajun-go/cajun/gateway/internal/gen/desk/v1/deskv1cajun"
	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
)

// What an interceptor got from a call of its own is not told as it is, and the
// outcome of that call is not taken for that of the call that was looked at, which
// may have run.
func TestErrorsOfInterceptors(t *testing.T) {
	var o *office
	o = open(t, gateway.WithInterceptors(func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			info, _ := connect.CallInfoForServerContext(ctx)
			when, do, _ := strings.Cut(info.RequestHeader().Get("X-Do"), " ")
			if when != "before" {
				if err := next(ctx, spec, stream); err != nil {
					if when == "around" {
						return fmt.Errorf("looked at: %w", err)
					}
					return err
				}
			}
			switch do {
			case "go away":
				return connect.NewError(connect.CodeUnauthenticated, "log in first")
			case "no key":
				_, err := deskv1cajun.NewDeskPid(o.Client(), "").Try(ctx, &deskv1.TryRequest{})
				return err
			}
			_, err := deskv1cajun.NewDeskPid(o.Client(), "guard").Try(ctx, &deskv1.TryRequest{Script: do})
			return err
		}
	}))
	o.on("go error", func(context.Context) error { return errors.New("secret") })
	o.on("no", func(context.Context) error { return connect.NewError(connect.CodeAborted, "not now") })
	client := clientFor(t, o.here+"/actors/k", connecthttp.WithGRPC()) // which is told of an error after the reply, too
	for _, c := range []struct {
		do, script string
		code       connect.Code
		outcome    cajunv1.Outcome
		mention    string
	}{
		{"before go away", "", connect.CodeUnauthenticated, cajunv1.Outcome_OUTCOME_NOT_EXECUTED, "log in first"},
		{"after go away", "", connect.CodeUnauthenticated, cajunv1.Outcome_OUTCOME_MAYBE_EXECUTED, "log in first"},
		{"before no key", "", connect.CodeInvalidArgument, cajunv1.Outcome_OUTCOME_NOT_EXECUTED, ""},
		{"after no key", "", connect.CodeInvalidArgument, cajunv1.Outcome_OUTCOME_MAYBE_EXECUTED, ""},
		{"before go error", "", connect.CodeUnknown, cajunv1.Outcome_OUTCOME_NOT_EXECUTED, "the actor failed"},
		{"after go error", "", connect.CodeUnknown, cajunv1.Outcome_OUTCOME_MAYBE_EXECUTED, "the actor failed"},
		{"after ", "no", connect.CodeAborted, cajunv1.Outcome_OUTCOME_ANSWERED, "not now"},
		{"around ", "no", connect.CodeAborted, cajunv1.Outcome_OUTCOME_ANSWERED, "not now"},
	} {
		ctx, info := connect.NewClientContext(testContext(t))
		info.RequestHeader().Set("X-Do", c.do)
		_, err := try(ctx, t, client, &deskv1.TryRequest{Script: c.script})
		if connect.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.mention) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", c.do, err)
		}
		if got := outcomeIn(t, err); got != c.outcome {
			t.Errorf("%s: the outcome is %v, want %v", c.do, got, c.outcome)
		}
	}
	if a := o.curl(o.here, "/grpc.health.v1.Health/Check", `{"service":"no.such.Service"}`, "X-Do", "after "); a.outcome() != "OUTCOME_NOT_EXECUTED" {
		t.Errorf("the gateway's own service: %s", a.body)
	}
}

// outcomeIn is what the only detail of an error says, if there is one.
func outcomeIn(t *testing.T, err error) cajunv1.Outcome {
	t.Helper()
	e, status := new(connect.Error), new(cajunv1.CallStatus)
	if !errors.As(err, &e) || len(e.Details()) > 1 {
		t.Fatalf("got %v", err)
	}
	for _, d := range e.Details() {
		if err := proto.Unmarshal(d.Value, status); err != nil {
			t.Fatal(err)
		}
	}
	return status.GetOutcome()
}
