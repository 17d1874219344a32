//go:build unix

package crashtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/cajunetcd"
	"github.com/cajun-go/cajun/crashtest/internal/process"
	greeterv1 "github.com/cajun-go/cajun/examples/gen/greeter/v1"
	"github.com/cajun-go/cajun/metadata/embedetcd"
	cajun "github.com/cajun-go/cajun/runtime"
)

// TestStartUp measures how long it takes from nothing at all, not even an
// etcd, to the first reply of an actor with durable state, with ten kinds.
func TestStartUp(t *testing.T) {
	const kinds = 10
	var options []cajun.Option
	var methods []*cajun.Method[*greeterv1.GreetRequest, *greeterv1.GreetResponse]
	var declared []*cajun.Kind
	for i := range kinds {
		kind := &cajun.Kind{Name: fmt.Sprintf("crashtest.v1.Kind%d", i)}
		method := cajun.NewMethod[*greeterv1.GreetRequest, *greeterv1.GreetResponse](kind, "Greet", cajun.MethodOptions{})
		spawn := func(_ *cajun.Self, s *greeterv1.GreeterState) (*counter, error) { return &counter{s}, nil }
		options = append(options, cajun.HostWithState(kind, spawn, cajun.Handle(method, (*counter).greet)))
		declared, methods = append(declared, kind), append(methods, method)
	}
	began := time.Now()
	server, err := embedetcd.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	etcd := time.Since(began)
	node, err := cajun.Start(t.Context(), append(options, cajunetcd.With(clientv3.Config{Endpoints: server.Config().Endpoints}))...)
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	up := time.Since(began)
	if _, err := methods[0].Call(t.Context(), cajun.NewPid(node, declared[0], "first"), &greeterv1.GreetRequest{}); err != nil {
		t.Fatal(err)
	}
	first := time.Since(began)
	for i := range kinds {
		if _, err := methods[i].Call(t.Context(), cajun.NewPid(node, declared[i], "first"), &greeterv1.GreetRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	all := time.Since(began)
	t.Logf("from nothing: etcd after %v, the node after %v, the first reply after %v, one of each kind after %v", etcd, up, first, all)
	if limit := process.Limit(2 * time.Second); first > limit {
		t.Errorf("the first reply came after %v, want less than a second; even this busy machine gets %v", first, limit)
	}
}

// counter counts.
type counter struct{ state *greeterv1.GreeterState }

func (c *counter) greet(context.Context, *greeterv1.GreetRequest) (*greeterv1.GreetResponse, error) {
	c.state.AtMostOnce++
	return &greeterv1.GreetResponse{Greetings: c.state.AtMostOnce}, nil
}
