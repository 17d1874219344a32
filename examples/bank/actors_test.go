package main

import (
	"context"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/cajuntest"
	bankv1 "github.com/cajun-go/cajun/examples/gen/bank/v1"
	"github.com/cajun-go/cajun/examples/gen/bank/v1/bankv1cajun"
	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link"
)

// inBubble runs a test with a bank in fake time.
func inBubble(t *testing.T, p plan, test func(*testing.T, *cajuntest.Cluster, teller)) {
	bubble.Test(t, func(t *testing.T) {
		c := cajuntest.Start(t, 3, hostBank())
		tl := teller{plan: p, node: c.Client()}
		if err := tl.open(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, c, tl)
	})
}

// What becomes of an order, and what it leaves behind.
func TestOrders(t *testing.T) {
	from, to := accountKey(0), accountKey(1)
	for name, test := range map[string]struct {
		order order
		want  answer
		// effect is where the money is afterwards.
		effect string
	}{
		"transfer":                {order{1, from, to, 100, true}, answerDone, to},
		"transfer of all":         {order{1, from, to, openingCents, true}, answerDone, to},
		"transfer of too much":    {order{1, from, to, openingCents + 1, true}, answerRefused, from},
		"transfer to nobody":      {order{1, from, nobody, 100, true}, answerReturned, from},
		"transfer from nobody":    {order{1, nobody, to, 100, true}, answerRefused, nobody},
		"sending":                 {order{1, from, to, 100, false}, answerSent, to},
		"sending too much":        {order{1, from, to, openingCents + 1, false}, answerRefused, from},
		"sending to nobody":       {order{1, from, nobody, 100, false}, answerSent, from},
		"sending from nobody":     {order{1, nobody, to, 100, false}, answerRefused, nobody},
		"sending to oneself":      {order{1, from, from, 100, false}, answerSent, from},
		"transferring to oneself": {order{1, from, from, 100, true}, answerDone, from},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, plan{accounts: 2, clients: 1}, func(t *testing.T, c *cajuntest.Cluster, tl teller) {
				if err := tl.stopInterest(t.Context()); err != nil {
					t.Fatal(err)
				}
				customer := &client{node: c.Client(), patience: patience}
				for range 3 { // a repeat gets the same answer and does nothing
					if outcome, err := customer.ask(t.Context(), test.order); err != nil || answerOf(outcome) != test.want {
						t.Fatalf("the answer is %v, %v; want %v", outcome, err, test.want)
					}
				}
				wait(t.Context(), time.Minute)
				accounts, err := tl.accounts(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				inboxes, err := tl.inboxes(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				arrived := test.effect == test.order.to
				for _, key := range []string{from, to, nobody} {
					want := int64(openingCents)
					if key == nobody {
						want = 0
					}
					if key == test.order.from && arrived {
						want -= test.order.cents
					}
					if key == test.order.to && arrived {
						want += test.order.cents
					}
					if got := accounts[key].GetCents(); got != want {
						t.Errorf("%s has %s; want %s", key, money(got), money(want))
					}
					if notified := slices.Contains(inboxes[key], 1); notified != (arrived && key == test.order.to) || len(inboxes[key]) > 1 {
						t.Errorf("the notifications for %s are %v", key, inboxes[key])
					}
				}
			})
		})
	}
}

func TestInterest(t *testing.T) {
	inBubble(t, plan{accounts: 2, clients: 1}, func(t *testing.T, _ *cajuntest.Cluster, tl teller) {
		wait(t.Context(), 10*interestEvery+interestEvery/2)
		if err := tl.stopInterest(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait(t.Context(), 10*interestEvery)
		accounts, err := tl.accounts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		const each = openingCents / interestPart // a tick's interest is too little to bear interest
		for _, key := range tl.plan.customers() {
			if a := accounts[key]; len(a.GetTicks()) != 10 || a.GetInterestReceived() != 10*each || a.GetCents() != openingCents+10*each {
				t.Errorf("%s had %d ticks, %d cents of interest, and has %d", key, len(a.GetTicks()), a.GetInterestReceived(), a.GetCents())
			}
		}
		if got := accounts[treasury].GetCents(); got != openingCents-20*each {
			t.Errorf("the treasury has %d cents", got)
		}
	})
}

func TestRefusals(t *testing.T) {
	inBubble(t, plan{accounts: 2, clients: 1}, func(t *testing.T, c *cajuntest.Cluster, tl teller) {
		if err := tl.open(t.Context()); connect.CodeOf(err) != connect.CodeAlreadyExists {
			t.Errorf("accounts are opened twice: %v", err)
		}
		o := order{1, accountKey(0), accountKey(1), 5, true}
		if _, err := (&client{node: c.Client(), patience: patience}).ask(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]connect.Code{"1": connect.CodeAlreadyExists, "one": connect.CodeInvalidArgument} {
			_, err := bankv1cajun.NewTransferPid(c.Client(), key).Execute(t.Context(), &bankv1.ExecuteRequest{From: o.from, To: o.to, Cents: o.cents})
			if connect.CodeOf(err) != want {
				t.Errorf("transfer %s: %v; want %v", key, err, want)
			}
		}
	})
}

// All of the example that needs no processes: clients, kills, and the audit. A
// slow network that loses and repeats messages lets the kills find calls under
// way, and clients without patience repeat what still runs.
func TestBankSurvivesKills(t *testing.T) {
	p := plan{seed: 3, accounts: 6, clients: 4}
	for name, patience := range map[string]time.Duration{"patient": patience, "impatient": 40 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, p, func(t *testing.T, c *cajuntest.Cluster, tl teller) {
				opened, dir := time.Now().Add(-time.Minute), t.TempDir()
				c.Faults(link.Faults{Seed: 1, Loss: 0.01, Duplicate: 0.05, Reorder: 0.05, Delay: 20 * time.Millisecond})
				runWhileNodesDie(t, c, p, dir, patience)
				r := newReport(settings{})
				if err := tl.close(t.Context(), dir, opened, &r); err != nil {
					t.Fatal(err)
				}
				if err := r.conclude(); err != nil || r.Orders.Returned == 0 || r.Orders.Refused == 0 {
					t.Errorf("%v: %+v", err, r)
				}
			})
		})
	}
}

// runWhileNodesDie runs clients and kills each node a few times meanwhile.
func runWhileNodesDie(t *testing.T, c *cajuntest.Cluster, p plan, dir string, patience time.Duration) {
	var all []*client
	for i := range p.clients {
		book, err := openNotebook(dir, i)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &client{
			plan: p, index: i, node: c.Client(), book: book, patience: patience,
			logger: settings{}.logger(), tell: func(uint64) {},
		})
	}
	enough, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1) // nobody may be left to take it
	go func() { served <- runClients(t.Context(), enough, all) }()
	for i := range 9 {
		wait(t.Context(), time.Second)
		c.Kill(i % 3)
		c.Restart(i % 3)
	}
	cancel()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}
