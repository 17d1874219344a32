package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cajun-go/cajun/gateway"
	deskv1 "github.com/cajun-go/cajun/gateway/internal/gen/desk/v1"
	"github.com/cajun-go/cajun/gateway/internal/gen/desk/v1/deskv1cajun"
)

// What the hook got from somebody else is not told as it is, and its outcome is
// not taken for that of the call that was looked at.
func TestErrorsOfTheHook(t *testing.T) {
	var o *office
	ask := func(ctx context.Context, script string) error {
		_, err := deskv1cajun.NewDeskPid(o.Client(), "guard").Try(ctx, &deskv1.TryRequest{Script: script})
		return err
	}
	o = open(t, gateway.WithAuthorize(func(ctx context.Context, r gateway.Request) (string, error) {
		switch do := r.Header.Get("X-Do"); do {
		case "late":
			return "", fmt.Errorf("secret: %w", context.DeadlineExceeded)
		case "cancelled":
			return "", fmt.Errorf("secret: %w", context.Canceled)
		default:
			return "", ask(ctx, do)
		}
	}))
	o.on("go error", func(context.Context) error { return errors.New("secret") })
	o.on("verdict", func(context.Context) error { return connect.NewError(connect.CodeUnauthenticated, "log in first") })
	for do, want := range map[string]struct {
		status         int
		code, mentions string
	}{
		"late":      {504, "deadline_exceeded", "allowed"},
		"cancelled": {499, "canceled", "allowed"},
		"go error":  {500, "unknown", "the actor failed"},
		"verdict":   {401, "unauthenticated", "log in first"},
	} {
		a := o.curl(o.here, "/actors/k/desk.v1.Desk/Add", `{}`, "X-Do", do)
		a.want(t, want.status, want.code, want.mentions)
		if strings.Contains(string(a.body), "secret") || a.outcome() != "OUTCOME_NOT_EXECUTED" || len(a.Details) != 1 {
			t.Errorf("%s: %s", do, a.body)
		}
	}
	if o.runsOf("k") != 0 {
		t.Error("a call that was not allowed reached the actor")
	}
}

// looker is a stream of which an interceptor sees the messages.
type looker struct {
	connect.ServerStream
	saw func(any)
}

func (l looker) Receive(msg any) error {
	defer func() { l.saw(msg) }()
	return l.ServerStream.Receive(msg)
}

func (l looker) Send(msg any) error {
	l.saw(msg)
	return l.ServerStream.Send(msg)
}

// An interceptor that checks requests sees the same ones wherever the actor lives,
// and however they are encoded.
func TestInterceptorsSeeMessages(t *testing.T) {
	seen := make(chan protoreflect.FullName, 10)
	o := open(t, gateway.WithInterceptors(func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			return next(ctx, spec, looker{stream, func(msg any) {
				m := msg.(proto.Message).ProtoReflect()
				if len(m.GetUnknown()) > 0 {
					t.Error("a message was not read")
				}
				seen <- m.Descriptor().FullName()
			}})
		}
	}))
	o.doors(t, func(t *testing.T, base string) {
		for name, opts := range protocols {
			if _, err := try(testContext(t), t, clientFor(t, base+"/actors/seen", opts...), &deskv1.TryRequest{Script: "s"}); err != nil {
				t.Fatal(err)
			}
			if in, out := <-seen, <-seen; in != "desk.v1.TryRequest" || out != "desk.v1.TryResponse" {
				t.Errorf("%s: the interceptor saw %s and %s", name, in, out)
			}
		}
	})
}
