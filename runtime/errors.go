package cajun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/protobuf/proto"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
)

// statusType is the full name of the detail that every failed call carries.
const statusType = "cajun.v1.CallStatus"

// OutcomeOf tells what a caller may conclude from the error of a call. It is
// MaybeExecuted, the outcome that promises nothing, for errors that do not
// come from a call. Ask it only about an error: nil says all there is to say.
func OutcomeOf(err error) guarantee.Outcome {
	switch statusOf(err).GetOutcome() {
	case cajunv1.Outcome_OUTCOME_NOT_EXECUTED:
		return guarantee.NotExecuted
	case cajunv1.Outcome_OUTCOME_NOT_COMMITTED:
		return guarantee.NotCommitted
	case cajunv1.Outcome_OUTCOME_ANSWERED:
		return guarantee.Answered
	}
	return guarantee.MaybeExecuted
}

func wireOutcome(o guarantee.Outcome) cajunv1.Outcome {
	switch o {
	case guarantee.NotExecuted:
		return cajunv1.Outcome_OUTCOME_NOT_EXECUTED
	case guarantee.NotCommitted:
		return cajunv1.Outcome_OUTCOME_NOT_COMMITTED
	case guarantee.Answered:
		return cajunv1.Outcome_OUTCOME_ANSWERED
	}
	return cajunv1.Outcome_OUTCOME_MAYBE_EXECUTED
}

func statusOf(err error) *cajunv1.CallStatus {
	status := new(cajunv1.CallStatus)
	if e := new(connect.Error); errors.As(err, &e) {
		for _, d := range e.Details() {
			if d.Type == statusType && proto.Unmarshal(d.Value, status) == nil {
				return status
			}
		}
	}
	return status
}

// failure is how an attempt of a call went wrong, before it becomes the
// caller's error.
type failure struct {
	code    connect.Code
	message string
	details []*connect.ErrorDetail
	outcome guarantee.Outcome
	// retryable says that the attempt failed for a reason that may pass: the
	// caller's runtime tries again as far as the delivery level allows.
	retryable bool
	// internalText says that message is the text of an ordinary Go error.
	internalText bool
	// defect says that the run has failed for a reason that lies in the actor
	// itself.
	defect bool
	// final says that the call would be refused however often it is made.
	final bool
	// interrupted says that the caller stopped waiting.
	interrupted bool
	// redirect says who owns the shard, when the receiver does not.
	redirect *link.Redirect
	cause    error
}

// refuse is a failure of a call that did not run and would not run if repeated.
func refuse(code connect.Code, format string, args ...any) *failure {
	return &failure{code: code, message: fmt.Sprintf(format, args...), outcome: guarantee.NotExecuted}
}

// failedPrecondition is refuse for what the caller may not do here.
func failedPrecondition(format string, args ...any) *failure {
	return refuse(connect.CodeFailedPrecondition, format, args...)
}

// unavailable is a failure of an attempt that did not run; a later one may.
func unavailable(format string, args ...any) *failure {
	return &failure{code: connect.CodeUnavailable, message: fmt.Sprintf(format, args...), outcome: guarantee.NotExecuted, retryable: true}
}

// lost is a failure of an attempt whose answer cannot arrive any more.
func lost(format string, args ...any) *failure {
	return &failure{code: connect.CodeUnavailable, message: fmt.Sprintf(format, args...), outcome: guarantee.MaybeExecuted, retryable: true}
}

func (f *failure) because(err error) *failure {
	f.cause = err
	return f
}

// err authors the caller's error. Nothing of an earlier hop's outcome is left
// in it: the detail is made anew from this caller's point of view.
func (f *failure) err() error {
	e := connect.NewError(f.code, f.message)
	for _, d := range f.details {
		e = e.WithDetail(d)
	}
	status := &cajunv1.CallStatus{Outcome: wireOutcome(f.outcome), InternalText: f.internalText}
	if d, err := connectproto.NewErrorDetail(status); err == nil {
		e = e.WithDetail(d)
	}
	return e.WithCause(f.cause)
}

// answer turns a handler's error into a failure with the outcome Answered. A
// *connect.Error keeps its code, message and details but not the outcome of
// the call that the handler may have got it from. The text of any other error
// travels too, marked as not meant for callers outside the cluster.
func answer(err error) *failure {
	f := &failure{code: connect.CodeUnknown, message: err.Error(), outcome: guarantee.Answered, internalText: true, cause: err}
	if e := new(connect.Error); errors.As(err, &e) {
		f.code, f.message, f.internalText = e.Code(), e.Message(), isInternalText(statusOf(e))
		for _, d := range e.Details() {
			if d.Type != statusType {
				f.details = append(f.details, d)
			}
		}
	} else if errors.Is(err, context.DeadlineExceeded) {
		f.code = connect.CodeDeadlineExceeded
	} else if errors.Is(err, context.Canceled) {
		f.code = connect.CodeCanceled
	}
	return f
}

// isInternalText reports whether the text of an error with this status was not
// written for callers outside the cluster: it is that of an ordinary Go error, or
// of the runtime about a call that a handler has made.
func isInternalText(s *cajunv1.CallStatus) bool {
	return s.GetInternalText() || s.GetOutcome() != cajunv1.Outcome_OUTCOME_UNSPECIFIED && s.GetOutcome() != cajunv1.Outcome_OUTCOME_ANSWERED
}

// interrupted is the failure of a call whose caller stopped waiting.
func interrupted(cause error, outcome guarantee.Outcome, doing string) *failure {
	f := &failure{outcome: outcome, interrupted: true, cause: cause}
	switch {
	case errors.Is(cause, context.DeadlineExceeded):
		f.code, f.message = connect.CodeDeadlineExceeded, "the deadline passed "+doing
	case errors.Is(cause, ErrClosed):
		f.code, f.message = connect.CodeUnavailable, "the node was closed "+doing
	default:
		f.code, f.message = connect.CodeCanceled, "the caller cancelled the call "+doing
	}
	return f
}

// causeOf tells why ctx ended, for interrupted: a cause of the caller's own is
// joined by what the context itself says.
func causeOf(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == nil || errors.Is(cause, err) || errors.Is(cause, ErrClosed) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// levelOf is the level at which the n-th trouble in a row is logged: the first
// ones and then ever fewer are seen, however long it lasts.
func levelOf(n int) slog.Level {
	if n&(n-1) == 0 {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}
