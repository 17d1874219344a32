// Package foreign tests the gateway with clients that others have made: curl,
// grpcurl, buf, and Connect for JavaScript, under Node and in a browser. It has
// no code. Where a client is missing its tests are skipped, unless the variable
// CAJUN_FOREIGN is "require".
package foreign

import (
	"context"
	"iter"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/cajuntest"
	"github.com/cajun-go/cajun/gateway"
	deskv1 "github.com/cajun-go/cajun/gateway/internal/gen/desk/v1"
	"github.com/cajun-go/cajun/gateway/internal/gen/desk/v1/deskv1cajun"
	cajun "github.com/cajun-go/cajun/runtime"
)

// patience bounds one step of a test.
const patience = 20 * time.Second

// office is a cluster with desks and gateways.
type office struct {
	*cajuntest.Cluster
	// here and elsewhere are the base URLs of a gateway whose node hosts desks and
	// of one whose node does not.
	here, elsewhere string

	mu sync.Mutex
	// readers are the contexts of those that follow a desk, the latest of each, and
	// runs counts the runs of its other handlers.
	readers map[string]context.Context
	runs    map[string]int
}

// open starts an office: two nodes host desks, one of them has a gateway, and a
// third node has nothing but a gateway.
func open(t *testing.T, opts ...gateway.Option) *office {
	t.Helper()
	o := &office{Cluster: cajuntest.Start(t, 0), readers: map[string]context.Context{}, runs: map[string]int{}}
	here := o.Add(o.host(), gateway.With("127.0.0.1:0", opts...))
	o.Add(o.host())
	elsewhere := o.Add(gateway.With("127.0.0.1:0", opts...))
	o.here, o.elsewhere = o.base(t, here), o.base(t, elsewhere)
	return o
}

// base is the URL of a node's gateway.
func (o *office) base(t *testing.T, node int) string {
	t.Helper()
	n := o.Node(node)
	// The node's own view may be a moment behind.
	for ctx := bounded(t); ctx.Err() == nil; {
		for _, m := range n.Cluster().Members {
			if m.Session == n.ID() && m.Gateway != "" {
				return "http://" + m.Gateway
			}
		}
	}
	t.Fatalf("node %d tells no gateway", node)
	return ""
}

// doors runs a test at both gateways.
func (o *office) doors(t *testing.T, f func(t *testing.T, base string)) {
	t.Run("hosted here", func(t *testing.T) { f(t, o.here) })
	t.Run("hosted elsewhere", func(t *testing.T) { f(t, o.elsewhere) })
}

func (o *office) host() cajun.Option {
	return deskv1cajun.HostDesk(func(self *cajun.Self, s *deskv1.DeskState) (*desk, error) {
		return &desk{office: o, key: self.Key(), state: s}, nil
	})
}

// add adds to a desk from within the cluster.
func (o *office) add(t *testing.T, key string, amount int64) {
	t.Helper()
	if _, err := deskv1cajun.NewDeskPid(o.Client(), key).Add(bounded(t), &deskv1.AddRequest{Amount: amount}); err != nil {
		t.Fatal(err)
	}
}

func (o *office) ran(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.runs[key]++
}

func (o *office) runsOf(key string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.runs[key]
}

// reader is the context of the latest one to follow a desk; nil if there was none.
func (o *office) reader(key string) context.Context {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.readers[key]
}

// awaitLeft waits until the one who followed a desk is gone.
func (o *office) awaitLeft(t *testing.T, key string) {
	t.Helper()
	reader := o.reader(key)
	if reader == nil {
		t.Fatalf("nobody has followed %s", key)
	}
	select {
	case <-reader.Done():
	case <-bounded(t).Done():
		t.Fatal("the stream goes on without its reader")
	}
}

// desk is the actor.
type desk struct {
	office *office
	key    string
	state  *deskv1.DeskState
	counts cajun.Topic[*deskv1.AddResponse]
}

func (d *desk) Add(ctx context.Context, r *deskv1.AddRequest) (*deskv1.AddResponse, error) {
	d.office.ran(d.key)
	if r.GetAmount() < 0 {
		return nil, connect.Errorf(connect.CodeOutOfRange, "cannot add %d", r.GetAmount())
	}
	d.state.Sum += r.GetAmount()
	count := &deskv1.AddResponse{Desk: d.key, Sum: d.state.Sum}
	return count, d.counts.Publish(ctx, count)
}

// Try does what clients ask for: "refuse" answers with an error, "wait" with
// nothing until the caller has given up, and "left" when the one who followed the
// desk is gone.
func (d *desk) Try(ctx context.Context, r *deskv1.TryRequest) (*deskv1.TryResponse, error) {
	d.office.ran(d.key)
	switch r.GetScript() {
	case "refuse":
		return nil, connect.NewError(connect.CodeNotFound, "no such thing")
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "left":
		reader := d.office.reader(d.key)
		if reader == nil {
			return nil, connect.Errorf(connect.CodeFailedPrecondition, "nobody has followed %s", d.key)
		}
		select {
		case <-reader.Done():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	reply := &deskv1.TryResponse{Desk: d.key, Padding: r.GetPadding()}
	if deadline, ok := ctx.Deadline(); ok {
		reply.Left = time.Until(deadline).Milliseconds()
	}
	return reply, nil
}

func (d *desk) Look(ctx context.Context, r *deskv1.LookRequest) (*deskv1.AddResponse, error) {
	d.office.ran(d.key)
	return &deskv1.AddResponse{Desk: d.key, Sum: d.state.GetSum()}, nil
}

func (d *desk) Watch(ctx context.Context, r *deskv1.LookRequest) (iter.Seq2[*deskv1.AddResponse, error], error) {
	d.office.mu.Lock()
	d.office.readers[d.key] = ctx
	d.office.mu.Unlock()
	return d.counts.Subscribe(ctx, &deskv1.AddResponse{Desk: d.key, Sum: d.state.GetSum()}), nil
}

func (d *desk) Tell(ctx context.Context, r *deskv1.AddRequest) error {
	_, err := d.Add(ctx, r)
	return err
}

func (d *desk) TellOnce(ctx context.Context, r *deskv1.AddRequest) error { return d.Tell(ctx, r) }

// bounded is a context for one step of a test.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
