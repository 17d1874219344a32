package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	bankv1 "github.com/cajun-go/cajun/examples/gen/bank/v1"
	"github.com/cajun-go/cajun/examples/gen/bank/v1/bankv1cajun"
	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
)

// receiptAfter is how long after a transfer its receiver is notified.
const receiptAfter = 200 * time.Millisecond

// transfer is the actor that makes one transfer. When its node dies in the
// middle, it goes on elsewhere, and the accounts answer the calls that they had
// before as they did then.
type transfer struct {
	self  *cajun.Self
	order uint64
	state *bankv1.TransferState
	// account finds an account. A Pid is one way to have what the interface asks
	// for, and a test has another.
	account func(key string) bankv1cajun.Account
}

var _ bankv1cajun.Transfer = (*transfer)(nil)

func newTransfer(self *cajun.Self, state *bankv1.TransferState) (*transfer, error) {
	order, err := strconv.ParseUint(self.Key(), 10, 64)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Sprintf("a transfer's key is its number: %v", err))
	}
	account := func(key string) bankv1cajun.Account { return bankv1cajun.NewAccountPid(self, key) }
	return &transfer{self: self, order: order, state: state, account: account}, nil
}

// Execute takes the money out of one account and puts it into the other. Both
// calls happen once each, however often it runs.
func (t *transfer) Execute(ctx context.Context, req *bankv1.ExecuteRequest) (*bankv1.ExecuteResponse, error) {
	if t.state.Outcome != bankv1.Outcome_OUTCOME_UNSPECIFIED {
		// A repeat of the call gets the first one's reply and does not come here.
		return nil, connect.NewError(connect.CodeAlreadyExists, "the transfer was made already")
	}
	t.state.From, t.state.To, t.state.Cents = req.GetFrom(), req.GetTo(), req.GetCents()
	outcome, err := t.move(ctx)
	if err != nil {
		return nil, err
	}
	t.state.Outcome = outcome
	return &bankv1.ExecuteResponse{Outcome: outcome}, nil
}

// move says what has become of the money. When it cannot tell, its error makes
// the runtime run the turn again.
func (t *transfer) move(ctx context.Context) (bankv1.Outcome, error) {
	from, to := t.account(t.state.From), t.account(t.state.To)
	debit, err := from.Debit(ctx, &bankv1.DebitRequest{Order: t.order, Cents: t.state.Cents})
	switch {
	case err != nil:
		return 0, err
	case !debit.GetTaken():
		return bankv1.Outcome_OUTCOME_REFUSED, nil
	}
	credit, err := to.Credit(ctx, &bankv1.CreditRequest{Order: t.order, Cents: t.state.Cents})
	switch {
	case err != nil && cajun.OutcomeOf(err) == guarantee.MaybeExecuted:
		return 0, err
	case err != nil || !credit.GetTaken():
		// An error would undo what this turn does here and not the debit. The
		// one-way call is stored with the turn and brings the money back.
		money := &bankv1.ReceiveRequest{Order: t.order, From: t.state.To, Cents: t.state.Cents, Back: true}
		return bankv1.Outcome_OUTCOME_RETURNED, from.Receive(ctx, money)
	}
	mailbox := bankv1cajun.NewMailboxPid(t.self, t.state.To)
	receipt := cajun.Timer{Name: "receipt-" + t.self.Key(), After: receiptAfter}
	return bankv1.Outcome_OUTCOME_DONE, cajun.Schedule(ctx, mailbox.Notify, &bankv1.NotifyRequest{Order: t.order, Cents: t.state.Cents}, receipt)
}

// Status only reads.
func (t *transfer) Status(context.Context, *bankv1.StatusRequest) (*bankv1.StatusResponse, error) {
	return &bankv1.StatusResponse{Transfer: proto.CloneOf(t.state)}, nil
}
