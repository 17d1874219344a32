package compiled_test

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/cajuntest"
	bankv1 "github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/bank/v1"
	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/bank/v1/bankv1cajun"
	opaquev1 "github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/edition2024/v1"
	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/edition2024/v1/opaquev1cajun"
	namesv1 "github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/names/v1"
	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/names/v1/namesv1cajun"
	cajun "github.com/cajun-go/cajun/runtime"
)

// ledger is an Account with the open API.
type ledger struct {
	bankv1cajun.UnimplementedAccount
	self     *cajun.Self
	state    *bankv1.AccountState
	notified chan<- string
}

func (l *ledger) Deposit(_ context.Context, req *bankv1.DepositRequest) (*bankv1.DepositResponse, error) {
	if req.GetAccount() != l.self.Key() {
		return nil, connect.Errorf(connect.CodeInternal, "the request's key is %q, the actor's %q", req.GetAccount(), l.self.Key())
	}
	l.state.Cents += req.GetCents()
	return &bankv1.DepositResponse{Cents: l.state.Cents}, nil
}

func (l *ledger) Notify(_ context.Context, req *bankv1.NotifyRequest) error {
	l.notified <- l.self.Key() + ": " + req.GetText()
	return nil
}

// counter is a Counter with the opaque API.
type counter struct{ state *opaquev1.CounterState }

func (c counter) Add(_ context.Context, req *opaquev1.AddRequest) (*opaquev1.AddResponse, error) {
	c.state.SetTotal(c.state.GetTotal() + req.GetNumber())
	return opaquev1.AddResponse_builder{Total: new(c.state.GetTotal())}.Build(), nil
}

func (c counter) Total(context.Context, *opaquev1.TotalRequest) (*opaquev1.TotalResponse, error) {
	return opaquev1.TotalResponse_builder{Total: new(c.state.GetTotal())}.Build(), nil
}

// pidful serves a method that is named as the field of every other Pid.
type pidful struct {
	namesv1cajun.UnimplementedLower
}

func (pidful) Pid(context.Context, *namesv1.T) (*namesv1.T, error) { return new(namesv1.T), nil }

// TestDriven calls the generated code from every node of a cluster, so that
// calls are local for some and remote for others.
func TestDriven(t *testing.T) {
	notified := make(chan string, 3)
	cluster := cajuntest.Start(t, 3,
		bankv1cajun.HostAccount(func(self *cajun.Self, state *bankv1.AccountState) (*ledger, error) {
			return &ledger{self: self, state: state, notified: notified}, nil
		}),
		opaquev1cajun.HostCounter(func(_ *cajun.Self, state *opaquev1.CounterState) (counter, error) {
			return counter{state}, nil
		}),
		namesv1cajun.HostLower(func(*cajun.Self) (pidful, error) { return pidful{}, nil }),
	)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i := range 3 {
		node, times := cluster.Node(i), int64(i+1)

		deposit, err := bankv1cajun.NewAccountPid(node, "alice").Deposit(ctx, &bankv1.DepositRequest{Cents: 5})
		if err != nil || deposit.GetCents() != 5*times {
			t.Fatalf("node %d: Deposit gave %v, %v; want %d cents", i, deposit, err, 5*times)
		}
		if err := bankv1cajun.NewAccountPid(node, "alice").Notify(ctx, &bankv1.NotifyRequest{Text: "hello"}); err != nil {
			t.Fatalf("node %d: Notify: %v", i, err)
		}
		select {
		case got := <-notified:
			if got != "alice: hello" {
				t.Fatalf("node %d: Notify delivered %q", i, got)
			}
		case <-ctx.Done():
			t.Fatalf("node %d: Notify was not delivered", i)
		}

		counter := opaquev1cajun.NewCounterPid(node, "7")
		if _, err := counter.Add(ctx, opaquev1.AddRequest_builder{Number: new(int64(2))}.Build()); err != nil {
			t.Fatalf("node %d: Add: %v", i, err)
		}
		total, err := counter.Total(ctx, new(opaquev1.TotalRequest))
		if err != nil || total.GetTotal() != 2*times {
			t.Fatalf("node %d: Total gave %v, %v; want %d", i, total, err, 2*times)
		}

		if _, err := namesv1cajun.NewLowerPid(node, "x").Pid(ctx, new(namesv1.T)); err != nil {
			t.Fatalf("node %d: Pid: %v", i, err)
		}
		_, err = namesv1cajun.NewLowerPid(node, "x").SnakeCase(ctx, new(namesv1.T))
		if got := connect.CodeOf(err); got != connect.CodeUnimplemented {
			t.Fatalf("node %d: an inherited method gave %v, want %v", i, err, connect.CodeUnimplemented)
		}
	}

	// A key that differs from the Pid's is refused before any handler.
	_, err := bankv1cajun.NewAccountPid(cluster.Node(0), "alice").Deposit(ctx, &bankv1.DepositRequest{Account: "bob", Cents: 1})
	if got := connect.CodeOf(err); got != connect.CodeInvalidArgument {
		t.Fatalf("another actor's key gave %v, want %v", err, connect.CodeInvalidArgument)
	}
	_, err = bankv1cajun.NewAccountPid(cluster.Node(0), "alice").Close(ctx, new(bankv1.CloseRequest))
	if got := connect.CodeOf(err); got != connect.CodeUnimplemented {
		t.Fatalf("an inherited method gave %v, want %v", err, connect.CodeUnimplemented)
	}
}
