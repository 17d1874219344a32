package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cajun-go/cajun/gateway"
)

// TestNamesOfHosts: a page whose name has come to mean a loopback address does not
// reach what listens there.
func TestNamesOfHosts(t *testing.T) {
	o := open(t)
	proxied := o.base(o.Add(gateway.With("127.0.0.1:0", gateway.WithHosts("api.example.com"))))
	wide := o.base(o.Add(gateway.With("0.0.0.0:0", gateway.WithInsecure())))
	mounted := httptest.NewServer(gateway.NewHandler(o.Client()))
	defer mounted.Close()

	post := func(base, host string, http2 bool) answer {
		req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, base+"/actors/a/desk.v1.Desk/Add", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.Header.Set("Content-Type", "application/json")
		transport := &http.Transport{DisableKeepAlives: true, Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(!http2)
		transport.Protocols.SetUnencryptedHTTP2(http2)
		return o.via(transport, req)
	}
	for _, http2 := range []bool{false, true} {
		for _, host := range []string{"localhost", "LocalHost:8080", "app.localhost", "localhost.", "127.0.0.1", "[::1]:8080", "[::1]", "192.0.2.1:80"} {
			post(o.here, host, http2).want(t, 200, "")
		}
		for _, host := range []string{"page.example", "page.example:8080", "localhost.page.example", "notlocalhost", "127.0.0.1.page.example"} {
			post(o.here, host, http2).want(t, 403, "permission_denied", "WithHosts")
		}
		post(proxied, "API.example.com:443", http2).want(t, 200, "")
		post(proxied, "localhost", http2).want(t, 200, "")
		post(proxied, "page.example", http2).want(t, 403, "permission_denied")
		post(wide, "page.example", http2).want(t, 200, "")
	}
	post(mounted.URL, "page.example", false).want(t, 200, "")
	if runs, want := o.runsOf("a"), 2*(8+3)+1; runs != want {
		t.Errorf("%d calls reached the actor instead of %d", runs, want)
	}
}
