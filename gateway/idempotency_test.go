package gateway_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/gateway"
	deskv1 "github.com/cajun-go/cajun/gateway/internal/gen/desk/v1"
	"github.com/cajun-go/cajun/gateway/internal/gen/desk/v1/deskv1cajun"
	cajun "github.com/cajun-go/cajun/runtime"
)

func TestIdempotencyKey(t *testing.T) {
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		key := strings.ReplaceAll(t.Name(), "/", ".")
		path := "/actors/" + key + "/desk.v1.Desk/Add"
		first := o.curl(base, path, `{"amount": 5}`, "Idempotency-Key", "order 1")
		if first.StatusCode != 200 || first.field("sum") != "5" || first.Header.Get("Idempotency-Replayed") != "" {
			t.Fatalf("%s %s, replayed %q", first.Status, first.body, first.Header.Get("Idempotency-Replayed"))
		}
		// Through the other gateway, too, and whatever the encoding is.
		for _, where := range []string{o.here, o.elsewhere} {
			again := o.curl(where, path, `{"amount": "5"}`, "Idempotency-Key", "order 1")
			if again.StatusCode != 200 || again.field("sum") != "5" || again.Header.Get("Idempotency-Replayed") != "true" {
				t.Errorf("%s %s, replayed %q", again.Status, again.body, again.Header.Get("Idempotency-Replayed"))
			}
			for name, opts := range protocols {
				ctx, info := connect.NewClientContext(testContext(t))
				info.RequestHeader().Set("Idempotency-Key", "order 1")
				res := new(deskv1.AddResponse)
				if err := clientFor(t, where+"/actors/"+key, opts...).CallUnary(ctx, specOf(t, "Add"), &deskv1.AddRequest{Amount: 5}, res); err != nil || res.GetSum() != 5 || info.ResponseHeader().Get("Idempotency-Replayed") != "true" {
					t.Errorf("%s: %v, %v, replayed %q", name, res, err, info.ResponseHeader().Get("Idempotency-Replayed"))
				}
			}
		}
		o.curl(base, path, `{"amount": 6}`, "Idempotency-Key", "order 1").want(t, 400, "invalid_argument", "a call with this Idempotency-Key was made before with other arguments")
		if a := o.curl(base, path, `{"amount": 6}`, "Idempotency-Key", "order 2"); a.field("sum") != "11" {
			t.Errorf("another key: %s %s", a.Status, a.body)
		}
		if runs := o.runsOf(key); runs != 2 {
			t.Errorf("the handler ran %d times", runs)
		}
		// A refusal of the handler is an answer, too.
		for attempt := range 2 {
			a := o.curl(base, path, `{"amount": -1}`, "Idempotency-Key", "no")
			a.want(t, 400, "out_of_range", "cannot add")
			if got := a.Header.Get("Idempotency-Replayed"); (got == "true") != (attempt > 0) {
				t.Errorf("attempt %d: replayed %q", attempt, got)
			}
		}
		// One-way methods that are EXACTLY_ONCE remember that they were accepted.
		for attempt := range 2 {
			a := o.curl(base, "/actors/"+key+"/desk.v1.Desk/TellOnce", `{"amount": 1}`, "Idempotency-Key", "tell")
			if got := a.Header.Get("Idempotency-Replayed"); a.StatusCode != 200 || (got == "true") != (attempt > 0) {
				t.Errorf("attempt %d: %s %s, replayed %q", attempt, a.Status, a.body, got)
			}
		}
	})
}

func TestIdempotencyKeyIsRefusedWhereItProtectsNothing(t *testing.T) {
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		for _, method := range []string{"Try", "Look", "Tell"} {
			a := o.curl(base, "/actors/refused/desk.v1.Desk/"+method, `{}`, "Idempotency-Key", "k")
			a.want(t, 400, "invalid_argument", "EXACTLY_ONCE", method)
		}
		for what, values := range map[string][]string{
			"an empty key": {"Idempotency-Key", ""},
			"a long key":   {"Idempotency-Key", strings.Repeat("k", 257)},
			"two keys":     {"Idempotency-Key", "a", "Idempotency-Key", "b"},
		} {
			a := o.curl(base, "/actors/refused/desk.v1.Desk/Add", `{}`, values...)
			if a.want(t, 400, "invalid_argument", "Idempotency-Key"); a.outcome() != "OUTCOME_NOT_EXECUTED" {
				t.Errorf("%s: outcome %q", what, a.outcome())
			}
		}
		if a := o.curl(base, "/actors/fits/desk.v1.Desk/Add", `{}`, "Idempotency-Key", strings.Repeat("k", 256)); a.StatusCode != 200 {
			t.Errorf("a key of 256 bytes: %s %s", a.Status, a.body)
		}
	})
	if o.runsOf("refused") != 0 {
		t.Error("a refused call reached the actor")
	}
}

// Nobody gets the answers of another, however principals and keys are cut.
func TestKeysAreScopedByPrincipal(t *testing.T) {
	o := open(t, gateway.WithAuthorize(func(_ context.Context, r gateway.Request) (string, error) {
		return r.Header.Get("X-User"), nil
	}))
	o.doors(t, func(t *testing.T, base string) {
		key := strings.ReplaceAll(t.Name(), "/", ".")
		path := "/actors/" + key + "/desk.v1.Desk/Add"
		pairs := [][2]string{{"", "ab"}, {"a", "b"}, {"ab", "c"}, {"b", "a"}, {"a", "bb"}, {"\x01a", "b"}, {"ab", "b"}}
		for i, p := range pairs {
			if strings.Contains(p[0], "\x01") {
				continue // no header can hold it
			}
			a := o.curl(base, path, `{"amount": 1}`, "X-User", p[0], "Idempotency-Key", p[1])
			if a.StatusCode != 200 || a.Header.Get("Idempotency-Replayed") != "" {
				t.Errorf("pair %d: %s %s was a replay", i, a.Status, a.body)
			}
		}
		if a := o.curl(base, path, `{"amount": 1}`, "X-User", "a", "Idempotency-Key", "b"); a.Header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("the same principal with the same key: %s %s", a.Status, a.body)
		}
		// Nor does anybody get those of callers in the cluster.
		pid := deskv1cajun.NewDeskPid(o.Client(), key)
		before, err := pid.Look(testContext(t), &deskv1.LookRequest{})
		if err != nil {
			t.Fatal(err)
		}
		after, err := pid.Add(cajun.Idempotent(testContext(t), "ab"), &deskv1.AddRequest{Amount: 1})
		if err != nil || after.GetSum() != before.GetSum()+1 {
			t.Errorf("a caller in the cluster got %v, %v", after, err)
		}
	})
}

func TestCallKeysDoNotCollide(t *testing.T) {
	seen := map[string][2]string{}
	parts := []string{"", "a", "ab", "b", "\x01", "\x01a", "\x00", "a\x01", "ba"}
	for _, principal := range parts {
		for _, key := range parts {
			k := gateway.CallKey(principal, key)
			if other, ok := seen[k]; ok {
				t.Errorf("%q and %q have the same key", other, [2]string{principal, key})
			}
			seen[k] = [2]string{principal, key}
		}
	}
}

func TestAuthorize(t *testing.T) {
	var seen []gateway.Request
	o := open(t, gateway.WithAuthorize(func(ctx context.Context, r gateway.Request) (string, error) {
		seen = append(seen, r)
		switch r.Header.Get("Authorization") {
		case "ann":
			return "ann", nil
		case "known":
			return "", connect.NewError(connect.CodeUnauthenticated, "log in first")
		case "remote":
			return "", connect.NewError(connect.CodeUnauthenticated, "secret").WithRemote()
		}
		return "", errors.New("the secret reason")
	}))
	o.doors(t, func(t *testing.T, base string) {
		for what, path := range map[string]string{"path": "/actors/k/desk.v1.Desk/Add", "field": "/desk.v1.Desk/Add", "alias": "/actors/k/desk.v0.Desk/Add"} {
			seen = nil
			a := o.curl(base, path, `{"desk": "k"}`)
			a.want(t, 403, "permission_denied", "not allowed")
			if strings.Contains(string(a.body), "secret") || a.outcome() != "OUTCOME_NOT_EXECUTED" {
				t.Errorf("%s: %s", what, a.body)
			}
			if len(seen) != 1 || seen[0].Kind != "desk.v1.Desk" || seen[0].Method != "Add" || seen[0].Key != "k" || !strings.HasPrefix(seen[0].PeerAddr, "127.0.0.1:") || seen[0].PeerCertificate() != nil {
				t.Errorf("%s: the hook saw %+v", what, seen)
			}
			o.curl(base, path, `{"desk": "k"}`, "Authorization", "known").want(t, 401, "unauthenticated", "log in first")
			if a := o.curl(base, path, `{"desk": "k"}`, "Authorization", "remote"); a.StatusCode != 403 || strings.Contains(string(a.body), "secret") {
				t.Errorf("%s: %s %s", what, a.Status, a.body)
			}
		}
		if o.runsOf("k") != 0 {
			t.Error("a call that was not allowed reached the actor")
		}
		// The gateway's own services are asked about, too.
		seen = nil
		o.curl(base, "/grpc.health.v1.Health/Check", `{}`).want(t, 403, "permission_denied")
		if len(seen) != 1 || seen[0].Kind != "grpc.health.v1.Health" || seen[0].Key != "" {
			t.Errorf("the hook saw %+v", seen)
		}
		// The actor learns who calls, and nobody can pretend.
		a := o.curl(base, "/actors/who/desk.v1.Desk/Try", `{}`, "Authorization", "ann", gateway.PrincipalHeader, "eve", "Traceparent", "00-t")
		if h := a.field("headers"); h != "map[cajun-principal:ann traceparent:00-t]" {
			t.Errorf("the handler saw %s", h)
		}
		// A call whose key is known is refused before its body is read.
		conn := dial(t, base)
		_, _ = conn.Write([]byte("POST /actors/k/desk.v1.Desk/Try HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"))
		if line := readLine(t, conn); !strings.Contains(line, "403") {
			t.Errorf("got %q", line)
		}
	})
}

func TestInterceptorsAndForwardedHeaders(t *testing.T) {
	type who struct{}
	o := open(t,
		gateway.WithInterceptors(func(next connect.ServerFunc) connect.ServerFunc {
			return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
				info, _ := connect.CallInfoForServerContext(ctx)
				switch info.RequestHeader().Get("X-Do") {
				case "refuse":
					return connect.NewError(connect.CodeUnauthenticated, "no")
				case "panic":
					panic("as the test wants it")
				}
				if info.RequestHeader().Get("X-Do") == "nobody" {
					return next(ctx, spec, stream)
				}
				ctx = cajun.SetHeader(ctx, "own", "of the interceptor")
				return next(context.WithValue(ctx, who{}, "ann"), spec, stream)
			}
		}),
		gateway.WithAuthorize(func(ctx context.Context, _ gateway.Request) (string, error) {
			name, _ := ctx.Value(who{}).(string)
			return name, nil
		}),
		gateway.WithForwardHeaders("X-Color", gateway.PrincipalHeader),
		gateway.WithLogger(discard()))
	o.doors(t, func(t *testing.T, base string) {
		a := o.curl(base, "/actors/i/desk.v1.Desk/Try", `{}`, "X-Color", "red", "X-Color", "blue", "X-Other", "x", "Cookie", "c", gateway.PrincipalHeader, "eve")
		if got := a.field("headers"); got != "map[cajun-principal:ann own:of the interceptor x-color:red, blue]" {
			t.Errorf("the handler saw %s", got)
		}
		if got := o.curl(base, "/actors/i/desk.v1.Desk/Try", `{}`, "X-Do", "nobody", gateway.PrincipalHeader, "eve").field("headers"); got != "" && got != "map[]" {
			t.Errorf("without a principal the handler saw %s", got)
		}
		o.curl(base, "/actors/i/desk.v1.Desk/Try", `{}`, "X-Do", "refuse").want(t, 401, "unauthenticated")
		o.curl(base, "/actors/i/desk.v1.Desk/Try", `{}`, "X-Do", "panic").want(t, 500, "internal", "the gateway failed")
		o.curl(base, "/grpc.health.v1.Health/Check", `{}`, "X-Do", "refuse").want(t, 401, "unauthenticated")
	})
}
