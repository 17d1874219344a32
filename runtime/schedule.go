package cajun

import (
	"context"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/link"
)

// MaxTimerName is the longest name of a timer, in bytes.
const MaxTimerName = 256

// MinEvery is the shortest time between two calls of a timer.
const MinEvery = time.Millisecond

// MaxDelay is how far ahead a timer may be due.
const MaxDelay = 100 * 365 * 24 * time.Hour

// Timer says when a scheduled call is made: the first time after After, and then
// every Every, or not again if that is 0. Name tells the timers of one actor
// apart, 1 to 256 bytes of UTF-8.
type Timer struct {
	Name         string
	After, Every time.Duration
}

// Schedule has a one-way method of an actor called later, once or again and
// again:
//
//	err := cajun.Schedule(ctx, account.PayInterest, req, cajun.Timer{Name: "interest", After: day, Every: day})
//
// The timer belongs to the actor that is called; one of the same name is
// replaced. It is stored: from a handler with the handler's turn, and otherwise
// before Schedule returns nil. It outlives crashes and moves and needs nobody to
// call the actor. Whatever level the method declares, the effect of each call is
// stored together with the timer's moving on, so that it happens once for each
// due time. Calls that were missed while nobody could make them are made late,
// as one; due times keep the rhythm of the first. CallFrom tells a handler an ID
// that names timer and due time. A call whose handler fails is repeated, and
// becomes a dead letter in the end; the timer goes on.
//
// Times are those of the nodes' clocks: a clock that is wrong makes calls early
// or late, and never twice.
func Schedule[Req proto.Message](ctx context.Context, method func(context.Context, Req) error, req Req, t Timer) error {
	if fail := t.check(); fail != nil {
		return fail.err()
	}
	c := new(capture)
	if method == nil {
		return refuse(connect.CodeInvalidArgument, "Schedule was given no method: pass one of a Pid's, such as pid.Notify").err()
	}
	if err := method(context.WithValue(ctx, captureKey{}, c), req); err != nil && c.spec == nil {
		return err
	}
	if c.spec == nil || !c.spec.oneWay {
		return refuse(connect.CodeInvalidArgument, "Schedule needs a one-way method of a Pid, such as pid.Notify, and was given another function").err()
	}
	_, err := invokeErrand(ctx, c.pid, c.spec, c.req, link.Errand{Task: link.TaskSchedule, Name: t.Name, After: t.After, Every: t.Every})
	return err
}

// Unschedule removes a timer of an actor. It returns nil also when there is none
// of that name. A call that is being made at the moment is not taken back.
func Unschedule(ctx context.Context, target Target, name string) error {
	if fail := checkTimerName(name); fail != nil {
		return fail.err()
	}
	var p Pid
	if target != nil {
		p = target.pid()
	}
	if p.kind == nil {
		return refuse(connect.CodeInvalidArgument, "Unschedule needs the Pid of the actor whose timer it is").err()
	}
	_, err := invokeErrand(ctx, p, errandSpec(p.kind), new(statev1.Message), link.Errand{Task: link.TaskUnschedule, Name: name})
	return err
}

func (t Timer) check() *failure {
	switch {
	case t.After < 0 || t.Every < 0:
		return refuse(connect.CodeInvalidArgument, "the timer %q has a negative time: give 0 or more", t.Name)
	case t.After > MaxDelay || t.Every > MaxDelay:
		return refuse(connect.CodeInvalidArgument, "the timer %q is due in %v and every %v: give at most %v, and set no timer for what is never due", t.Name, t.After, t.Every, MaxDelay)
	case t.Every > 0 && t.Every < MinEvery:
		return refuse(connect.CodeInvalidArgument, "the timer %q is due every %v: give at least %v", t.Name, t.Every, MinEvery)
	}
	return checkTimerName(t.Name)
}

func checkTimerName(name string) *failure {
	switch {
	case name == "":
		return refuse(connect.CodeInvalidArgument, "the timer has no name: it tells the timers of an actor apart, and replaces one of the same name")
	case len(name) > MaxTimerName:
		return refuse(connect.CodeInvalidArgument, "the timer's name has %d bytes, at most %d are taken: use a hash of it", len(name), MaxTimerName)
	case !utf8.ValidString(name):
		return refuse(connect.CodeInvalidArgument, "the timer's name is not UTF-8: encode it, for example in base64")
	}
	return nil
}

// capture finds out which method of which actor a method value calls.
type capture struct {
	pid  Pid
	spec *methodSpec
	req  proto.Message
}

type captureKey struct{}

func (c *capture) take(p Pid, spec *methodSpec, req proto.Message) error {
	c.pid, c.spec, c.req = p, spec, req
	return refuse(connect.CodeInternal, "the call was captured by Schedule").err()
}
