package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	bankv1 "github.com/cajun-go/cajun/examples/gen/bank/v1"
	"github.com/cajun-go/cajun/examples/gen/bank/v1/bankv1cajun"
	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
)

const (
	// interestEvery is how often accounts get interest.
	interestEvery = time.Second
	// tellerCalls is how many calls the teller makes at once.
	tellerCalls = 16
	// tellerTimeout bounds one call of the teller's, who asks when the bank is
	// in order.
	tellerTimeout = 20 * time.Second
)

// teller opens the accounts before customers come, and asks everybody what
// they remember when these have left.
type teller struct {
	plan plan
	node *cajun.Node
}

// everyAccount is all accounts, also the one that is never opened.
func (t teller) everyAccount() []string { return append(t.plan.customers(), treasury, nobody) }

// open opens all accounts.
func (t teller) open(ctx context.Context) error {
	return each(ctx, append(t.plan.customers(), treasury), func(ctx context.Context, key string) error {
		req := &bankv1.OpenRequest{Cents: openingCents, InterestEveryMs: interestEvery.Milliseconds()}
		if key == treasury {
			req.InterestEveryMs = 0
		}
		_, err := bankv1cajun.NewAccountPid(t.node, key).Open(ctx, req)
		return err
	})
}

// stopInterest ends all timers.
func (t teller) stopInterest(ctx context.Context) error {
	return each(ctx, t.plan.customers(), func(ctx context.Context, key string) error {
		_, err := bankv1cajun.NewAccountPid(t.node, key).StopInterest(ctx, &bankv1.StopInterestRequest{})
		return err
	})
}

// accounts asks all accounts.
func (t teller) accounts(ctx context.Context) (map[string]*bankv1.AccountState, error) {
	return ask(ctx, t.everyAccount(), func(ctx context.Context, key string) (*bankv1.AccountState, error) {
		reply, err := bankv1cajun.NewAccountPid(t.node, key).Statement(ctx, &bankv1.StatementRequest{})
		return reply.GetAccount(), err
	})
}

// inboxes asks all mailboxes.
func (t teller) inboxes(ctx context.Context) (map[string][]uint64, error) {
	return ask(ctx, t.everyAccount(), func(ctx context.Context, key string) ([]uint64, error) {
		reply, err := bankv1cajun.NewMailboxPid(t.node, key).Inbox(ctx, &bankv1.InboxRequest{})
		return reply.GetOrders(), err
	})
}

// transfers asks what has become of the transfers among these orders.
func (t teller) transfers(ctx context.Context, notes []note) (map[uint64]bankv1.Outcome, error) {
	var numbers []uint64
	for _, n := range notes {
		if t.plan.order(n.number).transfer {
			numbers = append(numbers, n.number)
		}
	}
	return ask(ctx, numbers, func(ctx context.Context, number uint64) (bankv1.Outcome, error) {
		reply, err := bankv1cajun.NewTransferPid(t.node, strconv.FormatUint(number, 10)).Status(ctx, &bankv1.StatusRequest{})
		return reply.GetTransfer().GetOutcome(), err
	})
}

// collect asks everybody about everything.
func (t teller) collect(ctx context.Context, notes []note) (*evidence, error) {
	accounts, err := t.accounts(ctx)
	if err != nil {
		return nil, err
	}
	inboxes, err := t.inboxes(ctx)
	if err != nil {
		return nil, err
	}
	transfers, err := t.transfers(ctx, notes)
	if err != nil {
		return nil, err
	}
	return &evidence{plan: t.plan, notes: notes, accounts: accounts, inboxes: inboxes, transfers: transfers}, nil
}

// ask asks all of them, some at the same time.
func ask[K comparable, V any](ctx context.Context, keys []K, question func(context.Context, K) (V, error)) (map[K]V, error) {
	var mu sync.Mutex
	answers := make(map[K]V, len(keys))
	err := each(ctx, keys, func(ctx context.Context, key K) error {
		answer, err := question(cajun.Deliver(ctx, guarantee.AtLeastOnce), key)
		mu.Lock()
		defer mu.Unlock()
		answers[key] = answer
		return err
	})
	return answers, err
}

// each does something for all of them, some at the same time.
func each[K any](ctx context.Context, keys []K, do func(context.Context, K) error) error {
	var mu sync.Mutex
	var errs []error
	var doing sync.WaitGroup
	queue := make(chan K)
	for range tellerCalls {
		doing.Go(func() {
			for key := range queue {
				ctx, cancel := context.WithTimeout(ctx, tellerTimeout)
				if err := do(ctx, key); err != nil {
					mu.Lock()
					errs = append(errs, fmt.Errorf("%v: %w", key, err))
					mu.Unlock()
				}
				cancel()
			}
		})
	}
	for _, key := range keys {
		queue <- key
	}
	close(queue)
	doing.Wait()
	return errors.Join(errs...)
}
