package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/grpcreflect/v2"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/cajun-go/cajun/gateway"
	deskv1 "github.com/cajun-go/cajun/gateway/internal/gen/desk/v1"
	"github.com/cajun-go/cajun/gateway/internal/gen/desk/v1/deskv1cajun"
	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
)

func TestReflection(t *testing.T) {
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		stream := grpcreflect.NewClient(clientFor(t, base, connecthttp.WithGRPC())).NewStream(testContext(t))
		defer stream.Close()
		names, err := stream.ListServices()
		if err != nil || len(names) != 2 || names[0] != deskv1cajun.DeskKind || names[1] != "grpc.health.v1.Health" {
			t.Errorf("got %v, %v", names, err)
		}
		files, err := stream.FileContainingSymbol(deskv1cajun.DeskKind)
		if err != nil || len(files) == 0 || files[0].GetName() != "desk/v1/desk.proto" {
			t.Fatalf("got %d files, %v", len(files), err)
		}
		if files, err := stream.FileByFilename("cajun/v1/options.proto"); err != nil || len(files) == 0 {
			t.Errorf("an imported file: %v", err)
		}
		if files, err := stream.FileContainingSymbol("grpc.health.v1.Health"); err != nil || len(files) == 0 {
			t.Errorf("health: %v", err)
		}
		if numbers, err := stream.AllExtensionNumbers("google.protobuf.ServiceOptions"); err != nil || len(numbers) != 1 || numbers[0] != 57301 {
			t.Errorf("extensions: %v, %v", numbers, err)
		}
		if files, err := stream.FileContainingExtension("google.protobuf.ServiceOptions", 57301); err != nil || len(files) == 0 {
			t.Errorf("an extension: %v", err)
		}
		// What the program has linked besides is nobody's business.
		for _, name := range []protoreflect.FullName{"cajun.link.v1.LinkService", "cajun.link.v1.Frame", "cajun.state.v1.Member"} {
			if _, err := stream.FileContainingSymbol(name); err == nil {
				t.Errorf("%s is told", name)
			}
		}
	})
	hidden := open(t, gateway.WithoutReflection())
	hidden.doors(t, func(t *testing.T, base string) {
		stream := grpcreflect.NewClient(clientFor(t, base, connecthttp.WithGRPC())).NewStream(testContext(t))
		if _, err := stream.ListServices(); err == nil {
			t.Error("reflection is served although it is switched off")
		}
	})
}

func TestHealth(t *testing.T) {
	o := open(t)
	check := func(base, service string) answer {
		return o.curl(base, "/grpc.health.v1.Health/Check", `{"service":"`+service+`"}`)
	}
	o.doors(t, func(t *testing.T, base string) {
		for _, service := range []string{"", "desk.v1.Desk", "desk.v0.Desk", "grpc.health.v1.Health"} {
			if a := check(base, service); a.field("status") != "SERVING" {
				t.Errorf("%q: %s %s", service, a.Status, a.body)
			}
		}
		// Tools ask under the base URL, and with the headers, of the call that follows.
		if a := o.curl(base, "/actors/a/grpc.health.v1.Health/Check", `{}`, "Cajun-Key", "a"); a.field("status") != "SERVING" {
			t.Errorf("with a key: %s %s", a.Status, a.body)
		}
		check(base, "no.such.Service").want(t, 404, "not_found")
		check(base, "cajun.link.v1.LinkService").want(t, 404, "not_found")
	})
	o.Node(0).Close()
	o.Node(1).Close()
	for ctx := testContext(t); check(o.elsewhere, "desk.v1.Desk").field("status") != "NOT_SERVING"; {
		if ctx.Err() != nil {
			t.Fatal("a service without hosts is healthy")
		}
	}
	if a := check(o.elsewhere, ""); a.field("status") != "SERVING" {
		t.Errorf("the node itself: %s %s", a.Status, a.body)
	}
	o.curl(o.elsewhere, "/actors/a/desk.v1.Desk/Add", `{}`).want(t, 503, "unavailable", "no node hosts")
}

// TestHealthIsWatched: each change is told, once.
func TestHealthIsWatched(t *testing.T) {
	o := open(t)
	file, err := gateway.HealthFile()
	if err != nil {
		t.Fatal(err)
	}
	method := file.Services().ByName("Health").Methods().ByName("Watch")
	watch := func(service string) func() string {
		req := dynamicpb.NewMessage(method.Input())
		req.Set(method.Input().Fields().ByName("service"), protoreflect.ValueOf(service))
		spec := connect.Spec{Schema: method, Procedure: "/grpc.health.v1.Health/Watch", StreamType: connect.StreamTypeServer}
		stream, err := clientFor(t, o.elsewhere, connecthttp.WithGRPC()).CallServerStream(testContext(t), spec, req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stream.Close() })
		return func() string {
			got := dynamicpb.NewMessage(method.Output())
			if err := stream.Receive(got); err != nil {
				return connect.CodeOf(err).String()
			}
			status := method.Output().Fields().ByName("status")
			return string(status.Enum().Values().ByNumber(got.Get(status).Enum()).Name())
		}
	}
	desk, node, unknown := watch("desk.v1.Desk"), watch(""), watch("no.such.Service")
	for want, next := range map[string]func() string{"SERVING": desk, "SERVICE_UNKNOWN": unknown} {
		if got := next(); got != want {
			t.Errorf("got %s instead of %s", got, want)
		}
	}
	if got := node(); got != "SERVING" {
		t.Errorf("the node is %s", got)
	}
	o.Node(0).Close()
	o.Node(1).Close()
	if got := desk(); got != "NOT_SERVING" {
		t.Errorf("a service without hosts is %s", got)
	}
	closed := make(chan struct{})
	go func() { o.Node(2).Close(); close(closed) }()
	for _, next := range []func() string{desk, node, unknown} {
		got := next()
		if got == "NOT_SERVING" { // the node was so before its gateway
			got = next()
		}
		if got != "unavailable" {
			t.Errorf("the gateway closes, and who watches got %s", got)
		}
	}
	<-closed
}

func TestCORS(t *testing.T) {
	o := open(t, gateway.WithCORS("https://app.example.com"), gateway.WithCORSHeaders("X-Mine"))
	preflight := func(base, origin, headers string) http.Header {
		req, err := http.NewRequestWithContext(testContext(t), http.MethodOptions, base+"/actors/a/desk.v1.Desk/Add", nil)
		if err != nil {
			t.Fatal(err)
		}
		return o.do(req, "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", headers).Header
	}
	const allow = "Access-Control-Allow-Origin"
	h := preflight(o.here, "https://app.example.com", "authorization,cajun-key,connect-protocol-version,content-type,idempotency-key,x-mine")
	if h.Get(allow) != "https://app.example.com" || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "cajun-key") || h.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("got %v", h)
	}
	if h := preflight(o.here, "https://evil.example.com", "content-type"); h.Get(allow) != "" {
		t.Errorf("another origin: %v", h)
	}
	a := o.curl(o.here, "/actors/a/desk.v1.Desk/Add", `{}`, "Origin", "https://app.example.com")
	if a.Header.Get(allow) == "" || !strings.Contains(a.Header.Get("Access-Control-Expose-Headers"), "Idempotency-Replayed") {
		t.Errorf("got %v", a.Header)
	}
	off := open(t)
	if h := preflight(off.here, "https://app.example.com", "content-type"); h.Get(allow) != "" {
		t.Errorf("CORS is on: %v", h)
	}
}

// What a call tells of the inside of the cluster stays there.
func TestErrorsKeepTheInsideInside(t *testing.T) {
	o := open(t)
	o.on("fail", func(context.Context) error { return errors.New("the password is hunter2") })
	o.on("panic", func(context.Context) error { panic("the password is hunter2") })
	o.on("say", func(context.Context) error { return connect.NewError(connect.CodeUnavailable, "closed on Sundays") })
	o.on("nested", func(ctx context.Context) error {
		_, err := deskv1cajun.NewDeskPid(o.Node(0), "").Look(ctx, &deskv1.LookRequest{})
		return err
	})
	o.doors(t, func(t *testing.T, base string) {
		// What the runtime tells a handler is not for the handler's callers.
		nested := o.curl(base, "/actors/nested/desk.v1.Desk/Try", `{"script":"nested"}`)
		if nested.want(t, 400, "invalid_argument", "the actor failed"); strings.Contains(nested.Message, "empty") {
			t.Errorf("%s", nested.body)
		}
		for script, c := range map[string]struct {
			status               int
			code, outcome, words string
		}{
			"fail":  {500, "unknown", "OUTCOME_ANSWERED", "the actor failed"},
			"panic": {500, "internal", "OUTCOME_MAYBE_EXECUTED", "the actor failed"},
			"say":   {503, "unavailable", "OUTCOME_ANSWERED", "closed on Sundays"},
		} {
			a := o.curl(base, "/actors/"+script+"/desk.v1.Desk/Try", `{"script":"`+script+`"}`)
			a.want(t, c.status, c.code, c.words)
			if strings.Contains(string(a.body), "hunter2") || strings.Contains(string(a.body), "node-") || script == "fail" && a.outcome() != c.outcome {
				t.Errorf("%s: %s", script, a.body)
			}
		}
		_, err := try(testContext(t), t, clientFor(t, base+"/actors/fail", connecthttp.WithGRPC()), &deskv1.TryRequest{Script: "fail"})
		if cajun.OutcomeOf(err) != guarantee.Answered || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("over gRPC: %v", err)
		}
	})
}

// Keys, bodies and headers of calls are not in the log, unless it is at debug
// level.
func TestLogsKeepSecrets(t *testing.T) {
	var log bytes.Buffer
	o := open(t, gateway.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))),
		gateway.WithAuthorize(func(_ context.Context, r gateway.Request) (string, error) {
			if r.Header.Get("X-Panic") != "" {
				panic("as the test wants it")
			}
			return "secret-principal", nil
		}))
	o.on("fail", func(context.Context) error { return errors.New("secret-error") })
	for _, base := range []string{o.here, o.elsewhere} {
		for _, path := range []string{"/actors/secret-key/desk.v1.Desk/Try", "/actors/secret-key/desk.v1.Desk/None", "/actors/secret-key%ff/desk.v1.Desk/Try"} {
			for _, body := range []string{`{"script":"fail"}`, `{"script":"secret-body"}`, `{"script":secret-body}`} {
				o.curl(base, path, body, "X-Header", "secret-header", "Idempotency-Key", "secret-idempotency")
				o.curl(base, path, body, "X-Panic", "secret-header")
			}
		}
	}
	for _, n := range []int{0, 1, 2} {
		o.Node(n).Close()
	}
	text := log.String()
	if !strings.Contains(text, "gateway started") || !strings.Contains(text, "panicked") {
		t.Errorf("the log is empty: %s", text)
	}
	if i := strings.Index(text, "secret-"); i >= 0 {
		t.Errorf("the log tells a secret: %s", text[i:min(len(text), i+30)])
	}
}

// Moving and dying owners are hidden from callers.
func TestOwnersThatDieAreHidden(t *testing.T) {
	o := open(t)
	pid := deskv1cajun.NewDeskPid(o.Client(), "moves")
	for round, want := range []string{"1", "2", "3"} {
		a := o.curl(o.elsewhere, "/actors/moves/desk.v1.Desk/Add", `{"amount": 1}`)
		if a.field("sum") != want {
			t.Fatalf("round %d: %s %s", round, a.Status, a.body)
		}
		if owner := o.Owner(pid); round == 0 {
			o.Add(o.host())
			o.Kill(owner)
		}
	}
}

// A gateway serves what the newest node that hosts a kind knows of it, and
// nothing is made for names that nobody hosts.
func TestDoorsAreThoseOfTheCluster(t *testing.T) {
	o := open(t)
	h := gateway.NewHandler(o.Client())
	for range 100 {
		req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, "/actors/a/unknown.Service/Method", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		h.ServeHTTP(&sink{header: http.Header{}}, req)
	}
	if n := gateway.Doors(h); n != 0 {
		t.Errorf("unknown services have made %d doors", n)
	}
	for _, name := range []string{"desk.v1.Desk", "desk.v0.Desk", "desk.v1.Desk"} {
		req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, "/actors/a/"+name+"/Add", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		w := &sink{header: http.Header{}}
		if h.ServeHTTP(w, req); w.status != 200 {
			t.Errorf("%s: status %d", name, w.status)
		}
	}
	if n := gateway.Doors(h); n != 2 {
		t.Errorf("two names have %d doors", n)
	}
}

// sink is a response that nobody reads.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header { return s.header }
func (s *sink) WriteHeader(status int) {
	if s.status == 0 {
		s.status = status
	}
}
func (s *sink) Write(p []byte) (int, error) {
	s.WriteHeader(http.StatusOK)
	return io.Discard.Write(p)
}
