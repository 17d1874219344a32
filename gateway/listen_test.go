package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/cajuntest"
	"github.com/cajun-go/cajun/gateway"
	deskv1 "github.com/cajun-go/cajun/gateway/internal/gen/desk/v1"
	"github.com/cajun-go/cajun/metadata/memmeta"
	cajun "github.com/cajun-go/cajun/runtime"
)

// refused is the error of a node that does not start with this gateway.
func refused(t *testing.T, addr string, opts ...gateway.Option) error {
	t.Helper()
	store := memmeta.New()
	defer store.Close()
	node, err := cajun.Start(testContext(t), cajun.WithMetadata(store), cajun.WithLogger(discard()), gateway.With(addr, opts...))
	if err == nil {
		node.Close()
	}
	return err
}

func TestListenersThatStrangersReachNeedConsent(t *testing.T) {
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0"} {
		if err := refused(t, addr); err == nil || !strings.Contains(err.Error(), "WithInsecure") {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for _, addr := range []string{"127.0.0.1:0", "localhost:0"} {
		if err := refused(t, addr); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if err := refused(t, "0.0.0.0:0", gateway.WithInsecure()); err != nil {
		t.Errorf("with consent: %v", err)
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for what, o := range map[string]gateway.Option{
		"WithAuthorize":               gateway.WithAuthorize(nil),
		"WithInterceptors":            gateway.WithInterceptors(nil),
		"WithMaxMessage":              gateway.WithMaxMessage(0),
		"WithTransferTimeout":         gateway.WithTransferTimeout(-1),
		"WithTLS":                     gateway.WithTLS(&tls.Config{MinVersion: tls.VersionTLS13}),
		"has no ClientCAs":            gateway.WithTLS(&tls.Config{Certificates: make([]tls.Certificate, 1), ClientAuth: tls.RequireAndVerifyClientCert}),
		"WithTLS was given no config": gateway.WithTLS(nil),
		"WithHosts":                   gateway.WithHosts("https://api.example.com"),
	} {
		if err := refused(t, "127.0.0.1:0", o); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := refused(t, "nonsense"); err == nil || !strings.Contains(err.Error(), "host:port") {
		t.Errorf("a nonsensical address: %v", err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := refused(t, taken.Addr().String()); err == nil {
		t.Error("a taken address was no error")
	}
}

// certificate makes a certificate for name, which stands for itself.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLS(t *testing.T) {
	server, serverPool := certificate(t, "gateway")
	client, clientPool := certificate(t, "ann")
	o := open(t,
		gateway.WithTLS(&tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clientPool}),
		gateway.WithAuthorize(func(_ context.Context, r gateway.Request) (string, error) {
			if c := r.PeerCertificate(); c != nil {
				return c.Subject.CommonName, nil
			}
			return "", connect.NewError(connect.CodeUnauthenticated, "who are you?")
		}))
	base := strings.Replace(o.here, "http://", "https://", 1)
	for what, h2 := range map[string]bool{"HTTP/2.0": true, "HTTP/1.1": false} {
		call := func(certs ...tls.Certificate) answer {
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: serverPool, Certificates: certs}, ForceAttemptHTTP2: h2, Protocols: new(http.Protocols)}
			transport.Protocols.SetHTTP1(!h2)
			transport.Protocols.SetHTTP2(h2)
			defer transport.CloseIdleConnections()
			req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, base+"/actors/tls/desk.v1.Desk/Try", strings.NewReader(`{}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			return o.via(transport, req)
		}
		if a := call(client); a.Proto != what || a.field("headers") != "map[cajun-principal:ann]" {
			t.Errorf("%s: %s %s %s", what, a.Proto, a.Status, a.body)
		}
		call().want(t, 401, "unauthenticated")
	}
	// Nothing is served without TLS.
	if a := o.curl(o.here, "/actors/tls/desk.v1.Desk/Try", `{}`); a.StatusCode != 400 {
		t.Errorf("without TLS: %s %s", a.Status, a.body)
	}
}

func TestMembersTellTheirGateways(t *testing.T) {
	c := cajuntest.Start(t, 0)
	i := c.Add(gateway.With("127.0.0.1:0", gateway.WithAdvertise("gate.example.com:443")))
	if got := c.Node(i).Cluster().Members[0].Gateway; got != "" && got != "gate.example.com:443" {
		t.Errorf("the member tells %q", got)
	}
	for ctx := testContext(t); ; {
		if got := c.Node(i).Cluster().Members[0].Gateway; got == "gate.example.com:443" {
			return
		}
		if ctx.Err() != nil {
			t.Fatal("the member never tells its gateway")
		}
	}
}

// A closing gateway lets calls end, cuts off those that do not, and leaves
// nothing behind.
func TestClose(t *testing.T) {
	o := open(t, gateway.WithGrace(100*time.Millisecond), gateway.WithLogger(discard()))
	entered, release := make(chan struct{}, 2), make(chan struct{})
	o.on("short", func(ctx context.Context) error {
		entered <- struct{}{}
		<-release
		return nil
	})
	o.on("long", func(ctx context.Context) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	results := map[string]chan error{"short": make(chan error, 1), "long": make(chan error, 1)}
	for script, done := range results {
		go func() {
			_, err := try(testContext(t), t, clientFor(t, o.elsewhere+"/actors/"+script), &deskv1.TryRequest{Script: script})
			done <- err
		}()
	}
	<-entered
	<-entered
	idle := dial(t, o.elsewhere)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		o.Node(2).Close()
	}()
	// It accepts nothing more while the calls go on.
	for ctx := testContext(t); ctx.Err() == nil; {
		conn, err := net.Dial("tcp", strings.TrimPrefix(o.elsewhere, "http://"))
		if err != nil {
			break
		}
		conn.Close()
	}
	close(release)
	if err := <-results["short"]; err != nil {
		t.Errorf("a call that ends in time: %v", err)
	}
	if err := <-results["long"]; err == nil {
		t.Error("a call that does not end was not cut off")
	}
	<-closed
	if _, err := io.ReadAll(idle); err != nil {
		t.Errorf("an idle connection stays: %v", err)
	}
}

// While the node drains, clients of HTTP/1.1 let their connections go: a request
// that meets a connection which is being closed would be lost.
func TestConnectionsAreNotKeptWhileTheNodeDrains(t *testing.T) {
	o := open(t)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	entered, release := make(chan struct{}, 1), make(chan struct{})
	o.on("wait", func(context.Context) error {
		entered <- struct{}{}
		<-release
		return nil
	})
	kept := func() bool {
		res, err := http.Post(o.here+"/actors/kept/desk.v1.Desk/Try", "application/json", strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != 200 {
			t.Errorf("got %s", res.Status)
		}
		return !res.Close
	}
	key := o.keyOn(t, 0)
	done := make(chan error, 1)
	go func() {
		_, err := try(testContext(t), t, clientFor(t, o.elsewhere+"/actors/"+key), &deskv1.TryRequest{Script: "wait"})
		done <- err
	}()
	<-entered
	if !kept() {
		t.Error("a connection is not kept")
	}
	ctx, cancel := context.WithCancel(testContext(t))
	drained := make(chan error, 1)
	go func() { drained <- o.Node(0).Drain(ctx) }()
	for step := testContext(t); kept(); {
		if step.Err() != nil {
			t.Fatal("connections are kept while the node drains")
		}
	}
	health := func() string {
		return o.curl(o.here, "/grpc.health.v1.Health/Check", `{"service":"desk.v1.Desk"}`).field("status")
	}
	if got := health(); got != "NOT_SERVING" {
		t.Errorf("a node that drains is %s", got)
	}
	cancel()
	if err := <-drained; err == nil {
		t.Error("the node has drained although a turn holds it")
	}
	if !kept() {
		t.Error("a connection is not kept after a drain that was given up")
	}
	if got := health(); got != "SERVING" {
		t.Errorf("a node that drains no more is %s", got)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// What was accepted before the node has drained is served, also when the request
// comes after that.
func TestNoRequestIsLostWhenTheNodeHasDrained(t *testing.T) {
	o := open(t)
	conn := dial(t, o.elsewhere)
	_, _ = io.WriteString(conn, "POST /actors/late/desk.v1.Desk/Try HTTP/1.1\r\nHost: localhost\r\n")
	drained := make(chan error, 1)
	go func() { drained <- o.Node(2).Drain(testContext(t)) }()
	for ctx := testContext(t); ctx.Err() == nil; {
		probe, err := net.Dial("tcp", strings.TrimPrefix(o.elsewhere, "http://"))
		if err != nil {
			break
		}
		probe.Close()
	}
	_, _ = io.WriteString(conn, "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	if text, err := io.ReadAll(conn); err != nil || !strings.Contains(string(text), " 200 OK") || !strings.Contains(string(text), "Connection: close") {
		t.Errorf("got %q, %v", text, err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// A handler that is mounted elsewhere serves, too.
func TestNewHandler(t *testing.T) {
	o := open(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: gateway.NewHandler(o.Client()), ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	defer func() {
		server.Close()
		<-done
	}()
	if a := o.curl("http://"+l.Addr().String(), "/actors/mounted/desk.v1.Desk/Try", `{}`); a.field("desk") != "mounted" {
		t.Errorf("%s %s", a.Status, a.body)
	}
}

// A handler that may lack what was to keep callers out lets nobody in.
func TestNewHandlerWithOptionsThatMakeNoSense(t *testing.T) {
	o := open(t)
	h := gateway.NewHandler(o.Client(), gateway.WithAuthorize(nil), gateway.WithLogger(discard()))
	req := httptest.NewRequest(http.MethodPost, "/actors/open/desk.v1.Desk/Try", strings.NewReader(`{}`))
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	if w.Code != 500 || !strings.Contains(w.Body.String(), "set up wrongly") || o.runsOf("open") != 0 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}
