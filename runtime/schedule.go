package cajun

import (
	"context"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
)

// Timer says when a scheduled call is made: once After, or Every so often with
// the first time After. Name tells the timers of one actor apart.
type Timer struct {
	Name         string
	After, Every time.Duration
}

// Schedule is to call a one-way method later, once or again and again. It is
// not supported yet and always returns an error with code Unimplemented.
func Schedule[Req proto.Message](ctx context.Context, method func(context.Context, Req) error, req Req, t Timer) error {
	return refuse(connect.CodeUnimplemented, "schedules are not supported yet: call the actor from a ticker of your own").err()
}

// Unschedule is to end what Schedule began. It is not supported yet and always
// returns an error with code Unimplemented.
func Unschedule(ctx context.Context, target Target, name string) error {
	return refuse(connect.CodeUnimplemented, "schedules are not supported yet, so there is nothing to end").err()
}
