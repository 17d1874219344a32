package connectlink

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/protobuf/encoding/protowire"

	linkv1 "github.com/cajun-go/cajun/gen/cajun/link/v1"
	"github.com/cajun-go/cajun/link"
)

func TestBadPeersAreRefused(t *testing.T) {
	node := openNode(t, "node", func(c *link.Config) { c.MaxMessage = 1000 })
	friend := openNode(t, "friend", nil)
	good := &linkv1.Hello{Version: link.Version, Cluster: "c", From: "stranger", To: "node"}
	hello := helloBatch(t, good)
	frame := link.AppendBatched(nil, &link.Frame{Request: &link.Request{ID: 66}})
	malformed := protowire.AppendBytes(protowire.AppendTag(nil, link.BatchFrames, protowire.BytesType), []byte{0x0a, 0x05, 0x08})
	over := link.AppendBatched(nil, &link.Frame{Request: &link.Request{ID: 67, Payload: make([]byte, 1001)}})
	with := func(change func(*linkv1.Hello)) []byte {
		h := &linkv1.Hello{Version: good.Version, Cluster: good.Cluster, From: good.From, To: good.To}
		change(h)
		return helloBatch(t, h)
	}
	for name, test := range map[string]struct {
		batches [][]byte
		code    connect.Code
		says    string
	}{
		"no hello":      {[][]byte{frame}, connect.CodeInvalidArgument, "begin with a Hello"},
		"empty batch":   {[][]byte{{}}, connect.CodeInvalidArgument, "begin with a Hello"},
		"two hellos":    {[][]byte{bytes.Repeat(hello, 2)}, connect.CodeInvalidArgument, "second Hello"},
		"hello again":   {[][]byte{hello, hello}, connect.CodeInvalidArgument, "second Hello"},
		"version":       {[][]byte{with(func(h *linkv1.Hello) { h.Version = 99 })}, connect.CodeFailedPrecondition, "version 99"},
		"cluster":       {[][]byte{with(func(h *linkv1.Hello) { h.Cluster = "x" })}, connect.CodeNotFound, `cluster "x"`},
		"session":       {[][]byte{with(func(h *linkv1.Hello) { h.To = "old" })}, connect.CodeNotFound, `looks for "old"`},
		"nobody":        {[][]byte{with(func(h *linkv1.Hello) { h.From = "" })}, connect.CodeInvalidArgument, "no session"},
		"itself":        {[][]byte{with(func(h *linkv1.Hello) { h.From = "node" })}, connect.CodeUnavailable, "itself"},
		"endless name":  {[][]byte{with(func(h *linkv1.Hello) { h.From = strings.Repeat("x", 2000) })}, connect.CodeInvalidArgument, "Hello"},
		"no batch":      {[][]byte{[]byte("nonsense")}, connect.CodeInvalidArgument, "malformed"},
		"bad hello":     {[][]byte{{0x0a, 0x02, 0x12, 0x7f}}, connect.CodeInvalidArgument, "malformed"},
		"bad frame":     {[][]byte{hello, malformed}, connect.CodeInvalidArgument, "malformed"},
		"frame first":   {[][]byte{append(bytes.Clone(hello), malformed...)}, connect.CodeInvalidArgument, "malformed"},
		"large payload": {[][]byte{hello, over}, connect.CodeInvalidArgument, "1001 payload bytes"},
		"large batch":   {[][]byte{hello, make([]byte, batchLimit(1000)+1)}, connect.CodeAborted, "larger than"},
		"large hello":   {[][]byte{make([]byte, batchLimit(1000)+1)}, connect.CodeResourceExhausted, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			wire := dialRaw(t, node.Address())
			for _, b := range test.batches {
				if err := wire.Send(b); err != nil {
					break // the node has seen enough
				}
			}
			err := receiveError(wire)
			if connect.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.says) {
				t.Errorf("the node says %v (%v), want %v: ...%s...", err, connect.CodeOf(err), test.code, test.says)
			}
			friend.mustReach(node)
		})
	}
	for _, id := range node.received() {
		if id == 66 || id == 67 {
			t.Errorf("frame %d of a bad peer was delivered", id)
		}
	}
}

func TestFramesBehindHelloAndOfTheFuture(t *testing.T) {
	node := openNode(t, "node", nil)
	wire := dialRaw(t, node.Address())
	batch := helloBatch(t, &linkv1.Hello{Version: link.Version, Cluster: "c", From: "stranger", To: "node"})
	batch = link.AppendBatched(batch, &link.Frame{Request: &link.Request{ID: 5}})
	unknown := protowire.AppendBytes(protowire.AppendTag(nil, 77, protowire.BytesType), []byte("new"))
	batch = protowire.AppendBytes(protowire.AppendTag(batch, link.BatchFrames, protowire.BytesType), unknown)
	batch = link.AppendBatched(append(batch, unknown...), &link.Frame{Request: &link.Request{ID: 6}})
	if err := wire.Send(batch); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both frames", func() bool { return len(node.received()) == 2 })
	var first firstBatch
	if err := wire.Receive(&first); err != nil {
		t.Fatal(err)
	}
	if h, err := first.hello(); err != nil || h.From != "node" || h.To != "stranger" || h.MaxMessage != link.DefaultMaxMessage {
		t.Errorf("the node answers %v, %v", h, err)
	}
}

// serveHello runs a server that answers streams with the given messages.
func serveHello(t *testing.T, batches ...[]byte) string {
	t.Helper()
	service := connect.NewServer()
	service.Register(connect.Method{Spec: exchangeSpec(), Handler: func(ctx context.Context, _ connect.Spec, s connect.ServerStream) error {
		for _, b := range batches {
			if err := s.Send(b); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return nil
	}})
	mux := http.NewServeMux()
	connecthttp.Mount(mux, service, connecthttp.WithCodecs(codec{}), connecthttp.WithCompressors())
	return serveHTTP(t, mux)
}

func serveHTTP(t *testing.T, handler http.Handler) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	protocols.SetHTTP1(true)
	server := &http.Server{Handler: handler, Protocols: protocols}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return listener.Addr().String()
}

func TestStrangeServers(t *testing.T) {
	node := openNode(t, "node", nil)
	hello := func(change func(*linkv1.Hello)) []byte {
		h := &linkv1.Hello{Version: link.Version, Cluster: "c", From: "peer", To: "node"}
		change(h)
		return helloBatch(t, h)
	}
	for name, test := range map[string]struct {
		address   string
		wrongPeer bool
	}{
		"another service": {serveHTTP(t, http.NotFoundHandler()), false},
		"another session": {serveHello(t, hello(func(h *linkv1.Hello) { h.From = "other" })), true},
		"another cluster": {serveHello(t, hello(func(h *linkv1.Hello) { h.Cluster = "x" })), true},
		"another version": {serveHello(t, hello(func(h *linkv1.Hello) { h.Version = 99 })), false},
		"no hello":        {serveHello(t, []byte{}), false},
		"nonsense":        {serveHello(t, []byte("nonsense")), false},
	} {
		err := node.probe(link.Peer{Session: "peer", Address: test.address})
		if err == nil || errors.Is(err, link.ErrRefused) || errors.Is(err, link.ErrWrongPeer) != test.wrongPeer {
			t.Errorf("%s: Probe says %v", name, err)
		}
	}
	malformed := serveHello(t, hello(func(*linkv1.Hello) {}), []byte("nonsense"))
	if err := node.probe(link.Peer{Session: "peer", Address: malformed}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the stream", func() bool {
		err, down := node.down("peer")
		if down && !isMalformed(err) {
			t.Fatalf("PeerDown says %v", err)
		}
		return down
	})
}

func TestSilentServerTimesOut(t *testing.T) {
	silent := startProxy(t, "")
	node := openNode(t, "node", nil, WithDialTimeout(100*time.Millisecond))
	began := time.Now()
	err := node.probe(link.Peer{Session: "peer", Address: silent.address()})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, link.ErrRefused) || time.Since(began) > patience/2 {
		t.Errorf("Probe says %v after %v", err, time.Since(began))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	start := time.Now()
	patient := openNode(t, "patient", nil, WithDialTimeout(time.Minute))
	err = patient.Send(ctx, link.Peer{Session: "peer", Address: silent.address()}, link.Frame{Cancel: &link.Cancel{ID: 1}})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > patience {
		t.Errorf("Send says %v after %v", err, time.Since(start))
	}
	if err := patient.Close(); err != nil || time.Since(start) > patience {
		t.Errorf("Close with a dial under way says %v after %v", err, time.Since(start))
	}
}

func TestSilentClientTimesOut(t *testing.T) {
	node := openNode(t, "node", nil, WithDialTimeout(100*time.Millisecond))
	wire := dialRaw(t, node.Address())
	if err := wire.SendHeaders(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- receiveError(wire) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the node waits forever for a Hello")
	}
	// One that does not even speak HTTP.
	conn, err := net.Dial("tcp", node.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); errors.Is(err, net.ErrClosed) || isTimeout(err) {
		t.Errorf("the node waits forever for a request: %v", err)
	}
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestCloseInterruptsHandshakes(t *testing.T) {
	node := openNode(t, "node", nil, WithDialTimeout(time.Minute))
	wire := dialRaw(t, node.Address())
	if err := wire.SendHeaders(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the handler", func() bool {
		node.endpoint.mu.Lock()
		defer node.endpoint.mu.Unlock()
		return node.accepted == 1
	})
	start := time.Now()
	if err := node.Close(); err != nil || time.Since(start) > patience {
		t.Errorf("Close says %v after %v", err, time.Since(start))
	}
}

func TestListenAddresses(t *testing.T) {
	secure := func(c *link.Config) { c.TLS = mutualTLS(t); c.Advertise = "node.example:1" }
	for name, test := range map[string]struct {
		listen  string
		change  func(*link.Config)
		says    string // empty: it works
		address string
	}{
		"default":             {},
		"loopback":            {listen: "127.0.0.1:0"},
		"loopback, by name":   {listen: "localhost:0"},
		"loopback, IPv6":      {listen: "[::1]:0"},
		"all interfaces":      {listen: ":0", says: "WithInsecureListen"},
		"all, IPv4":           {listen: "0.0.0.0:0", says: "WithTLS"},
		"all, IPv6":           {listen: "[::]:0", says: "WithTLS"},
		"a name":              {listen: "node.example:0", says: "WithTLS"},
		"no port":             {listen: "127.0.0.1", says: "host:port"},
		"insecure":            {listen: "0.0.0.0:0", change: func(c *link.Config) { c.Insecure = true; c.Advertise = "h:1" }, address: "h:1"},
		"no advertise":        {listen: "0.0.0.0:0", change: func(c *link.Config) { c.Insecure = true }, says: "WithAdvertise"},
		"TLS":                 {listen: "0.0.0.0:0", change: secure, address: "node.example:1"},
		"TLS, no certificate": {change: func(c *link.Config) { c.TLS = &tls.Config{} }, says: "certificate"},
	} {
		cfg := link.Config{Cluster: "c", Session: "s", Receiver: &recorder{}, Listen: test.listen}
		if test.change != nil {
			test.change(&cfg)
		}
		e, err := New().Open(t.Context(), cfg)
		if err == nil {
			if test.address != "" && e.Address() != test.address {
				t.Errorf("%s: the address is %q", name, e.Address())
			}
			if _, port, err := net.SplitHostPort(e.Address()); err != nil || port == "0" {
				t.Errorf("%s: the address is %q", name, e.Address())
			}
			_ = e.Close()
		}
		noIPv6 := strings.Contains(test.listen, "::1") && err != nil
		if (err == nil) != (test.says == "") && !noIPv6 || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTLSKeepsOthersOut(t *testing.T) {
	config := mutualTLS(t)
	node := openNode(t, "node", func(c *link.Config) { c.TLS = config })
	friend := openNode(t, "friend", func(c *link.Config) { c.TLS = config })
	stranger := mutualTLS(t)
	stranger.RootCAs = config.RootCAs
	for name, tlsConfig := range map[string]*tls.Config{
		"no TLS":              nil,
		"no certificate":      {RootCAs: config.RootCAs},
		"another certificate": stranger,
		"unknown authority":   mutualTLS(t),
	} {
		bad := openNode(t, "bad", func(c *link.Config) { c.TLS = tlsConfig; c.ClientOnly = true })
		err := bad.send(node.peer(), 13)
		if err == nil || errors.Is(err, link.ErrRefused) || errors.Is(err, link.ErrWrongPeer) {
			t.Errorf("%s: Send says %v", name, err)
		}
		_ = bad.Close()
	}
	friend.mustReach(node)
	if ids := node.received(); len(ids) != 1 {
		t.Errorf("received %v", ids)
	}
	if config.NextProtos != nil {
		t.Error("the caller's TLS configuration was changed")
	}
}

func TestServesNothingElse(t *testing.T) {
	node := openNode(t, "node", nil)
	for path, want := range map[string]int{
		"/": http.StatusNotFound, "/debug/pprof/": http.StatusNotFound, "/grpc.health.v1.Health/Check": http.StatusNotFound,
		procedure: http.StatusHTTPVersionNotSupported,
	} {
		r, err := http.Post("http://"+node.Address()+path, "application/connect+proto", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("%s answers %s", path, r.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestPlainConnectOnTheWire reads what a node sends with Connect's own codec
// and the generated messages.
func TestPlainConnectOnTheWire(t *testing.T) {
	node := openNode(t, "node", nil)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wire, err := connecthttp.NewTransport(client, "http://"+node.Address()).NewClientStream(ctx, exchangeSpec())
	if err != nil {
		t.Fatal(err)
	}
	err = wire.Send(&linkv1.ExchangeRequest{
		Hello:  &linkv1.Hello{Version: 1, Cluster: "c", From: "generated", To: "node"},
		Frames: []*linkv1.Frame{{Body: &linkv1.Frame_Request{Request: &linkv1.Request{Id: 8}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var answer linkv1.ExchangeResponse
	if err := wire.Receive(&answer); err != nil || answer.GetHello().GetFrom() != "node" {
		t.Fatalf("the node answers %v, %v", &answer, err)
	}
	eventually(t, "the frame", func() bool { return len(node.received()) == 1 })
	if err := node.send(link.Peer{Session: "generated"}, 9); err != nil {
		t.Fatal(err)
	}
	if err := wire.Receive(&answer); err != nil || answer.GetFrames()[0].GetRequest().GetId() != 9 {
		t.Fatalf("the node sends %v, %v", &answer, err)
	}
}

// TestLyingLength: a length that nobody would read is not believed.
func TestLyingLength(t *testing.T) {
	node, friend := openNode(t, "node", nil), openNode(t, "friend", nil)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	defer client.CloseIdleConnections()
	lie := binary.BigEndian.AppendUint32([]byte{0}, 1<<31)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+node.Address()+procedure,
		bytes.NewReader(append(lie, "short"...)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/connect+proto")
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	friend.mustReach(node)
}
