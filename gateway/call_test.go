package gateway_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cajun-go/cajun/gateway"
	deskv1 "github.com/cajun-go/cajun/gateway/internal/gen/desk/v1"
	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
)

func TestCurl(t *testing.T) {
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		key := strings.ReplaceAll(t.Name(), "/", ".")
		for _, path := range []string{"/actors/" + key + "/desk.v1.Desk/Add", "/desk.v1.Desk/Add"} {
			if a := o.curl(base, path, `{"amount": 1}`, "Cajun-Key", key); a.StatusCode != 200 || a.field("desk") != key {
				t.Errorf("%s: %s %s", path, a.Status, a.body)
			}
		}
		if a := o.curl(base, "/desk.v1.Desk/Add", `{"amount": "1", "desk": "`+key+`"}`); a.field("sum") != "3" {
			t.Errorf("the key in the body: %s %s", a.Status, a.body)
		}
		if a := o.curl(base, "/desk.v0.Desk/Add", `{"amount": "1"}`, "Cajun-Key", key); a.field("sum") != "4" {
			t.Errorf("by an alias: %s %s", a.Status, a.body)
		}
	})
}

func TestEveryProtocol(t *testing.T) {
	o := open(t)
	o.on("refuse", func(context.Context) error {
		return connect.NewError(connect.CodeNotFound, "no such thing")
	})
	o.doors(t, func(t *testing.T, base string) {
		for name, opts := range protocols {
			t.Run(name, func(t *testing.T) {
				client := clientFor(t, base+"/actors/a%20b", opts...)
				res, err := try(testContext(t), t, client, &deskv1.TryRequest{Padding: []byte("padding")})
				if err != nil || res.GetDesk() != "a b" || string(res.GetPadding()) != "padding" {
					t.Fatalf("got %v, %v", res, err)
				}
				_, err = try(testContext(t), t, client, &deskv1.TryRequest{Script: "refuse"})
				if connect.CodeOf(err) != connect.CodeNotFound || cajun.OutcomeOf(err) != guarantee.Answered || !strings.Contains(err.Error(), "no such thing") {
					t.Errorf("got %v with outcome %v", err, cajun.OutcomeOf(err))
				}
				if err := client.CallUnary(testContext(t), specOf(t, "TellOnce"), &deskv1.AddRequest{Amount: 1}, new(emptypb.Empty)); err != nil {
					t.Errorf("a one-way call: %v", err)
				}
			})
		}
	})
}

func TestKeysAreAnyText(t *testing.T) {
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		for _, key := range []string{"a", "a/b", "/", "a b+c%", "ключ/鍵", "a/desk.v1.Desk/Try", "?#", strings.Repeat("k", cajun.MaxKey), "\u0000", "..."} {
			for what, a := range map[string]answer{
				"path":   o.curl(base, "/actors/"+url.PathEscape(key)+"/desk.v1.Desk/Try", `{}`),
				"header": o.curl(base, "/desk.v1.Desk/Try", `{}`, "Cajun-Key", url.PathEscape(key)),
				"both":   o.curl(base, "/actors/"+url.PathEscape(key)+"/desk.v1.Desk/Try", `{}`, "Cajun-Key", url.PathEscape(key)),
			} {
				if a.StatusCode != 200 || a.field("desk") != key {
					t.Errorf("key %q in the %s: %s %s", key, what, a.Status, a.body)
				}
			}
			if strings.ContainsAny(key, "%\x00") {
				continue
			}
			if a := o.curl(base, "/desk.v1.Desk/Try", `{}`, "Cajun-Key", key); a.field("desk") != key {
				t.Errorf("key %q as it is in the header: %s %s", key, a.Status, a.body)
			}
		}
		// Clients that decode the path of their base URL send slashes as they are.
		res, err := try(testContext(t), t, clientFor(t, base+"/actors/a%2Fb"), &deskv1.TryRequest{})
		if err != nil || res.GetDesk() != "a/b" {
			t.Errorf("got %v, %v", res, err)
		}
	})
}

func TestBadAddressesAreRefused(t *testing.T) {
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		for what, c := range map[string]struct {
			path     string
			headers  []string
			status   int
			code     string
			mentions string
		}{
			"no key":               {"/desk.v1.Desk/Try", nil, 400, "invalid_argument", "Cajun-Key"},
			"no key, with a field": {"/desk.v1.Desk/Add", nil, 400, "invalid_argument", "fill the field desk"},
			"an empty key":         {"/actors//desk.v1.Desk/Try", nil, 400, "invalid_argument", "empty"},
			"an empty header":      {"/desk.v1.Desk/Try", []string{"Cajun-Key", ""}, 400, "invalid_argument", "empty"},
			"a long key":           {"/actors/" + strings.Repeat("k", cajun.MaxKey+1) + "/desk.v1.Desk/Try", nil, 400, "invalid_argument", "513"},
			"no UTF-8":             {"/actors/%ff/desk.v1.Desk/Try", nil, 400, "invalid_argument", "UTF-8"},
			"a bad header":         {"/desk.v1.Desk/Try", []string{"Cajun-Key", "100%"}, 400, "invalid_argument", "%25"},
			"two headers":          {"/desk.v1.Desk/Try", []string{"Cajun-Key", "a", "Cajun-Key", "a"}, 400, "invalid_argument", "2 times"},
			"path and header":      {"/actors/a/desk.v1.Desk/Try", []string{"Cajun-Key", "b"}, 400, "invalid_argument", `"b"`},
			"path and field":       {"/actors/a/desk.v1.Desk/Add", nil, 400, "invalid_argument", "fill"},
			"an unknown service":   {"/actors/a/no.such.Service/Try", nil, 404, "not_found", "no.such.Service"},
			"an unknown method":    {"/actors/a/desk.v1.Desk/Nothing", nil, 404, "not_found", "Nothing"},
			"no path":              {"/", nil, 404, "not_found", "/actors/"},
			"another path":         {"/other/a/desk.v1.Desk/Try", nil, 404, "not_found", "/actors/"},
			"only a key":           {"/actors/a", nil, 404, "not_found", "actors"},
			"the link":             {"/cajun.link.v1.LinkService/Exchange", nil, 404, "not_found", "does not serve"},
			"the link of an actor": {"/actors/a/cajun.link.v1.LinkService/Exchange", nil, 404, "not_found", "does not serve"},
		} {
			body := `{}`
			if what == "path and field" {
				body, c.mentions = `{"desk": "b"}`, `"b"`
			}
			a := o.curl(base, c.path, body, c.headers...)
			a.want(t, c.status, c.code, c.mentions)
			if a.outcome() != "OUTCOME_NOT_EXECUTED" {
				t.Errorf("%s: the outcome is %q: %s", what, a.outcome(), a.body)
			}
		}
		for what, body := range map[string]string{"no JSON": `{`, "another type": `{"amount": {}}`, "nothing": ``} {
			a := o.curl(base, "/actors/a/desk.v1.Desk/Add", body)
			a.want(t, 400, "invalid_argument")
			if a.outcome() != "OUTCOME_NOT_EXECUTED" {
				t.Errorf("%s: the outcome is %q: %s", what, a.outcome(), a.body)
			}
		}
		if a := o.curl(base, "/actors/a/desk.v1.Desk/Try", "\xff\xff", "Content-Type", "application/proto"); a.StatusCode >= 500 {
			t.Errorf("a malformed body: %s %s", a.Status, a.body)
		}
	})
	if o.allRuns() != 0 {
		t.Errorf("%d bad requests reached an actor", o.allRuns())
	}
}

// A malformed body in the binary encoding is refused wherever the actor lives.
func TestMalformedBinaryBodies(t *testing.T) {
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		for what, body := range map[string]string{"no tag": "\xff\xff", "cut off": "\x0a\x05a", "no UTF-8": "\x0a\x01\xff"} {
			req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, base+"/actors/a/desk.v1.Desk/Add", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/proto")
			if a := o.do(req); a.StatusCode != 400 || a.Code != "invalid_argument" || a.outcome() != "OUTCOME_NOT_EXECUTED" {
				t.Errorf("%s: %s %s", what, a.Status, a.body)
			}
		}
	})
	if o.allRuns() != 0 {
		t.Errorf("%d bad requests reached an actor", o.allRuns())
	}
}

func TestGet(t *testing.T) {
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		message := "?connect=v1&encoding=json&message=" + url.QueryEscape(`{}`)
		if a := o.get(base, "/actors/got/desk.v1.Desk/Look"+message); a.StatusCode != 200 || a.field("desk") != "got" {
			t.Errorf("%s %s", a.Status, a.body)
		}
		// The answers of two actors may be at one URL.
		if a := o.get(base, "/desk.v1.Desk/Look"+message, "Cajun-Key", "got"); a.field("desk") != "got" || !slices.Contains(a.Header.Values("Vary"), gateway.KeyHeader) {
			t.Errorf("%s %v %s", a.Status, a.Header, a.body)
		}
		if a := o.get(base, "/desk.v1.Desk/Look?connect=v1&encoding=json&message="+url.QueryEscape(`{"desk":"in the query"}`)); a.field("desk") != "in the query" {
			t.Errorf("%s %s", a.Status, a.body)
		}
		if a := o.get(base, "/actors/got/desk.v1.Desk/Add"+message); a.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("a method with side effects answers GET: %s %s", a.Status, a.body)
		}
		client := clientFor(t, base+"/actors/got", connecthttp.WithHTTPGet())
		ctx, info := connect.NewClientContext(testContext(t))
		res := new(deskv1.AddResponse)
		if err := client.CallUnary(ctx, specOf(t, "Look"), &deskv1.LookRequest{}, res); err != nil || res.GetDesk() != "got" {
			t.Errorf("got %v, %v", res, err)
		}
		if how, ok := info.TransportInfo.(*connecthttp.ClientInfo); !ok || how.HTTPMethod() != http.MethodGet {
			t.Error("the client did not use GET")
		}
	})
}

func TestDeadlinesReachTheHandler(t *testing.T) {
	o := open(t)
	o.on("wait", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	o.doors(t, func(t *testing.T, base string) {
		for name, opts := range protocols {
			client := clientFor(t, base+"/actors/"+name[:4], opts...)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			res, err := try(ctx, t, client, &deskv1.TryRequest{})
			cancel()
			if err != nil || res.GetLeft() <= 0 || res.GetLeft() > 10_000 {
				t.Errorf("%s: %d ms were left, %v", name, res.GetLeft(), err)
			}
		}
		a := o.curl(base, "/actors/late/desk.v1.Desk/Try", `{"script": "wait"}`, "Connect-Timeout-Ms", "50")
		a.want(t, http.StatusGatewayTimeout, "deadline_exceeded")
		if got := o.curl(base, "/actors/late/desk.v1.Desk/Try", `{}`, "Connect-Timeout-Ms", "soon"); got.StatusCode != 400 {
			t.Errorf("a malformed timeout: %s %s", got.Status, got.body)
		}
	})
}

func TestCancelReachesTheHandler(t *testing.T) {
	o := open(t)
	entered, ended := make(chan struct{}, 1), make(chan error, 1)
	o.on("wait", func(ctx context.Context) error {
		entered <- struct{}{}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return ctx.Err()
	})
	o.doors(t, func(t *testing.T, base string) {
		for name, opts := range protocols {
			ctx, cancel := context.WithCancel(testContext(t))
			done := make(chan error, 1)
			go func() {
				_, err := try(ctx, t, clientFor(t, base+"/actors/"+name[:4], opts...), &deskv1.TryRequest{Script: "wait"})
				done <- err
			}()
			<-entered
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("%s: the handler's context ended with %v", name, err)
			}
			if err := <-done; connect.CodeOf(err) != connect.CodeCanceled {
				t.Errorf("%s: the client got %v", name, err)
			}
		}
		// A client of HTTP/1.1 cancels by leaving.
		conn := dial(t, base)
		body := `{"script":"wait"}`
		_, _ = conn.Write([]byte("POST /actors/left/desk.v1.Desk/Try HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n" + body))
		<-entered
		conn.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the handler's context ended with %v", err)
		}
	})
}

func TestOneWayCallsAnswer(t *testing.T) {
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		key := strings.ReplaceAll(t.Name(), "/", ".")
		for _, method := range []string{"Tell", "TellOnce"} {
			if a := o.curl(base, "/actors/"+key+"/desk.v1.Desk/"+method, `{"amount": 2}`); a.StatusCode != 200 || strings.TrimSpace(string(a.body)) != "{}" {
				t.Errorf("%s: %s %s", method, a.Status, a.body)
			}
		}
		ctx := testContext(t)
		for o.runsOf(key) < 2 && ctx.Err() == nil {
			o.curl(base, "/actors/"+key+".other/desk.v1.Desk/Look", `{}`)
		}
		if a := o.curl(base, "/actors/"+key+"/desk.v1.Desk/Look", `{}`); a.field("sum") != "4" {
			t.Errorf("%s %s", a.Status, a.body)
		}
	})
}

func TestAnyAndCompression(t *testing.T) {
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		// The message in the Any is known from the schema.
		a := o.curl(base, "/actors/any/desk.v1.Desk/Try", `{"any": {"@type": "type.googleapis.com/desk.v1.AddRequest", "amount": "3"}}`)
		if a.StatusCode != 200 {
			t.Errorf("%s %s", a.Status, a.body)
		}
		for name, opts := range protocols {
			ctx, info := connect.NewClientContext(testContext(t))
			res, err := try(ctx, t, clientFor(t, base+"/actors/z", append(opts, connecthttp.WithSendGzip())...), &deskv1.TryRequest{Padding: make([]byte, 100<<10)})
			if err != nil || len(res.GetPadding()) != 100<<10 {
				t.Errorf("%s: %v", name, err)
			}
			if info.ReceiveStats.CompressedSize == 0 || info.ReceiveStats.CompressedSize > 10<<10 {
				t.Errorf("%s: the reply came in %d bytes", name, info.ReceiveStats.CompressedSize)
			}
		}
	})
}
