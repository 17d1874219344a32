package main

import (
	"strings"
	"testing"

	bankv1 "github.com/cajun-go/cajun/examples/gen/bank/v1"
)

// ledger is evidence in which everything is well, for tests to spoil.
type ledger struct {
	*evidence
	t *testing.T
}

// newLedger is that of a bank in which orders of every sort were made.
func newLedger(t *testing.T) ledger {
	p := plan{seed: 1, accounts: 4, clients: 2}
	l := ledger{&evidence{
		plan:      p,
		accounts:  make(map[string]*bankv1.AccountState),
		inboxes:   make(map[string][]uint64),
		transfers: make(map[uint64]bankv1.Outcome),
		mostTicks: 3,
	}, t}
	for _, key := range append(p.customers(), treasury) {
		l.accounts[key] = &bankv1.AccountState{Open: true, Cents: openingCents, OpenedWith: openingCents}
	}
	l.accounts[nobody] = &bankv1.AccountState{}
	l.accounts[treasury].InterestPaid = make(map[string]int64)
	for i, key := range p.customers() {
		l.tick(key, uint64(2*i), 10)
		l.tick(key, uint64(2*i+1), 10)
	}
	for i := range 100 {
		number := p.number(i%p.clients, i/p.clients)
		l.make(p.order(number), i%10 == 0, i%25 != 0)
	}
	return l
}

// tick lets a timer fire and pays the interest.
func (l ledger) tick(key string, id uint64, cents int64) {
	a, t := l.accounts[key], l.accounts[treasury]
	a.Ticks = append(a.Ticks, id)
	a.InterestDue, a.InterestReceived, a.Cents = a.InterestDue+cents, a.InterestReceived+cents, a.Cents+cents
	t.InterestPaid[key], t.Cents = t.InterestPaid[key]+cents, t.Cents-cents
}

// make carries an order out, or refuses it.
func (l ledger) make(o order, refuse, answer bool) {
	outcome := bankv1.Outcome_OUTCOME_SENT
	switch {
	case refuse:
		outcome = bankv1.Outcome_OUTCOME_REFUSED
	case o.transfer && o.to == nobody:
		outcome = bankv1.Outcome_OUTCOME_RETURNED
	case o.transfer:
		outcome = bankv1.Outcome_OUTCOME_DONE
	}
	n := note{number: o.number}
	if answer {
		n.answer = answerOf(outcome)
	}
	l.notes = append(l.notes, n)
	if o.transfer {
		l.transfers[o.number] = outcome
	}
	switch {
	case refuse:
	case o.to == nobody:
		l.debit(o)
		l.giveBack(o)
	default:
		l.debit(o)
		l.credit(o)
		l.inboxes[o.to] = append(l.inboxes[o.to], o.number)
	}
}

func (l ledger) debit(o order) {
	a := l.accounts[o.from]
	a.Cents, a.Debited = a.Cents-o.cents, append(a.Debited, o.number)
}

func (l ledger) credit(o order) {
	a := l.accounts[o.to]
	a.Cents, a.Credited = a.Cents+o.cents, append(a.Credited, o.number)
}

func (l ledger) giveBack(o order) {
	a := l.accounts[o.from]
	a.Cents, a.GivenBack = a.Cents+o.cents, append(a.GivenBack, o.number)
}

// some returns the first order that was answered like this and is of this kind.
// Only returned ones are for nobody.
func (l ledger) some(a answer, transfer bool) (order, *note) {
	for i := range l.notes {
		if o := l.plan.order(l.notes[i].number); l.notes[i].answer == a && o.transfer == transfer && (o.to == nobody) == (a == answerReturned) {
			return o, &l.notes[i]
		}
	}
	l.t.Fatalf("no order was answered %q: choose another seed", a)
	return order{}, nil
}

// without removes an order from a list.
func without(list []uint64, number uint64) []uint64 {
	var rest []uint64
	for _, n := range list {
		if n != number {
			rest = append(rest, n)
		}
	}
	return rest
}

// The audit has to find each of these by itself.
func TestAuditFinds(t *testing.T) {
	first := accountKey(0)
	for name, test := range map[string]struct {
		plant func(ledger)
		want  string
	}{
		"a cent lost":              {func(l ledger) { l.accounts[first].Cents-- }, "in all accounts together"},
		"a cent made":              {func(l ledger) { l.accounts[treasury].Cents++ }, "in all accounts together"},
		"money of another account": {func(l ledger) { l.accounts[first].Cents--; l.accounts[treasury].Cents++ }, "by its own books"},
		"an account lost":          {func(l ledger) { l.accounts[first].Reset() }, "is open: false"},
		"a debit twice":            {func(l ledger) { o, _ := l.some(answerDone, true); l.debit(o) }, "was debited from"},
		"a credit twice":           {func(l ledger) { o, _ := l.some(answerDone, true); l.credit(o) }, "was credited to"},
		"a sum received twice":     {func(l ledger) { o, _ := l.some(answerSent, false); l.credit(o) }, "was credited to"},
		"a sum given back twice":   {func(l ledger) { o, _ := l.some(answerReturned, true); l.giveBack(o) }, "was given back to"},
		"a transfer twice": {func(l ledger) {
			o, _ := l.some(answerDone, true)
			l.debit(o)
			l.credit(o)
		}, "was debited from"},
		"a sum that never arrives": {func(l ledger) {
			o, _ := l.some(answerSent, false)
			a := l.accounts[o.to]
			a.Cents, a.Credited = a.Cents-o.cents, without(a.Credited, o.number)
		}, "in all accounts together"},
		"an acknowledged transfer missing": {func(l ledger) {
			o, _ := l.some(answerDone, true)
			l.undo(o)
			delete(l.transfers, o.number)
		}, `was answered "done", and is "outcome_unspecified"`},
		"an acknowledged sum missing": {func(l ledger) {
			o, _ := l.some(answerSent, false)
			l.undo(o)
		}, `was answered "sent", and is "refused"`},
		"a refused transfer made": {func(l ledger) {
			o, _ := l.some(answerRefused, true)
			l.debit(o)
			l.credit(o)
		}, "was debited from"},
		"a refused sum sent": {func(l ledger) {
			o, _ := l.some(answerRefused, false)
			l.debit(o)
			l.credit(o)
		}, `was answered "refused", and is "sent"`},
		"an error with an effect": {func(l ledger) {
			_, n := l.some(answerDone, true)
			n.answer = answerError
		}, `was answered "error", and is "done"`},
		"a notification lost": {func(l ledger) {
			o, _ := l.some(answerSent, false)
			l.inboxes[o.to] = without(l.inboxes[o.to], o.number)
		}, "was notified to [] instead"},
		"a notification twice": {func(l ledger) {
			o, _ := l.some(answerDone, true)
			l.inboxes[o.to] = append(l.inboxes[o.to], o.number)
		}, "was notified to"},
		"money of nobody": {func(l ledger) {
			o, n := l.some(answerReturned, true)
			a := l.accounts[o.from]
			a.Cents, a.GivenBack = a.Cents-o.cents, without(a.GivenBack, o.number)
			l.credit(o)
			n.answer, l.transfers[o.number] = answerDone, bankv1.Outcome_OUTCOME_DONE
		}, "was credited to [nobody] instead of []"},
		"an order that nobody made": {func(l ledger) {
			o := l.plan.order(l.plan.number(0, 1000))
			l.debit(o)
			l.credit(o)
		}, "nobody has asked for it"},
		"an order of two clients": {func(l ledger) { l.notes = append(l.notes, l.notes[0]) }, "two notebooks"},
		"a tick twice": {func(l ledger) {
			l.tick(first, l.accounts[first].Ticks[0], 10)
		}, "3 ticks for 2 due times"},
		"ticks too many": {func(l ledger) { l.tick(first, 100, 10); l.tick(first, 101, 10) }, "there was time for 3"},
		"interest paid twice": {func(l ledger) {
			a, t := l.accounts[first], l.accounts[treasury]
			a.Cents, a.InterestReceived = a.Cents+10, a.InterestReceived+10
			t.Cents, t.InterestPaid[first] = t.Cents-10, t.InterestPaid[first]+10
		}, "asked for 0.20 of interest, 0.30 were paid, and 0.30 came"},
		"interest lost on its way": {func(l ledger) {
			a := l.accounts[first]
			a.Cents, a.InterestReceived = a.Cents-10, a.InterestReceived-10
		}, "0.20 were paid, and 0.10 came"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			test.plant(l)
			if found := strings.Join(l.audit(), "\n"); !strings.Contains(found, test.want) {
				t.Errorf("%q is not in what was found:\n%s", test.want, found)
			}
		})
	}
}

// undo takes back an order that has arrived.
func (l ledger) undo(o order) {
	from, to := l.accounts[o.from], l.accounts[o.to]
	from.Cents, from.Debited = from.Cents+o.cents, without(from.Debited, o.number)
	to.Cents, to.Credited = to.Cents-o.cents, without(to.Credited, o.number)
	l.inboxes[o.to] = without(l.inboxes[o.to], o.number)
}

// The audit accuses nobody without reason. What was never answered may have
// been carried out or not.
func TestAuditIsFair(t *testing.T) {
	for name, change := range map[string]func(ledger){
		"all is well": func(ledger) {},
		"an unanswered transfer did not happen": func(l ledger) {
			o, n := l.some(answerDone, true)
			l.undo(o)
			delete(l.transfers, o.number)
			n.answer = ""
		},
		"an unanswered sum was not sent": func(l ledger) {
			o, n := l.some(answerSent, false)
			l.undo(o)
			n.answer = ""
		},
		"an error without effect": func(l ledger) {
			_, n := l.some(answerRefused, true)
			n.answer = answerError
		},
		"one more tick": func(l ledger) { l.tick(accountKey(0), 100, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			change(l)
			if found := l.audit(); len(found) > 0 {
				t.Errorf("the audit complains: %s", strings.Join(found, "\n"))
			}
		})
	}
}
