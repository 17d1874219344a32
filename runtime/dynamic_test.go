package cajun_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cajun-go/cajun/cajuntest"
	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link/memlink"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/memmeta"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
	"github.com/cajun-go/cajun/state/memstate"
)

// doors runs a test with calls by descriptor through a node that hosts the kinds
// and through one that does not.
func (w *world) doors(t *testing.T, f func(t *testing.T, from *cajun.Node)) {
	t.Run("hosted here", func(t *testing.T) { f(t, w.Node(0)) })
	t.Run("hosted elsewhere", func(t *testing.T) { f(t, w.Client()) })
}

func dynamic(t *testing.T, from *cajun.Node, kind, method string) *cajun.DynamicMethod {
	t.Helper()
	k, err := from.Kind(testContext(t), kind)
	if err != nil {
		t.Fatal(err)
	}
	m, ok := k.Method(method)
	if !ok {
		t.Fatalf("%s has no method %s", kind, method)
	}
	return m
}

// request makes a request of either sort from a generated one.
func request(t *testing.T, m *cajun.DynamicMethod, binary bool, of proto.Message) proto.Message {
	t.Helper()
	b, err := proto.Marshal(of)
	if err != nil {
		t.Fatal(err)
	}
	req := m.NewRequest(binary)
	if err := proto.Unmarshal(b, req); err != nil {
		t.Fatal(err)
	}
	return req
}

// read reads a reply of either sort into a generated one.
func read[M proto.Message](t *testing.T, reply proto.Message, into M) M {
	t.Helper()
	b, err := proto.Marshal(reply)
	if err == nil {
		err = proto.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
	return into
}

func TestCallByDescriptor(t *testing.T) {
	w := newWorld(t, 2)
	w.doors(t, func(t *testing.T, from *cajun.Node) {
		for _, binary := range []bool{true, false} {
			m := dynamic(t, from, probev1cajun.EchoKind, "Echo")
			reply, err := m.Call(testContext(t), from, "a", request(t, m, binary, &probev1.EchoRequest{Text: "hello", Payload: []byte{1}}))
			if err != nil {
				t.Fatal(err)
			}
			if got := read(t, reply.Message, new(probev1.EchoReply)); got.GetText() != "hello" || len(got.GetPayload()) != 1 || reply.Replayed {
				t.Errorf("binary %v: got %v, replayed %v", binary, got, reply.Replayed)
			}
		}
		m := dynamic(t, from, probev1cajun.CounterKind, "NoteSure")
		if !m.OneWay() || m.Level(from) != guarantee.AtLeastOnce {
			t.Errorf("NoteSure is one-way %v, level %v", m.OneWay(), m.Level(from))
		}
		reply, err := m.Call(testContext(t), from, "noted"+from.Name(), request(t, m, true, &probev1.AddRequest{Amount: 2}))
		if _, empty := reply.Message.(*emptypb.Empty); err != nil || !empty {
			t.Errorf("got %v, %v", reply.Message, err)
		}
		eventually(t, "the message is handled", func() bool { return w.runsOf("noted"+from.Name()) == 1 })
	})
}

// What is not hosted here is decoded without its types, unless somebody looks at
// the messages or their JSON is wanted.
func TestForeignBinaryRequestsAreNotTakenApart(t *testing.T) {
	w := newWorld(t, 1)
	m := dynamic(t, w.Client(), probev1cajun.EchoKind, "Echo")
	if _, empty := m.NewRequest(true).(*emptypb.Empty); !empty {
		t.Errorf("a binary request is decoded into a %T", m.NewRequest(true))
	}
	req := m.NewRequest(false)
	if err := protojson.Unmarshal([]byte(`{"text":"json"}`), req); err != nil {
		t.Fatal(err)
	}
	reply, err := m.Call(testContext(t), w.Client(), "a", req)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := protojson.Marshal(reply.Message); err != nil || !strings.Contains(string(text), `"text":`) {
		t.Errorf("got %s, %v", text, err)
	}
}

func TestKeyFieldByDescriptor(t *testing.T) {
	w := newWorld(t, 1)
	w.doors(t, func(t *testing.T, from *cajun.Node) {
		for method, c := range map[string]struct {
			key        string
			same, none proto.Message
			other      proto.Message
		}{
			"EchoKey":    {"a b/ü", &probev1.KeyRequest{Actor: "a b/ü"}, &probev1.KeyRequest{}, &probev1.KeyRequest{Actor: "b"}},
			"EchoNumber": {"4294967295", &probev1.NumberRequest{Actor: 4294967295}, &probev1.NumberRequest{}, &probev1.NumberRequest{Actor: 7}},
			"EchoColor":  {"2", &probev1.ColorRequest{Actor: probev1.Color_COLOR_BLUE}, &probev1.ColorRequest{}, &probev1.ColorRequest{Actor: probev1.Color_COLOR_RED}},
		} {
			for _, binary := range []bool{true, false} {
				m := dynamic(t, from, probev1cajun.EchoKind, method)
				if key, ok := m.Key(request(t, m, binary, c.same)); key != c.key || !ok {
					t.Errorf("%s: the request holds %q, %v", method, key, ok)
				}
				if key, ok := m.Key(request(t, m, binary, c.none)); ok {
					t.Errorf("%s: an empty request holds %q", method, key)
				}
				for _, fits := range []proto.Message{c.same, c.none} {
					reply, err := m.Call(testContext(t), from, c.key, request(t, m, binary, fits))
					if err != nil {
						t.Fatalf("%s: %v", method, err)
					}
					if read(t, reply.Message, new(probev1.EchoReply)).GetText() == "" {
						t.Errorf("%s: the handler saw no key", method)
					}
				}
				_, err := m.Call(testContext(t), from, c.key, request(t, m, binary, c.other))
				wantOutcome(t, err, guarantee.NotExecuted, "names", "Pid")
			}
		}
		m := dynamic(t, from, probev1cajun.EchoKind, "EchoNumber")
		_, err := m.Call(testContext(t), from, "07", m.NewRequest(true))
		wantOutcome(t, err, guarantee.NotExecuted, "write it as 7")
	})
}

// The descriptor must say the same as the generated code.
func TestDescriptorSaysWhatGeneratedCodeSays(t *testing.T) {
	w := newWorld(t, 1)
	for _, kind := range []string{probev1cajun.CounterKind, probev1cajun.EchoKind} {
		here, err := w.Node(0).Kind(testContext(t), kind)
		if err != nil {
			t.Fatal(err)
		}
		there, err := w.Client().Kind(testContext(t), kind)
		if err != nil {
			t.Fatal(err)
		}
		methods := here.Descriptor().Methods()
		for i := range methods.Len() {
			name := string(methods.Get(i).Name())
			a, ok := here.Method(name)
			b, too := there.Method(name)
			if !ok || !too {
				t.Fatalf("%s/%s: hosted %v, read %v", kind, name, ok, too)
			}
			if x, y := cajun.Declared(a), cajun.Declared(b); x != y {
				t.Errorf("%s/%s: generated code says %s, the descriptor %s", kind, name, x, y)
			}
		}
	}
}

func TestKindsAreKnownAsLongAsANodeHostsThem(t *testing.T) {
	w := newWorld(t, 1)
	client := w.Client()
	first, err := client.Kind(testContext(t), probev1cajun.EchoKind)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := client.Kind(testContext(t), probev1cajun.EchoKind); again != first {
		t.Error("the kind was read again although nothing has changed")
	}
	w.Add()
	eventually(t, "the schema of the newest node is read", func() bool {
		newer, err := client.Kind(testContext(t), probev1cajun.EchoKind)
		if err != nil {
			t.Fatalf("while it is read the kind is not known: %v", err)
		}
		return newer != first
	})
	_, err = client.Kind(testContext(t), "no.such.Kind")
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("an unknown kind: %v", err)
	}
	w.Node(0).Close()
	w.Node(1).Close()
	eventually(t, "the kind has no host", func() bool {
		_, err := client.Kind(testContext(t), probev1cajun.EchoKind)
		return connect.CodeOf(err) == connect.CodeUnavailable
	})
	if names := client.KindNames(); len(names) != 0 {
		t.Errorf("kinds without hosts: %v", names)
	}
}

func TestReplayIsTold(t *testing.T) {
	w := newWorld(t, 2)
	w.doors(t, func(t *testing.T, from *cajun.Node) {
		m := dynamic(t, from, probev1cajun.CounterKind, "AddOnce")
		call := func(amount int64, script string) (cajun.Reply, error) {
			return m.Call(cajun.Idempotent(testContext(t), "once"), from, "r"+from.Name(), request(t, m, true, &probev1.AddRequest{Amount: amount, Script: script}))
		}
		first, err := call(3, "")
		if err != nil || first.Replayed {
			t.Fatalf("the first call: replayed %v, %v", first.Replayed, err)
		}
		second, err := call(3, "")
		if err != nil || !second.Replayed || !proto.Equal(second.Message, first.Message) {
			t.Errorf("the second call: replayed %v, %v", second.Replayed, err)
		}
		other, err := call(4, "")
		wantOutcome(t, err, guarantee.NotExecuted, "other arguments")
		if other.Replayed {
			t.Error("a refusal was told to be a replay")
		}
	})
	w.on("refuse", func(context.Context, *cajun.Self) error { return errRehearsed })
	m := dynamic(t, w.Client(), probev1cajun.CounterKind, "AddOnce")
	for attempt := range 2 {
		reply, err := m.Call(cajun.Idempotent(testContext(t), "no"), w.Client(), "no", request(t, m, true, &probev1.AddRequest{Script: "refuse"}))
		wantOutcome(t, err, guarantee.Answered)
		if reply.Replayed != (attempt > 0) {
			t.Errorf("attempt %d: replayed %v", attempt, reply.Replayed)
		}
	}
}

// A call that comes while one with its key runs gets the answer of that one.
func TestCallBesideItsLikeIsAReplay(t *testing.T) {
	w := newWorld(t, 1)
	gate := w.hold("wait")
	m := dynamic(t, w.Client(), probev1cajun.CounterKind, "AddOnce")
	replies := make(chan cajun.Reply, 2)
	call := func() {
		reply, err := m.Call(cajun.Idempotent(testContext(t), "k"), w.Client(), "a", request(t, m, true, &probev1.AddRequest{Amount: 1, Script: "wait"}))
		if err != nil {
			t.Error(err)
		}
		replies <- reply
	}
	go call()
	<-gate.entered
	go call()
	gate.release()
	a, b := <-replies, <-replies
	if a.Replayed == b.Replayed {
		t.Errorf("replayed: %v and %v", a.Replayed, b.Replayed)
	}
	if w.runsOf("a") != 1 {
		t.Errorf("the handler ran %d times", w.runsOf("a"))
	}
}

// An outbound interceptor gets to see messages, and not their encoding.
func TestInterceptorsSeeForeignMessages(t *testing.T) {
	saw := make(chan string, 1)
	c := cajuntest.Start(t, 0)
	i := c.Add(cajun.WithOutbound(func(next cajun.Invoker) cajun.Invoker {
		return func(ctx context.Context, call cajun.Call, req proto.Message) (proto.Message, error) {
			saw <- string(req.ProtoReflect().Descriptor().FullName())
			return next(ctx, call, req)
		}
	}))
	c.Add(newStage().options())
	m := dynamic(t, c.Node(i), probev1cajun.EchoKind, "Echo")
	if _, err := m.Call(testContext(t), c.Node(i), "a", m.NewRequest(true)); err != nil {
		t.Fatal(err)
	}
	if got := <-saw; got != "probe.v1.EchoRequest" {
		t.Errorf("the interceptor saw a %s", got)
	}
}

// schemaless is a store in which no schemas can be read, or in which reading them
// takes for ever.
type schemaless struct {
	metadata.Store
	on, hangs atomic.Bool
}

func (b *schemaless) Get(ctx context.Context, key string) (metadata.Entry, bool, error) {
	if b.on.Load() && strings.Contains(key, "/schemas/") {
		return metadata.Entry{}, false, errRehearsed
	}
	if b.hangs.Load() && strings.Contains(key, "/schemas/") {
		<-ctx.Done()
		return metadata.Entry{}, false, ctx.Err()
	}
	return b.Store.Get(ctx, key)
}

// Calls go on when the store cannot be read just when members come and go.
func TestKindsStayKnownWhileTheStoreIsAway(t *testing.T) {
	store, network, hosts := memmeta.New(), memlink.NewNetwork(), newStage().options()
	defer store.Close()
	start := func(s metadata.Store, opts ...cajun.Option) *cajun.Node {
		n, err := cajun.Start(testContext(t), append(opts, cajun.WithMetadata(s), cajun.WithState(memstate.New()), cajun.WithTransport(network.Transport()), cajun.WithLogger(slog.New(slog.DiscardHandler)))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		return n
	}
	first := start(store, hosts)
	eyes := &schemaless{Store: store}
	client := start(eyes, cajun.WithClientOnly())
	known, err := client.Kind(testContext(t), probev1cajun.EchoKind)
	if err != nil {
		t.Fatal(err)
	}
	eyes.on.Store(true)
	start(store, hosts)
	first.Close()
	eventually(t, "only the second node is there", func() bool {
		live := client.Cluster().Members
		return len(live) == 2 && live[0].Session != first.ID() && live[1].Session != first.ID()
	})
	for range 3 {
		if kind, err := client.Kind(testContext(t), probev1cajun.EchoKind); kind != known {
			t.Fatalf("the kind is forgotten: %v", err)
		}
	}
	eyes.on.Store(false)
	eventually(t, "the second node's schema is read", func() bool {
		kind, err := client.Kind(testContext(t), probev1cajun.EchoKind)
		return err == nil && kind != known
	})
}

// A call of a kind that is not known yet does not wait for the store once for each
// node that hosts the kind.
func TestStoreThatHangsHoldsTheFirstCallOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		store, network, hosts := memmeta.New(), memlink.NewNetwork(), newStage().options()
		defer store.Close()
		start := func(s metadata.Store, opts ...cajun.Option) *cajun.Node {
			n, err := cajun.Start(t.Context(), append(opts, cajun.WithMetadata(s), cajun.WithState(memstate.New()), cajun.WithTransport(network.Transport()), cajun.WithLogger(slog.New(slog.DiscardHandler)))...)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		for range 4 {
			defer start(store, hosts).Close()
		}
		eyes := &schemaless{Store: store}
		eyes.hangs.Store(true)
		client := start(eyes, cajun.WithClientOnly())
		defer client.Close()
		began := time.Now()
		if _, err := client.Kind(t.Context(), probev1cajun.EchoKind); connect.CodeOf(err) != connect.CodeUnavailable {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("it took %v", took)
		}
		eyes.hangs.Store(false)
		time.Sleep(2 * time.Second)
		if _, err := client.Kind(t.Context(), probev1cajun.EchoKind); err != nil {
			t.Error(err)
		}
	})
}

// withSchema gives a generation a schema that is all its own.
func (g *generation) withSchema(t *testing.T) *generation {
	t.Helper()
	options := new(descriptorpb.ServiceOptions)
	proto.SetExtension(options, cajunv1.E_Actor, new(cajunv1.Actor))
	name := protoreflect.FullName(g.kind.Name)
	service := &descriptorpb.ServiceDescriptorProto{Name: proto.String(string(name.Name())), Options: options}
	for _, method := range append([]string{"Say"}, g.names...) {
		service.Method = append(service.Method, &descriptorpb.MethodDescriptorProto{Name: proto.String(method), InputType: proto.String(".probe.v1.EchoRequest"), OutputType: proto.String(".probe.v1.EchoReply")})
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("generation.proto"), Package: proto.String(string(name.Parent())), Syntax: proto.String("proto3"),
		Dependency: []string{probev1.File_probe_v1_probe_proto.Path(), cajunv1.File_cajun_v1_options_proto.Path()},
		Service:    []*descriptorpb.ServiceDescriptorProto{service},
	}, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	g.kind.Schema = &file
	return g
}

// A node of an older generation that starts during an upgrade, or while it is
// undone, takes no method away that another node has.
func TestOlderNodesTakeNoMethodsAway(t *testing.T) {
	older, newer := newGeneration("generation.v1.Grown", nil).withSchema(t), newGeneration("generation.v1.Grown", nil, "More").withSchema(t)
	c := cajuntest.Start(t, 0)
	client := c.Node(c.Add(cajun.WithClientOnly()))
	knows := func() bool {
		kind, err := client.Kind(testContext(t), "generation.v1.Grown")
		if err != nil {
			t.Fatal(err)
		}
		_, ok := kind.Method("More")
		return ok
	}
	c.Add(older.host())
	if knows() {
		t.Error("a method is there that nobody has")
	}
	upgraded := c.Add(newer.host())
	eventually(t, "the new method is known", knows)
	c.Add(older.host())
	for range 100 { // what was known before is told until the look-up has ended
		if !knows() {
			t.Fatal("the method is gone although a node has it")
		}
		time.Sleep(time.Millisecond)
	}
	c.Node(upgraded).Close()
	eventually(t, "the method is gone with its node", func() bool { return !knows() })
}
