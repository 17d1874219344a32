package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	bankv1 "github.com/cajun-go/cajun/examples/gen/bank/v1"
)

// evidence is what all who took part remember.
type evidence struct {
	plan  plan
	notes []note
	// accounts, inboxes and transfers are what the actors say.
	accounts  map[string]*bankv1.AccountState
	inboxes   map[string][]uint64
	transfers map[uint64]bankv1.Outcome
	// mostTicks is how many due times the timers had at most.
	mostTicks int
}

// places are the actors that remember an order, once for each time that it had
// an effect there.
type places map[uint64][]string

// effects are where the orders had which effect.
type effects struct{ debited, credited, givenBack, notified places }

// audit returns what is wrong, in words.
func (e *evidence) audit() []string {
	found := e.auditMoney()
	found = append(found, e.auditOrders()...)
	return append(found, e.auditTimers()...)
}

// auditMoney checks that no cent was made or lost: neither in all, nor in any
// account by what it remembers.
func (e *evidence) auditMoney() (found []string) {
	if got, want := e.found(), e.opened(); got != want {
		found = append(found, fmt.Sprintf("there are %s in all accounts together, and %s were put in", money(got), money(want)))
	}
	for _, key := range slices.Sorted(maps.Keys(e.accounts)) {
		a := e.accounts[key]
		if a.GetOpen() != (key != nobody) || a.GetOpen() && a.GetOpenedWith() != openingCents {
			found = append(found, fmt.Sprintf("%s is open: %t, with %s", key, a.GetOpen(), money(a.GetOpenedWith())))
		}
		want := a.GetOpenedWith() - e.sum(a.GetDebited()) + e.sum(a.GetCredited()) + e.sum(a.GetGivenBack()) + a.GetInterestReceived()
		for _, paid := range a.GetInterestPaid() {
			want -= paid
		}
		if a.GetCents() != want {
			found = append(found, fmt.Sprintf("%s has %s, and by its own books it should have %s", key, money(a.GetCents()), money(want)))
		}
	}
	return found
}

// opened is the money that was put into the bank, and found what is there now.
func (e *evidence) opened() int64 { return int64(e.plan.accounts+1) * openingCents }

func (e *evidence) found() (cents int64) {
	for _, a := range e.accounts {
		cents += a.GetCents()
	}
	return cents
}

func (e *evidence) sum(orders []uint64) (cents int64) {
	for _, number := range orders {
		cents += e.plan.order(number).cents
	}
	return cents
}

// auditOrders checks that each order had its effects once or not at all, and
// that the client was told the truth.
func (e *evidence) auditOrders() (found []string) {
	effects := e.effects()
	known := make(map[uint64]bool, len(e.notes))
	for _, n := range e.notes {
		o := e.plan.order(n.number)
		if known[n.number] {
			found = append(found, fmt.Sprintf("%v stands in two notebooks, or twice in one", o))
		}
		known[n.number] = true
		outcome := e.outcome(o, effects)
		if !agrees(n.answer, outcome) {
			found = append(found, fmt.Sprintf("%v was answered %q, and is %q", o, n.answer, answerOf(outcome)))
		}
		found = append(found, effects.check(o, outcome)...)
	}
	for _, p := range []places{effects.debited, effects.credited, effects.givenBack, effects.notified} {
		for _, number := range slices.Sorted(maps.Keys(p)) {
			if !known[number] {
				found = append(found, fmt.Sprintf("order %d had effects at %v, and nobody has asked for it", number, p[number]))
			}
		}
	}
	return found
}

// effects turns what the actors remember around: from orders to actors.
func (e *evidence) effects() effects {
	f := effects{make(places), make(places), make(places), make(places)}
	for _, key := range slices.Sorted(maps.Keys(e.accounts)) {
		a := e.accounts[key]
		f.debited.add(key, a.GetDebited())
		f.credited.add(key, a.GetCredited())
		f.givenBack.add(key, a.GetGivenBack())
		f.notified.add(key, e.inboxes[key])
	}
	return f
}

func (p places) add(actor string, orders []uint64) {
	for _, number := range orders {
		p[number] = append(p[number], actor)
	}
}

// outcome is what has become of an order: a transfer says so itself, and money
// that was sent is known by its debit.
func (e *evidence) outcome(o order, f effects) bankv1.Outcome {
	switch {
	case o.transfer:
		return e.transfers[o.number]
	case len(f.debited[o.number]) > 0:
		return bankv1.Outcome_OUTCOME_SENT
	}
	return bankv1.Outcome_OUTCOME_REFUSED
}

// agrees reports whether an answer was true. No answer fits everything, and an
// error whatever has no effect.
func agrees(a answer, outcome bankv1.Outcome) bool {
	switch a {
	case "":
		return true
	case answerError:
		return outcome == bankv1.Outcome_OUTCOME_UNSPECIFIED || outcome == bankv1.Outcome_OUTCOME_REFUSED
	}
	return a == answerOf(outcome)
}

// check compares the effects of one order with what has become of it.
func (f effects) check(o order, outcome bankv1.Outcome) (found []string) {
	var debited, credited, givenBack []string
	switch {
	case o.to != nobody && (outcome == bankv1.Outcome_OUTCOME_DONE || outcome == bankv1.Outcome_OUTCOME_SENT):
		debited, credited = []string{o.from}, []string{o.to}
	case outcome == bankv1.Outcome_OUTCOME_RETURNED || outcome == bankv1.Outcome_OUTCOME_SENT:
		debited, givenBack = []string{o.from}, []string{o.from}
	}
	for _, effect := range []struct {
		name      string
		got, want []string
	}{
		{"debited from", f.debited[o.number], debited},
		{"credited to", f.credited[o.number], credited},
		{"given back to", f.givenBack[o.number], givenBack},
		{"notified to", f.notified[o.number], credited},
	} {
		if !slices.Equal(effect.got, effect.want) {
			found = append(found, fmt.Sprintf("%v is %q, and was %s %v instead of %v", o, answerOf(outcome), effect.name, effect.got, effect.want))
		}
	}
	return found
}

// auditTimers checks that no tick of a timer was handled twice, that there were
// no more than due times, and that the interest of each came, once.
func (e *evidence) auditTimers() (found []string) {
	paid := e.accounts[treasury].GetInterestPaid()
	for _, key := range e.plan.customers() {
		a := e.accounts[key]
		ticks := slices.Clone(a.GetTicks())
		slices.Sort(ticks)
		if different := len(slices.Compact(slices.Clone(ticks))); different < len(ticks) {
			found = append(found, fmt.Sprintf("%s handled %d ticks for %d due times", key, len(ticks), different))
		}
		if len(ticks) > e.mostTicks {
			found = append(found, fmt.Sprintf("%s handled %d ticks, and there was time for %d", key, len(ticks), e.mostTicks))
		}
		if a.GetInterestDue() != paid[key] || paid[key] != a.GetInterestReceived() {
			found = append(found, fmt.Sprintf("%s asked for %s of interest, %s were paid, and %s came",
				key, money(a.GetInterestDue()), money(paid[key]), money(a.GetInterestReceived())))
		}
	}
	return found
}

// String describes an order in a complaint.
func (o order) String() string {
	kind := "sending"
	if o.transfer {
		kind = "transfer"
	}
	return fmt.Sprintf("order %d (%s of %s from %s to %s)", o.number, kind, money(o.cents), o.from, o.to)
}

// money is a sum in words.
type money int64

// String implements fmt.Stringer.
func (m money) String() string {
	sign := ""
	if m < 0 {
		sign, m = "-", -m
	}
	return fmt.Sprintf("%s%d.%02d", sign, m/100, m%100)
}

// mostTicks is how many due times a timer had that was set and ended in this
// time.
func mostTicks(lived time.Duration) int { return int(lived / interestEvery) }
