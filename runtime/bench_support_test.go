package cajun_test

import (
	"context"

	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// quickEcho answers at once and keeps nothing.
type quickEcho struct{ probev1cajun.UnimplementedEcho }

func newBenchStage() cajun.Option {
	return probev1cajun.HostEcho(func(*cajun.Self) (quickEcho, error) { return quickEcho{}, nil })
}

func (quickEcho) Echo(_ context.Context, r *probev1.EchoRequest) (*probev1.EchoReply, error) {
	return &probev1.EchoReply{Text: r.GetText(), Payload: r.GetPayload()}, nil
}

func (e quickEcho) EchoShared(ctx context.Context, r *probev1.EchoRequest) (*probev1.EchoReply, error) {
	return e.Echo(ctx, r)
}

func (e quickEcho) EchoOnce(ctx context.Context, r *probev1.EchoRequest) (*probev1.EchoReply, error) {
	return e.Echo(ctx, r)
}

func (quickEcho) Note(context.Context, *probev1.EchoRequest) error { return nil }
