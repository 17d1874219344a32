package gateway_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cajun-go/cajun/cajuntest"
	"github.com/cajun-go/cajun/gateway"
	deskv1 "github.com/cajun-go/cajun/gateway/internal/gen/desk/v1"
	"github.com/cajun-go/cajun/gateway/internal/gen/desk/v1/deskv1cajun"
	cajun "github.com/cajun-go/cajun/runtime"
)

// office is a cluster with desks and gateways.
type office struct {
	*cajuntest.Cluster
	t testing.TB
	// here and elsewhere are the base URLs of a gateway whose node hosts desks and
	// of one whose node does not.
	here, elsewhere string

	mu sync.Mutex
	// runs counts handler runs per desk, and asked those of callers that wait.
	// scripts are what Try does.
	runs    map[string]int
	asked   int
	scripts map[string]func(context.Context) error
}

// open starts an office: two nodes host desks, one of them has a gateway, and a
// third node has nothing but a gateway.
func open(t testing.TB, opts ...gateway.Option) *office {
	t.Helper()
	o := &office{t: t, Cluster: cajuntest.Start(t, 0), runs: map[string]int{}, scripts: map[string]func(context.Context) error{}}
	here := o.Add(o.host(), gateway.With("127.0.0.1:0", opts...))
	o.Add(o.host())
	elsewhere := o.Add(gateway.With("127.0.0.1:0", opts...))
	o.here, o.elsewhere = o.base(here), o.base(elsewhere)
	return o
}

// base is the URL of a node's gateway.
func (o *office) base(node int) string {
	o.t.Helper()
	n := o.Node(node)
	// The node's own view may be a moment behind.
	for ctx := testContext(o.t); ctx.Err() == nil; {
		for _, m := range n.Cluster().Members {
			if m.Session == n.ID() && m.Gateway != "" {
				return "http://" + m.Gateway
			}
		}
	}
	o.t.Fatalf("node %d tells no gateway", node)
	return ""
}

// doors runs a test at both gateways.
func (o *office) doors(t *testing.T, f func(t *testing.T, base string)) {
	t.Run("hosted here", func(t *testing.T) { f(t, o.here) })
	t.Run("hosted elsewhere", func(t *testing.T) { f(t, o.elsewhere) })
}

func (o *office) host() cajun.Option {
	return deskv1cajun.HostDesk(func(self *cajun.Self, s *deskv1.DeskState) (*desk, error) {
		return &desk{office: o, self: self, state: s}, nil
	})
}

// on has Try do f when a request says so.
func (o *office) on(script string, f func(context.Context) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.scripts[script] = f
}

func (o *office) ran(ctx context.Context, key string) {
	call, _ := cajun.CallFrom(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.runs[key]++
	if !strings.HasPrefix(call.Method, "Tell") {
		o.asked++
	}
}

func (o *office) runsAsked() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked
}

func (o *office) runsOf(key string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.runs[key]
}

func (o *office) allRuns() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.runs {
		n += r
	}
	return n
}

// desk is the actor.
type desk struct {
	office *office
	self   *cajun.Self
	state  *deskv1.DeskState
	counts cajun.Topic[*deskv1.AddResponse]
}

func (d *desk) Add(ctx context.Context, r *deskv1.AddRequest) (*deskv1.AddResponse, error) {
	d.office.ran(ctx, d.self.Key())
	if r.GetAmount() < 0 {
		return nil, connect.Errorf(connect.CodeOutOfRange, "cannot add %d", r.GetAmount())
	}
	d.state.Sum += r.GetAmount()
	count := &deskv1.AddResponse{Desk: d.self.Key(), Sum: d.state.Sum}
	return count, d.counts.Publish(ctx, count)
}

func (d *desk) Watch(ctx context.Context, r *deskv1.LookRequest) (iter.Seq2[*deskv1.AddResponse, error], error) {
	d.office.ran(ctx, d.self.Key())
	d.office.mu.Lock()
	script := d.office.scripts["watch "+d.self.Key()]
	d.office.mu.Unlock()
	if script != nil {
		if err := script(ctx); err != nil {
			return nil, err
		}
	}
	return d.counts.Subscribe(ctx, &deskv1.AddResponse{Desk: d.self.Key(), Sum: d.state.GetSum()}), nil
}

func (d *desk) Try(ctx context.Context, r *deskv1.TryRequest) (*deskv1.TryResponse, error) {
	d.office.ran(ctx, d.self.Key())
	d.office.mu.Lock()
	f := d.office.scripts[r.GetScript()]
	d.office.mu.Unlock()
	if f != nil {
		if err := f(ctx); err != nil {
			return nil, err
		}
	}
	reply := &deskv1.TryResponse{Desk: d.self.Key(), Headers: map[string]string{}, Padding: r.GetPadding()}
	call, _ := cajun.CallFrom(ctx)
	for k, v := range call.Headers {
		reply.Headers[k] = v
	}
	if deadline, ok := ctx.Deadline(); ok {
		reply.Left = time.Until(deadline).Milliseconds()
	}
	return reply, nil
}

func (d *desk) Look(ctx context.Context, r *deskv1.LookRequest) (*deskv1.AddResponse, error) {
	d.office.ran(ctx, d.self.Key())
	return &deskv1.AddResponse{Desk: r.GetDesk(), Sum: d.state.Sum}, nil
}

func (d *desk) Tell(ctx context.Context, r *deskv1.AddRequest) error {
	_, err := d.Add(ctx, r)
	return err
}

func (d *desk) TellOnce(ctx context.Context, r *deskv1.AddRequest) error { return d.Tell(ctx, r) }

// keyOn returns the key of a desk that lives on a node.
func (o *office) keyOn(t testing.TB, node int) string {
	t.Helper()
	for i := 0; ; i++ {
		key := fmt.Sprint("on", i)
		if pid := deskv1cajun.NewDeskPid(o.Client(), key); o.Owner(pid) == node {
			return key
		} else if _, err := pid.Look(testContext(t), &deskv1.LookRequest{}); err != nil || i > 1000 {
			t.Fatalf("no desk on node %d: %v", node, err)
		} else if o.Owner(pid) == node {
			return key
		}
	}
}

// answer is an HTTP response that was read.
type answer struct {
	*http.Response
	body []byte
	// Code and Message are those of an error.
	Code, Message string
	Details       []struct {
		Type  string
		Debug map[string]string
	}
}

// field returns a field of a JSON reply as text.
func (a answer) field(name string) string {
	var m map[string]any
	if json.Unmarshal(a.body, &m) != nil || m[name] == nil {
		return ""
	}
	return fmt.Sprint(m[name])
}

// outcome is what the error's detail says.
func (a answer) outcome() string {
	for _, d := range a.Details {
		if d.Type == "cajun.v1.CallStatus" {
			return d.Debug["outcome"]
		}
	}
	return ""
}

// curl posts JSON as a person would. Headers come in pairs.
func (o *office) curl(base, path, body string, headers ...string) answer {
	o.t.Helper()
	req, err := http.NewRequestWithContext(testContext(o.t), http.MethodPost, base+path, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return o.do(req, headers...)
}

func (o *office) get(base, path string, headers ...string) answer {
	o.t.Helper()
	req, err := http.NewRequestWithContext(testContext(o.t), http.MethodGet, base+path, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	return o.do(req, headers...)
}

func (o *office) do(req *http.Request, headers ...string) answer {
	o.t.Helper()
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return o.via(&http.Transport{DisableKeepAlives: true}, req)
}

// via sends a request and reads the response.
func (o *office) via(transport *http.Transport, req *http.Request) answer {
	o.t.Helper()
	client := &http.Client{Transport: transport}
	res, err := client.Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer res.Body.Close()
	a := answer{Response: res}
	if a.body, err = io.ReadAll(res.Body); err != nil {
		o.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK && json.Unmarshal(a.body, &a) != nil {
		a.Message = string(a.body)
	}
	return a
}

// wantCode checks an error's HTTP status, its code, and that its text names what
// matters.
func (a answer) want(t testing.TB, status int, code string, mentions ...string) {
	t.Helper()
	if a.StatusCode != status || a.Code != code {
		t.Errorf("got %s, want status %d and code %q: %s", a.Status, status, code, a.body)
	}
	for _, m := range mentions {
		if !strings.Contains(a.Message, m) {
			t.Errorf("the message does not mention %q: %s", m, a.body)
		}
	}
}

// protocols are the ways in which Go clients call.
var protocols = map[string][]connecthttp.Option{
	"connect":      nil,
	"connect json": {connecthttp.WithProtoJSON()},
	"grpc":         {connecthttp.WithGRPC()},
	"grpc-web":     {connecthttp.WithGRPCWeb()},
}

// clientFor returns a client of one of the protocols, over HTTP/2 without TLS.
func clientFor(t testing.TB, base string, opts ...connecthttp.Option) *connect.Client {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return connect.NewClient(connecthttp.NewTransport(&http.Client{Transport: transport}, base, opts...))
}

// specOf is what generated Connect clients say of a method of desks.
func specOf(t testing.TB, method string) connect.Spec {
	t.Helper()
	desc := deskv1.File_desk_v1_desk_proto.Services().ByName("Desk").Methods().ByName(protoreflect.Name(method))
	if desc == nil {
		t.Fatalf("desks have no method %s", method)
	}
	spec := connect.Spec{Procedure: "/desk.v1.Desk/" + method, Schema: desc}
	if method == "Look" {
		spec.IdempotencyLevel = connect.IdempotencyNoSideEffects
	}
	if desc.IsStreamingServer() {
		spec.StreamType = connect.StreamTypeServer
	}
	return spec
}

// try calls a desk's Try by one of the protocols.
func try(ctx context.Context, t testing.TB, client *connect.Client, r *deskv1.TryRequest) (*deskv1.TryResponse, error) {
	t.Helper()
	res := new(deskv1.TryResponse)
	return res, client.CallUnary(ctx, specOf(t, "Try"), r, res)
}

// testContext bounds one step of a test.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// dial opens a bare connection to a gateway.
func dial(t testing.TB, base string) net.Conn {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// readLine reads one line of a response.
func readLine(t testing.TB, r io.Reader) string {
	t.Helper()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Errorf("no response: %v", err)
	}
	return line
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// trickle writes a byte every few milliseconds, until the returned function is
// called or nobody takes it any more.
func trickle(w io.Writer, b string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if _, err := io.WriteString(w, b); err != nil {
					return
				}
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		if c, ok := w.(io.Closer); ok {
			c.Close()
		}
		<-ended
	}
}

// gzipped compresses.
func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
