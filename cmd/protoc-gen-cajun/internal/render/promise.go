package render

import (
	"fmt"
	"strconv"

	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/schema"
	"github.com/cajun-go/cajun/guarantee"
)

// promise says in words what a caller of m may conclude from a nil error and
// from a failure.
func promise(a *schema.Actor, m *schema.Method) string {
	level := a.Promise(m)
	switch {
	case m.OneWay:
		return oneWayPromise(a, m, level)
	case m.Streams:
		return streamPromise(a, m)
	}
	switch level {
	case guarantee.AtMostOnce:
		return "Delivery: at most once. A nil error means that the handler ran" + committed(a, m, "") +
			", once. After a failure it ran once or not at all; [cajun.OutcomeOf] tells what is known." + harmless(m)
	case guarantee.AtLeastOnce:
		return "Delivery: at least once. " + repeated(m) + ". A nil error means that the handler ran" + committed(a, m, ",") +
			" at least once. After a failure it may have run any number of times; [cajun.OutcomeOf] tells what is known." + harmless(m)
	case guarantee.ExactlyOnce:
		return exactlyOncePromise(a, m)
	}
	return "Delivery: the node decides (see [cajun.WithDelivery]), at most once unless told otherwise. A nil error means that the handler ran" +
		committed(a, m, "") + ". After a failure it may have run; [cajun.OutcomeOf] tells what is known." + harmless(m)
}

// streamPromise says what holds for the events, and who may read what.
func streamPromise(a *schema.Actor, m *schema.Method) string {
	return "Delivery: at most once. A nil error means that the handler ran" + committed(a, m, "") +
		", once, and the stream is open: its events come in order, none left out, until it ends or the context does. " +
		"It ends with an error of the code unavailable when the actor moves or leaves memory: open it again. Range over the events once." +
		harmless(m) + " The handler runs as one call, and the events that it returns are taken outside of it, while the actor handles others; " +
		"[cajun.Topic] makes events for that."
}

func exactlyOncePromise(a *schema.Actor, m *schema.Method) string {
	const askAgain = " To be able to ask again, call with a key of your own (see [cajun.Idempotent])."
	if a.State == nil {
		return "Delivery: exactly once. " + repeated(m) + ", and the first reply that is stored is the one that every repeat gets. " +
			"A nil error means that it was stored. After a failure it was stored once or not at all; [cajun.OutcomeOf] tells what is known." + askAgain +
			" The handler itself may run again, and as the actor declares no state, what it keeps in memory is not part of the promise."
	}
	return "Delivery: exactly once. " + repeated(m) + ", yet its effects on the state and its reply are committed together, once. " +
		"A nil error means that they were. After a failure they were committed once or not at all; [cajun.OutcomeOf] tells what is known." + askAgain +
		" The handler itself may run again."
}

func oneWayPromise(a *schema.Actor, m *schema.Method, level guarantee.Level) string {
	const accepted = "A nil error means that the message was durably accepted; for a handler that calls, it is so once its own turn is committed. "
	failed := " After a failure the message may have been accepted; [cajun.OutcomeOf] tells what is known. " + retired(m)
	switch {
	case level == guarantee.AtMostOnce:
		return "Delivery: one-way, at most once. A nil error means that the message was sent, not that it arrived: " +
			"the handler runs once or not at all, and nobody learns which. After a failure it is the same, unless [cajun.OutcomeOf] tells that it was not executed."
	case level == guarantee.AtLeastOnce:
		return "Delivery: one-way, at least once. " + accepted + "The handler then runs at least once, whichever node fails." + failed
	case level == guarantee.ExactlyOnce && a.State != nil:
		return "Delivery: one-way, exactly once. " + accepted + "Its effects on the state are then committed once, whichever node fails; the handler itself may run again." + failed
	case level == guarantee.ExactlyOnce:
		return "Delivery: one-way, exactly once. " + accepted + "The handler then runs, whichever node fails; it may run again, " +
			"and as the actor declares no state, what it keeps in memory is not part of the promise." + failed
	}
	return "Delivery: one-way; the node decides how surely (see [cajun.WithDelivery]), at most once unless told otherwise. " +
		"At most once, a nil error means that the message was sent, not that it arrived; above that, that it was durably accepted. " +
		"After a failure the handler may run all the same; [cajun.OutcomeOf] tells what is known."
}

// retired says what becomes of an accepted message whose handler fails.
func retired(m *schema.Method) string {
	times := "[cajun.DefaultMaxAttempts]"
	switch n := m.Retry.MaxAttempts; {
	case n == 1:
		return "A message whose handler fails becomes a dead letter; see [cajun.Node.DeadLetters]."
	case n > 1:
		times = strconv.Itoa(n)
	}
	return "A handler that fails is run again, up to " + times + " times in all; then the message becomes a dead letter, see [cajun.Node.DeadLetters]."
}

// repeated says how long a call is retried.
func repeated(m *schema.Method) string {
	switch n := m.Retry.MaxAttempts; {
	case n == 1:
		return "The call is attempted once"
	case n > 1:
		return fmt.Sprintf("The call is attempted until it is answered or its deadline passes, %d times at most", n)
	}
	return "The call is repeated until it is answered or its deadline passes"
}

// committed adds what a nil error says of the state.
func committed(a *schema.Actor, m *schema.Method, after string) string {
	if m.NoSideEffects || a.State == nil {
		return ""
	}
	return " and the actor's state was committed" + after
}

// harmless adds why failures of some methods are easy.
func harmless(m *schema.Method) string {
	if !m.NoSideEffects {
		return ""
	}
	return " The method changes nothing, so calling it again does no harm."
}

// briefly is the promise to a caller of m, and what an error means.
func briefly(m *schema.Method, level guarantee.Level) string {
	text := map[guarantee.Level]string{
		guarantee.Unspecified: ". After an error it may have run.",
		guarantee.AtMostOnce:  ", at most once. After an error it has run once or not at all.",
		guarantee.AtLeastOnce: ", at least once. After an error it may have run any number of times.",
		guarantee.ExactlyOnce: ", exactly once. After an error it has taken effect once or not at all.",
	}[level]
	if m.OneWay {
		text = map[guarantee.Level]string{
			guarantee.Unspecified: " without waiting for it. After an error it may run all the same.",
			guarantee.AtMostOnce:  " without waiting for it, at most once. It runs once or not at all, whether or not there is an error.",
			guarantee.AtLeastOnce: " without waiting for it, at least once. After an error it may run all the same.",
			guarantee.ExactlyOnce: " without waiting for it, exactly once. After an error it may take effect all the same.",
		}[level]
	}
	if m.Streams {
		text = ", at most once, and returns its events. After an error it has run once or not at all."
	}
	if m.NoSideEffects {
		text += " It changes nothing."
	}
	return text
}
