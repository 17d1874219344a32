package main

import (
	"context"
	"testing"

	"connectrpc.com/connect/v2"

	bankv1 "github.com/cajun-go/cajun/examples/gen/bank/v1"
	"github.com/cajun-go/cajun/examples/gen/bank/v1/bankv1cajun"
)

// fakeAccount takes and gives as a test wants it. What it does not say is
// Unimplemented.
type fakeAccount struct {
	bankv1cajun.UnimplementedAccount
	taken   bool
	err     error
	cents   int64
	returns []*bankv1.ReceiveRequest
}

func (f *fakeAccount) Debit(_ context.Context, req *bankv1.DebitRequest) (*bankv1.DebitResponse, error) {
	f.cents -= req.GetCents()
	return &bankv1.DebitResponse{Taken: f.taken}, f.err
}

func (f *fakeAccount) Credit(_ context.Context, req *bankv1.CreditRequest) (*bankv1.CreditResponse, error) {
	return &bankv1.CreditResponse{Taken: f.taken}, f.err
}

func (f *fakeAccount) Receive(_ context.Context, req *bankv1.ReceiveRequest) error {
	f.returns = append(f.returns, req)
	return nil
}

// TestTransferWithFakes: what a handler makes of the answers of others is tried
// without any node.
func TestTransferWithFakes(t *testing.T) {
	closed := connect.NewError(connect.CodeNotFound, "no such account")
	for name, test := range map[string]struct {
		from, to fakeAccount
		outcome  bankv1.Outcome
		fails    bool
		returned int
	}{
		"no money":        {from: fakeAccount{}, outcome: bankv1.Outcome_OUTCOME_REFUSED},
		"receiver full":   {from: fakeAccount{taken: true}, outcome: bankv1.Outcome_OUTCOME_RETURNED, returned: 1},
		"sender unknown":  {from: fakeAccount{err: closed}, fails: true},
		"nothing certain": {from: fakeAccount{taken: true}, to: fakeAccount{err: context.DeadlineExceeded}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			accounts := map[string]bankv1cajun.Account{"alice": &test.from, "bob": &test.to}
			tr := &transfer{order: 7, state: new(bankv1.TransferState), account: func(key string) bankv1cajun.Account { return accounts[key] }}
			r, err := tr.Execute(t.Context(), &bankv1.ExecuteRequest{From: "alice", To: "bob", Cents: 100})
			if (err != nil) != test.fails || r.GetOutcome() != test.outcome {
				t.Errorf("got %v, %v", r.GetOutcome(), err)
			}
			if len(test.from.returns) != test.returned {
				t.Errorf("%d times the money came back, want %d", len(test.from.returns), test.returned)
			}
		})
	}
}
