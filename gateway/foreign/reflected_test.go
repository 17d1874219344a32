package foreign

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// wantAll checks that a text has all of these lines and words.
func wantAll(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%s: there is no %q in\n%s", what, word, text)
		}
	}
}

// host is the address in a base URL.
func host(base string) string { return strings.TrimPrefix(base, "http://") }

// TestGrpcurl knows of desks only what the gateway's reflection tells.
func TestGrpcurl(t *testing.T) {
	path := tool(t, "grpcurl")
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		grpcurl := func(args ...string) []string { return append([]string{"-plaintext"}, args...) }
		key := "by grpcurl"
		named := []string{"-H", "Cajun-Key: by%20grpcurl"}

		if out := output(t, path, grpcurl(host(base), "list")...); out != "desk.v1.Desk\ngrpc.health.v1.Health\n" {
			t.Errorf("list: %s", out)
		}
		wantAll(t, "list", output(t, path, grpcurl(host(base), "list", "desk.v1.Desk")...), "desk.v1.Desk.Add\n", "desk.v1.Desk.Watch\n")
		wantAll(t, "describe", output(t, path, grpcurl(host(base), "describe", "desk.v1.Desk")...),
			"rpc Add ( .desk.v1.AddRequest ) returns ( .desk.v1.AddResponse )", "returns ( stream .desk.v1.AddResponse )", "cajun.v1.actor")
		wantAll(t, "describe", output(t, path, grpcurl(host(base), "describe", "desk.v1.AddRequest")...), "int64 amount = 2", "cajun.v1.key")

		call := func(method, body string) (string, error) {
			return run(t, path, grpcurl(append(named, "-d", body, host(base), "desk.v1.Desk/"+method)...)...)
		}
		out, err := call("Add", `{"amount": 3}`)
		if err != nil {
			t.Errorf("a call: %v\n%s", err, out)
		}
		wantAll(t, "a call", out, `"desk": "by grpcurl"`, `"sum": "`)
		out, err = call("Try", `{"script": "refuse"}`)
		if err == nil {
			t.Error("an error is none")
		}
		// The details are described by reflection, too.
		wantAll(t, "an error", out, "Code: NotFound", "no such thing", "cajun.v1.CallStatus", "OUTCOME_ANSWERED")
		out, _ = run(t, path, grpcurl("-d", `{}`, host(base), "desk.v1.Desk/Try")...)
		wantAll(t, "no key", out, "Code: InvalidArgument", "OUTCOME_NOT_EXECUTED")
		out = ""
		for limit := 0.1; limit < 30 && !strings.Contains(out, "Code: DeadlineExceeded"); limit *= 4 { // reflection takes some of it
			out, _ = run(t, path, grpcurl(append(named, "-max-time", fmt.Sprint(limit), "-d", `{"script": "wait"}`, host(base), "desk.v1.Desk/Try")...)...)
		}
		wantAll(t, "a deadline", out, "Code: DeadlineExceeded")
		out, err = run(t, path, grpcurl(append(named, "-H", "Idempotency-Key: "+base, "-v", "-d", `{"amount": 1}`, host(base), "desk.v1.Desk/Add")...)...)
		if again := output(t, path, grpcurl(append(named, "-H", "Idempotency-Key: "+base, "-v", "-d", `{"amount": 1}`, host(base), "desk.v1.Desk/Add")...)...); err != nil || !strings.Contains(again, "idempotency-replayed: true") {
			t.Errorf("a repeated call: %v\n%s\n%s", err, out, again)
		}

		wantAll(t, "health", output(t, path, grpcurl(host(base), "grpc.health.v1.Health/Check")...), `"SERVING"`)
		wantAll(t, "health", output(t, path, grpcurl("-d", `{"service": "desk.v1.Desk"}`, host(base), "grpc.health.v1.Health/Check")...), `"SERVING"`)
		out, _ = run(t, path, grpcurl("-d", `{"service": "no.such.Service"}`, host(base), "grpc.health.v1.Health/Check")...)
		wantAll(t, "health", out, "Code: NotFound")

		followed := "followed at " + host(base)
		p := launch(t, "", path, grpcurl("-d", `{"desk": "`+followed+`"}`, host(base), "desk.v1.Desk/Watch")...)
		p.await(`"desk": "` + followed + `"`)
		for i := range 3 {
			o.add(t, followed, 1)
			p.await(fmt.Sprintf(`"sum": "%d"`, i+1))
		}
		p.kill()
		o.awaitLeft(t, followed)
		if o.runsOf(key) == 0 {
			t.Error("the calls have reached no desk")
		}
	})
}

// TestBufCurl asks by reflection, and calls by each of the protocols.
func TestBufCurl(t *testing.T) {
	path := tool(t, "buf")
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		wantAll(t, "list", output(t, path, "curl", "--http2-prior-knowledge", "--list-methods", base), "desk.v1.Desk/Add", "desk.v1.Desk/Watch")
		for _, protocol := range []string{"connect", "grpc", "grpcweb"} {
			t.Run(protocol, func(t *testing.T) {
				buf := func(args ...string) []string {
					return append([]string{"curl", "--http2-prior-knowledge", "--protocol", protocol}, args...)
				}
				key := protocol + " at " + host(base)
				wantAll(t, "a key in the path", output(t, path, buf("-d", `{"amount": 2}`, base+"/actors/"+url.PathEscape(key)+"/desk.v1.Desk/Add")...), `"sum": "2"`)
				out, err := run(t, path, buf("-H", "Cajun-Key: buf", "-d", `{"script": "refuse"}`, base+"/desk.v1.Desk/Try")...)
				if err == nil {
					t.Error("an error is none")
				}
				wantAll(t, "an error, with the key in a header", out, "not_found", "no such thing", "cajun.v1.CallStatus")

				p := launch(t, "", path, buf("-d", `{"desk": "`+key+`"}`, base+"/desk.v1.Desk/Watch")...)
				p.await(`"sum": "2"`)
				for i := range 3 {
					o.add(t, key, 1)
					p.await(fmt.Sprintf(`"sum": "%d"`, i+3))
				}
				p.kill()
				o.awaitLeft(t, key)
			})
		}
	})
}
