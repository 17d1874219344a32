package cajun_test

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/cajuntest"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link/memlink"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/memmeta"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/memstate"
)

// stores are what a node needs at least.
func stores(t testing.TB) cajun.Option {
	m, s := memmeta.New(), memstate.New()
	t.Cleanup(func() { m.Close(); s.Close() })
	return cajun.Options(cajun.WithMetadata(m), cajun.WithState(s), cajun.WithTransport(memlink.NewNetwork().Transport()),
		cajun.WithLogger(slog.New(slog.DiscardHandler)))
}

type wrongHook struct{ *echo }

func (wrongHook) OnActivate() error { return nil }

type pointerHook struct{ *echo }

func (*pointerHook) OnActivate(context.Context) error { return nil }

// hookOfTheService has a method of a hook's name because its service says so.
type hookOfTheService struct{}

func (hookOfTheService) OnActivate(context.Context, *probev1.EchoRequest) (*probev1.EchoReply, error) {
	return &probev1.EchoReply{Text: "called"}, nil
}

func TestServiceMayHaveMethodsOfTheHooksNames(t *testing.T) {
	t.Parallel()
	kind := &cajun.Kind{Name: "probe.v1.Hooked", Shards: 1}
	m := cajun.NewMethod[*probev1.EchoRequest, *probev1.EchoReply](kind, "OnActivate", cajun.MethodOptions{})
	n, err := cajun.Start(testContext(t), stores(t), cajun.Host(kind, func(*cajun.Self) (hookOfTheService, error) { return hookOfTheService{}, nil },
		cajun.Handle(m, hookOfTheService.OnActivate)))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if r, err := m.Call(testContext(t), cajun.NewPid(n, kind, "a"), new(probev1.EchoRequest)); err != nil || r.GetText() != "called" {
		t.Errorf("got %v, %v", r, err)
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	s := newStage()
	host := cajun.Option(probev1cajun.HostEcho(func(self *cajun.Self) (*echo, error) { return &echo{stage: s, self: self}, nil }))
	counters := cajun.Option(probev1cajun.HostCounter(func(self *cajun.Self, st *probev1.CounterState) (*counter, error) {
		return &counter{stage: s, self: self, state: st}, nil
	}))
	bare := cajun.Options(cajun.WithMetadata(memmeta.New()), cajun.WithTransport(memlink.NewNetwork().Transport()))
	kind := &cajun.Kind{Name: "probe.v1.Sure", Delivery: guarantee.ExactlyOnce}
	once := cajun.Host(kind, func(*cajun.Self) (*echo, error) { return nil, nil },
		cajun.Handle(cajun.NewMethod[*probev1.EchoRequest, *probev1.EchoReply](kind, "Echo", cajun.MethodOptions{}), (*echo).Echo))
	for name, c := range map[string]struct {
		opts []cajun.Option
		says string
	}{
		"nothing":              {nil, "no metadata store"},
		"nil metadata":         {[]cajun.Option{stores(t), cajun.WithMetadata(nil)}, "no metadata store"},
		"no level":             {[]cajun.Option{stores(t), cajun.WithDelivery(77)}, "WithDelivery"},
		"zero timeout":         {[]cajun.Option{stores(t), cajun.WithCallTimeout(0)}, "WithCallTimeout"},
		"negative timeout":     {[]cajun.Option{stores(t), cajun.WithCallTimeout(-time.Second)}, "give a positive time"},
		"short lease":          {[]cajun.Option{stores(t), cajun.WithLeaseTTL(time.Millisecond)}, "WithLeaseTTL"},
		"no weight":            {[]cajun.Option{stores(t), cajun.WithWeight(0)}, "WithWeight"},
		"no number":            {[]cajun.Option{stores(t), cajun.WithWeight(math.NaN())}, "WithWeight"},
		"all the weight":       {[]cajun.Option{stores(t), cajun.WithWeight(math.Inf(1))}, "WithWeight"},
		"empty cluster":        {[]cajun.Option{stores(t), cajun.WithCluster("")}, "cluster"},
		"odd cluster":          {[]cajun.Option{stores(t), cajun.WithCluster("a/b")}, "cluster"},
		"nil inbound":          {[]cajun.Option{stores(t), cajun.WithInbound(nil)}, "WithInbound"},
		"nil outbound":         {[]cajun.Option{stores(t), cajun.WithOutbound(nil)}, "WithOutbound"},
		"nil service":          {[]cajun.Option{stores(t), cajun.WithService(nil)}, "WithService"},
		"service fails":        {[]cajun.Option{stores(t), cajun.WithService(func(*cajun.Node) (cajun.Service, error) { return nil, errRehearsed })}, errRehearsed.Error()},
		"hosted twice":         {[]cajun.Option{stores(t), host, host}, "hosted twice"},
		"client hosts":         {[]cajun.Option{stores(t), cajun.WithClientOnly(), host}, "drop one"},
		"state, but no store":  {[]cajun.Option{bare, counters}, "add cajunetcd.With"},
		"once, but no store":   {[]cajun.Option{bare, host}, "probe.v1.Echo/EchoOnce is EXACTLY_ONCE"},
		"once, by its service": {[]cajun.Option{bare, once}, "probe.v1.Sure/Echo is EXACTLY_ONCE"},
		"no function": {[]cajun.Option{stores(t), probev1cajun.HostEcho[*echo](nil)},
			"without a function"},
		"hook of another type": {[]cajun.Option{stores(t), probev1cajun.HostEcho(func(*cajun.Self) (wrongHook, error) { return wrongHook{}, nil })},
			"must be func(context.Context) error"},
		"hook of the pointer": {[]cajun.Option{stores(t), probev1cajun.HostEcho(func(*cajun.Self) (pointerHook, error) { return pointerHook{}, nil })},
			"will not be called"},
		"stores fail": {[]cajun.Option{stores(t), cajun.WithStores(func(context.Context, string) (metadata.Store, state.Store, func() error, error) {
			return nil, nil, nil, errRehearsed
		})}, errRehearsed.Error()},
		"stores without metadata": {[]cajun.Option{stores(t), cajun.WithStores(func(context.Context, string) (metadata.Store, state.Store, func() error, error) {
			return nil, nil, nil, nil
		})}, "no metadata store"},
		"stores without state": {[]cajun.Option{stores(t), counters, cajun.WithStores(func(context.Context, string) (metadata.Store, state.Store, func() error, error) {
			return memmeta.New(), nil, nil, nil
		})}, "add cajunetcd.With"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, err := cajun.Start(testContext(t), c.opts...)
			if err == nil {
				n.Close()
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v does not say %q", err, c.says)
			}
		})
	}
}

// TestSeveralMistakes expects to hear of all at once.
func TestSeveralMistakes(t *testing.T) {
	t.Parallel()
	_, err := cajun.Start(t.Context(), cajun.WithWeight(-1), cajun.WithCallTimeout(-1), nil, cajun.Options(nil, cajun.WithLeaseTTL(-1)))
	for _, what := range []string{"WithWeight", "WithCallTimeout", "WithLeaseTTL", "no metadata store"} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v does not mention %s", err, what)
		}
	}
}

func TestOptionsAreNilSafe(t *testing.T) {
	t.Parallel()
	n, err := cajun.Start(testContext(t), nil, cajun.Options(), cajun.Options(nil, nil), stores(t), cajun.WithLogger(nil), cajun.WithName(""), cajun.WithStores(nil))
	if err != nil {
		t.Fatal(err)
	}
	if n.Name() == "" || n.ID() == "" || n.Ready() != nil || n.Err() != nil {
		t.Errorf("name %q, ID %q, ready %v, err %v", n.Name(), n.ID(), n.Ready(), n.Err())
	}
	for range 2 {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	if !errors.Is(n.Ready(), cajun.ErrClosed) || n.Err() != nil {
		t.Errorf("ready %v, err %v after Close", n.Ready(), n.Err())
	}
	<-n.Done()
}

// service notes what becomes of it.
type service struct{ closed chan struct{} }

func (s service) Close() error { close(s.closed); return errRehearsed }

func TestServices(t *testing.T) {
	t.Parallel()
	s := newStage()
	running := service{make(chan struct{})}
	n, err := cajun.Start(testContext(t), stores(t), s.options(), cajun.WithService(func(n *cajun.Node) (cajun.Service, error) {
		_, err := probev1cajun.NewEchoPid(n, "a").Echo(testContext(t), &probev1.EchoRequest{})
		return running, err
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := async(func() (struct{}, error) { return struct{}{}, n.Run(ctx, time.Minute) })
	cancel()
	if r := receive(t, "Run", done); r.err != nil {
		t.Error(r.err)
	}
	<-running.closed
}

// TestClientOnly calls through a node that hosts nothing.
func TestClientOnly(t *testing.T) {
	t.Parallel()
	s := newStage()
	m, network := memmeta.New(), memlink.NewNetwork()
	t.Cleanup(func() { m.Close() })
	shared := cajun.Options(cajun.WithMetadata(m), cajun.WithTransport(network.Transport()))
	var nodes [2]*cajun.Node
	for i, more := range []cajun.Option{cajun.Options(s.options(), cajun.WithState(memstate.New())), cajun.WithClientOnly()} {
		n, err := cajun.Start(testContext(t), shared, more)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		nodes[i] = n
	}
	client := nodes[1]
	for i := range 20 {
		if _, err := probev1cajun.NewCounterPid(client, string(rune('a'+i))).AddOnce(testContext(t), &probev1.AddRequest{Amount: 1}); err != nil {
			t.Fatal(err)
		}
	}
	for _, shard := range client.Cluster().Shards {
		if shard.Owner == client.ID() {
			t.Errorf("the client owns %v", shard)
		}
	}
	if l := client.Cluster().Leader; l == client.ID() {
		t.Error("the client leads")
	}
}

// TestOnceNeedsAStore raises a call's level on a node without a state store.
func TestOnceNeedsAStore(t *testing.T) {
	t.Parallel()
	kind := &cajun.Kind{Name: "probe.v1.Plain", Shards: 1}
	m := cajun.NewMethod[*probev1.EchoRequest, *probev1.EchoReply](kind, "Echo", cajun.MethodOptions{})
	nodes := cajuntest.Start(t, 1, cajun.WithState(nil), cajun.Host(kind, func(*cajun.Self) (*struct{}, error) { return new(struct{}), nil },
		cajun.Handle(m, func(*struct{}, context.Context, *probev1.EchoRequest) (*probev1.EchoReply, error) {
			return &probev1.EchoReply{}, nil
		})))
	pid := cajun.NewPid(nodes.Node(0), kind, "a")
	if _, err := m.Call(testContext(t), pid, &probev1.EchoRequest{}); err != nil {
		t.Fatal(err)
	}
	_, err := m.Call(cajun.Idempotent(testContext(t), "k"), pid, &probev1.EchoRequest{})
	wantRefusal(t, err, connect.CodeFailedPrecondition, "state store", "WithState")
}
