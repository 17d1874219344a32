package main

import (
	"context"
	"slices"

	bankv1 "github.com/cajun-go/cajun/examples/gen/bank/v1"
	"github.com/cajun-go/cajun/examples/gen/bank/v1/bankv1cajun"
	cajun "github.com/cajun-go/cajun/runtime"
)

// mailbox is the actor that gathers notifications.
type mailbox struct{ state *bankv1.MailboxState }

var _ bankv1cajun.Mailbox = (*mailbox)(nil)

func newMailbox(_ *cajun.Self, state *bankv1.MailboxState) (*mailbox, error) {
	return &mailbox{state}, nil
}

// Notify is called one-way by accounts, and by the timers of transfers.
func (m *mailbox) Notify(_ context.Context, req *bankv1.NotifyRequest) error {
	m.state.Orders = append(m.state.Orders, req.GetOrder())
	return nil
}

// Inbox only reads.
func (m *mailbox) Inbox(context.Context, *bankv1.InboxRequest) (*bankv1.InboxResponse, error) {
	return &bankv1.InboxResponse{Orders: slices.Clone(m.state.GetOrders())}, nil
}

// hostBank lets a node host all actors of the bank.
func hostBank() cajun.Option {
	return cajun.Options(
		bankv1cajun.HostAccount(newAccount),
		bankv1cajun.HostTransfer(newTransfer),
		bankv1cajun.HostMailbox(newMailbox),
	)
}
