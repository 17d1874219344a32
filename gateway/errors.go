package gateway

import (
	"context"
	"errors"
	"strings"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/protobuf/proto"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
)

// refuse is the error of a call that did not reach an actor.
func refuse(code connect.Code, format string, args ...any) error {
	return notExecuted(connect.Errorf(code, format, args...))
}

// notExecuted adds to an error that no actor was reached.
func notExecuted(e *connect.Error) error {
	return withOutcome(e, cajunv1.Outcome_OUTCOME_NOT_EXECUTED)
}

func withOutcome(e *connect.Error, outcome cajunv1.Outcome) *connect.Error {
	detail, err := connectproto.NewErrorDetail(&cajunv1.CallStatus{Outcome: outcome})
	if err != nil {
		return e
	}
	return e.WithDetail(detail)
}

// statusOf returns what a call's error says about the call, and the details that
// say something else.
func statusOf(e *connect.Error) (status *cajunv1.CallStatus, others []*connect.ErrorDetail) {
	status = new(cajunv1.CallStatus)
	for _, d := range e.Details() {
		if d.Type != string(status.ProtoReflect().Descriptor().FullName()) || proto.Unmarshal(d.Value, status) != nil {
			others = append(others, d)
		}
	}
	return status, others
}

// outward turns the error of a call into what callers outside the cluster are
// told. Codes and outcomes are theirs. So are texts that were written for them,
// those of a handler's *connect.Error and those about what they have sent; what
// was written for the cluster's own people, such as addresses of nodes and the
// texts of ordinary Go errors, is not.
func outward(err error) *connect.Error {
	e := new(connect.Error)
	if !errors.As(err, &e) {
		return withOutcome(connect.NewError(connect.CodeInternal, "the call failed"), cajunv1.Outcome_OUTCOME_MAYBE_EXECUTED).WithCause(err)
	}
	status, details := statusOf(e)
	message := e.Message()
	switch {
	case status.GetInternalText():
		message = "the actor failed; why is not for callers outside the cluster to know"
	case cajun.OutcomeOf(e) == guarantee.Answered:
	default:
		message = insideText(e.Code(), message)
	}
	out := connect.NewError(e.Code(), message)
	for _, d := range details {
		out = out.WithDetail(d)
	}
	return withOutcome(out, status.GetOutcome()).WithCause(err)
}

// heldCalls begins what the runtime says when too many calls wait.
const heldCalls = "too many calls wait for owners of their actors"

// insideText is what is told instead of the runtime's own text.
func insideText(code connect.Code, message string) string {
	switch code {
	case connect.CodeInvalidArgument:
		// A key as the actor knows it means nothing to the client.
		if rest, ok := strings.CutPrefix(message, `call key:"`+ownKey); ok {
			_, rest, _ = strings.Cut(rest, `"`)
			return "a call with this " + cajun.IdempotencyKeyHeader + rest
		}
	case connect.CodeUnavailable:
		return "the actor cannot be reached now"
	case connect.CodeDeadlineExceeded:
		return "the deadline passed before the actor had answered"
	case connect.CodeCanceled:
		return "the call was cancelled before the actor had answered"
	case connect.CodeResourceExhausted:
		switch {
		case strings.HasPrefix(message, heldCalls):
			return heldCalls // and not what they wait for
		case strings.HasPrefix(message, "node "):
			return "the actor's node serves as many streams as it may"
		}
	case connect.CodeNotFound:
		return "there is no such service"
	case connect.CodeFailedPrecondition:
		return "the actor's node is not set up for this call"
	case connect.CodeUnimplemented:
		return "the actor's node does not know the method like this: it runs another version of the service"
	case connect.CodeInternal, connect.CodeUnknown, connect.CodeDataLoss:
		return "the actor failed"
	}
	return message
}

// denied is the error of a call that the user's hook did not let pass. An error
// that the hook got from a call of its own was not written for callers outside, and
// what it says of that call's execution is not about this one.
func denied(err error) error {
	e := new(connect.Error)
	own := errors.As(err, &e) && !e.IsRemote()
	var status *cajunv1.CallStatus
	if own {
		status, _ = statusOf(e)
	}
	switch {
	case status.GetOutcome() != cajunv1.Outcome_OUTCOME_UNSPECIFIED:
		return ofAnother(err, cajunv1.Outcome_OUTCOME_NOT_EXECUTED)
	case own:
	case errors.Is(err, context.DeadlineExceeded):
		e = connect.NewError(connect.CodeDeadlineExceeded, "the deadline passed before the call was allowed").WithCause(err)
	case errors.Is(err, context.Canceled):
		e = connect.NewError(connect.CodeCanceled, "the call was cancelled before it was allowed").WithCause(err)
	default:
		e = connect.NewError(connect.CodePermissionDenied, "the call is not allowed").WithCause(err)
	}
	return notExecuted(e)
}

// ofAnother turns the error of a call that the user's code has made besides into one
// of the call that is served, of which outcome is true. Only code and details are
// taken over as they are, and the text as far as it is for callers outside.
func ofAnother(err error, outcome cajunv1.Outcome) *connect.Error {
	out := outward(err)
	_, details := statusOf(out)
	e := connect.NewError(out.Code(), out.Message()).WithCause(err)
	for _, d := range details {
		e = e.WithDetail(d)
	}
	return withOutcome(e, outcome)
}

// ofInterceptor is the error of a call as the user's interceptors have let it out.
// What they pass on of the call itself stays; what they say in their own words gets
// the outcome that it lacks.
func (in *inbound) ofInterceptor(err error) error {
	e := new(connect.Error)
	if told := in.told.Load(); err == nil || told != nil && errors.Is(err, *told) || !errors.As(err, &e) {
		return err
	}
	if status, _ := statusOf(e); status.GetOutcome() == cajunv1.Outcome_OUTCOME_UNSPECIFIED {
		return withOutcome(e, in.unanswered())
	}
	return ofAnother(err, in.unanswered())
}
