package main

import (
	"context"
	"hash/fnv"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	bankv1 "github.com/cajun-go/cajun/examples/gen/bank/v1"
	"github.com/cajun-go/cajun/examples/gen/bank/v1/bankv1cajun"
	cajun "github.com/cajun-go/cajun/runtime"
)

const (
	// treasury is the account that pays the interest of all others.
	treasury = "treasury"
	// interestTimer names an account's timer.
	interestTimer = "interest"
	// interestPart is which part of an account's money one tick pays.
	interestPart = 1000
)

// account is the actor: one per key. No method remembers which calls it has
// seen in order to ignore repeats: that is the framework's promise, and what
// the audit checks.
type account struct {
	self  *cajun.Self
	state *bankv1.AccountState
}

var _ bankv1cajun.Account = (*account)(nil)

func newAccount(self *cajun.Self, state *bankv1.AccountState) (*account, error) {
	return &account{self: self, state: state}, nil
}

// pid is another account, or this one.
func (a *account) pid(key string) bankv1cajun.AccountPid {
	return bankv1cajun.NewAccountPid(a.self, key)
}

// Open sets the timer in its turn: either the account is open and has a timer,
// or neither.
func (a *account) Open(ctx context.Context, req *bankv1.OpenRequest) (*bankv1.OpenResponse, error) {
	if a.state.Open {
		return nil, connect.NewError(connect.CodeAlreadyExists, "the account is open already")
	}
	a.state.Open = true
	a.state.Cents, a.state.OpenedWith = req.GetCents(), req.GetCents()
	if every := time.Duration(req.GetInterestEveryMs()) * time.Millisecond; every > 0 {
		timer := cajun.Timer{Name: interestTimer, After: every, Every: every}
		if err := cajun.Schedule(ctx, a.pid(a.self.Key()).AccrueInterest, &bankv1.AccrueInterestRequest{}, timer); err != nil {
			return nil, err
		}
	}
	return &bankv1.OpenResponse{}, nil
}

// Debit says in its reply that there is too little money: that is an answer of
// the bank's, and no failure of the call.
func (a *account) Debit(_ context.Context, req *bankv1.DebitRequest) (*bankv1.DebitResponse, error) {
	return &bankv1.DebitResponse{Taken: a.debit(req.GetOrder(), req.GetCents())}, nil
}

func (a *account) debit(order uint64, cents int64) bool {
	if a.state.Cents < cents {
		return false
	}
	a.state.Cents -= cents
	a.state.Debited = append(a.state.Debited, order)
	return true
}

// Credit puts money in.
func (a *account) Credit(_ context.Context, req *bankv1.CreditRequest) (*bankv1.CreditResponse, error) {
	return &bankv1.CreditResponse{Taken: a.credit(req.GetOrder(), req.GetCents())}, nil
}

func (a *account) credit(order uint64, cents int64) bool {
	if !a.state.Open {
		return false
	}
	a.state.Cents += cents
	a.state.Credited = append(a.state.Credited, order)
	return true
}

// Send stores the debit and the call that brings the money in one commit.
func (a *account) Send(ctx context.Context, req *bankv1.SendRequest) (*bankv1.SendResponse, error) {
	if !a.debit(req.GetOrder(), req.GetCents()) {
		return &bankv1.SendResponse{Outcome: bankv1.Outcome_OUTCOME_REFUSED}, nil
	}
	money := &bankv1.ReceiveRequest{Order: req.GetOrder(), From: a.self.Key(), Cents: req.GetCents()}
	if err := a.pid(req.GetTo()).Receive(ctx, money); err != nil {
		return nil, err // undoes the debit
	}
	return &bankv1.SendResponse{Outcome: bankv1.Outcome_OUTCOME_SENT}, nil
}

// Receive tells nobody that it cannot take the money, as nobody waits for it:
// it sends the money back.
func (a *account) Receive(ctx context.Context, req *bankv1.ReceiveRequest) error {
	switch {
	case req.GetBack():
		a.state.Cents += req.GetCents()
		a.state.GivenBack = append(a.state.GivenBack, req.GetOrder())
		return nil
	case !a.credit(req.GetOrder(), req.GetCents()):
		money := &bankv1.ReceiveRequest{Order: req.GetOrder(), From: a.self.Key(), Cents: req.GetCents(), Back: true}
		return a.pid(req.GetFrom()).Receive(ctx, money)
	}
	mailbox := bankv1cajun.NewMailboxPid(a.self, a.self.Key())
	return mailbox.Notify(ctx, &bankv1.NotifyRequest{Order: req.GetOrder(), Cents: req.GetCents()})
}

// AccrueInterest writes each tick down, so that one that came twice would be
// found.
func (a *account) AccrueInterest(ctx context.Context, _ *bankv1.AccrueInterestRequest) error {
	call, _ := cajun.CallFrom(ctx)
	a.state.Ticks = append(a.state.Ticks, fingerprint(call.ID))
	cents := a.state.Cents / interestPart
	if cents == 0 {
		return nil
	}
	a.state.InterestDue += cents
	return a.pid(treasury).PayInterest(ctx, &bankv1.PayInterestRequest{Account: a.self.Key(), Cents: cents})
}

// fingerprint is short and as good as different for each ID.
func fingerprint(id string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	return h.Sum64()
}

// PayInterest pays in any case: the treasury may owe, so that money moves and
// none is made.
func (a *account) PayInterest(ctx context.Context, req *bankv1.PayInterestRequest) error {
	if a.state.InterestPaid == nil {
		a.state.InterestPaid = make(map[string]int64)
	}
	a.state.Cents -= req.GetCents()
	a.state.InterestPaid[req.GetAccount()] += req.GetCents()
	return a.pid(req.GetAccount()).ReceiveInterest(ctx, &bankv1.ReceiveInterestRequest{Cents: req.GetCents()})
}

// ReceiveInterest puts interest in.
func (a *account) ReceiveInterest(_ context.Context, req *bankv1.ReceiveInterestRequest) error {
	a.state.Cents += req.GetCents()
	a.state.InterestReceived += req.GetCents()
	return nil
}

// StopInterest ends the timer.
func (a *account) StopInterest(ctx context.Context, _ *bankv1.StopInterestRequest) (*bankv1.StopInterestResponse, error) {
	if err := cajun.Unschedule(ctx, a.pid(a.self.Key()), interestTimer); err != nil {
		return nil, err
	}
	return &bankv1.StopInterestResponse{}, nil
}

// Statement only reads. It copies, as the state may change before the reply is
// sent.
func (a *account) Statement(context.Context, *bankv1.StatementRequest) (*bankv1.StatementResponse, error) {
	return &bankv1.StatementResponse{Account: proto.CloneOf(a.state)}, nil
}
