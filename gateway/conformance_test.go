package gateway_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/gateway"
	deskv1 "github.com/cajun-go/cajun/gateway/internal/gen/desk/v1"
)

// What the protocols say of requests and responses, as bytes on the wire: no
// client's library stands between the test and the gateway.

// raw sends a request over HTTP/2, as gRPC needs it. Headers come in pairs.
func (o *office) raw(base, method, path, contentType, body string, headers ...string) answer {
	o.t.Helper()
	req, err := http.NewRequestWithContext(testContext(o.t), method, base+path, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	return o.via(transport, req)
}

// frame puts before a message what streams and gRPC have there.
func frame(message string) string {
	return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))) + message
}

// lastFrame is the last one of a body, and its flags.
func lastFrame(t testing.TB, body []byte) (flags byte, message string) {
	t.Helper()
	for len(body) >= 5 {
		size := 5 + int(binary.BigEndian.Uint32(body[1:]))
		if size > len(body) {
			break
		}
		flags, message, body = body[0], string(body[5:size]), body[size:]
	}
	if len(body) > 0 {
		t.Errorf("a frame is cut off: %q", body)
	}
	return flags, message
}

// grpcStatus is the status of a call by gRPC, which is in the trailers, or in the
// headers when there is nothing else.
func (a answer) grpcStatus() string {
	if s := a.Trailer.Get("Grpc-Status"); s != "" {
		return s
	}
	return a.Header.Get("Grpc-Status")
}

// statuses are the HTTP statuses of errors in Connect's protocol.
var statuses = map[connect.Code]int{
	connect.CodeCanceled: 499, connect.CodeUnknown: 500, connect.CodeInvalidArgument: 400, connect.CodeDeadlineExceeded: 504,
	connect.CodeNotFound: 404, connect.CodeAlreadyExists: 409, connect.CodePermissionDenied: 403, connect.CodeResourceExhausted: 429,
	connect.CodeFailedPrecondition: 400, connect.CodeAborted: 409, connect.CodeOutOfRange: 400, connect.CodeUnimplemented: 501,
	connect.CodeInternal: 500, connect.CodeUnavailable: 503, connect.CodeDataLoss: 500, connect.CodeUnauthenticated: 401,
}

// TestCodesOnTheWire: each code in each protocol, from the handler of a call and
// from one that was to open a stream.
func TestCodesOnTheWire(t *testing.T) {
	o := open(t)
	const path = "/actors/codes/desk.v1.Desk/"
	for code := range statuses {
		o.on(code.String(), func(context.Context) error { return connect.NewError(code, "über & out") })
		o.on("watch "+code.String(), func(context.Context) error { return connect.NewError(code, "über & out") })
	}
	o.doors(t, func(t *testing.T, base string) {
		for code, status := range statuses {
			o.curl(base, path+"Try", `{"script":"`+code.String()+`"}`).want(t, status, code.String(), "über & out")

			message, err := proto.Marshal(&deskv1.TryRequest{Script: code.String()})
			if err != nil {
				t.Fatal(err)
			}
			a := o.raw(base, "POST", path+"Try", "application/grpc", frame(string(message)), "Te", "trailers")
			text := a.Trailer.Get("Grpc-Message") + a.Header.Get("Grpc-Message")
			if a.StatusCode != 200 || a.grpcStatus() != fmt.Sprint(int(code)) || text != "%C3%BCber & out" {
				t.Errorf("%v by gRPC: %s, %v, trailers %v", code, a.Status, a.Header, a.Trailer)
			}

			a = o.raw(base, "POST", path+"Try", "application/grpc-web+proto", frame(string(message)))
			flags, trailers := lastFrame(t, a.body)
			if trailers == "" { // there is nothing but trailers
				flags, trailers = 0x80, "grpc-status: "+a.Header.Get("Grpc-Status")+"\r\n"
			}
			if a.StatusCode != 200 || flags != 0x80 || !strings.Contains(trailers, fmt.Sprintf("grpc-status: %d\r\n", code)) {
				t.Errorf("%v by gRPC-Web: %s, %v %x %q", code, a.Status, a.Header, flags, trailers)
			}

			a = o.raw(base, "POST", "/desk.v1.Desk/Watch", "application/connect+json", frame(`{"desk":"`+code.String()+`"}`))
			flags, end := lastFrame(t, a.body)
			var got struct {
				Error struct {
					Code, Message string
					Details       []struct{ Type string }
				}
			}
			if err := json.Unmarshal([]byte(end), &got); err != nil || a.StatusCode != 200 || flags != 2 || got.Error.Code != code.String() || got.Error.Message != "über & out" || len(got.Error.Details) != 1 {
				t.Errorf("%v at the end of a stream: %s %x %s, %v", code, a.Status, flags, end, err)
			}
		}
	})
}

// TestRequestsThatAreNone: what no protocol allows reaches no actor.
func TestRequestsThatAreNone(t *testing.T) {
	o := open(t, gateway.WithMaxMessage(1<<10))
	const path, js = "/actors/none/desk.v1.Desk/", "application/json"
	o.doors(t, func(t *testing.T, base string) {
		for what, c := range map[string]struct {
			method, path, contentType, body string
			headers                         []string
			status                          int
			code                            string
		}{
			"PUT":                             {"PUT", path + "Try", js, `{}`, nil, 405, "invalid_argument"},
			"DELETE":                          {"DELETE", path + "Try", js, ``, nil, 405, "invalid_argument"},
			"HEAD":                            {"HEAD", path + "Look", "", ``, nil, 405, ""},
			"GET without a message":           {"GET", path + "Look?connect=v1", "", ``, nil, 415, "invalid_argument"},
			"GET of a stream":                 {"GET", path + "Watch?connect=v1&encoding=json&message={}", "", ``, nil, 405, "invalid_argument"},
			"GET of another version":          {"GET", path + "Look?connect=v2&encoding=json&message={}", "", ``, nil, 400, "invalid_argument"},
			"GET of no base64":                {"GET", path + "Look?connect=v1&encoding=proto&base64=1&message=!!", "", ``, nil, 400, "invalid_argument"},
			"GET of base64 that is cut off":   {"GET", path + "Look?connect=v1&encoding=proto&base64=1&message=A", "", ``, nil, 400, "invalid_argument"},
			"text":                            {"POST", path + "Try", "text/plain", `{}`, nil, 415, "invalid_argument"},
			"a form":                          {"POST", path + "Try", "application/x-www-form-urlencoded", `a=b`, nil, 415, "invalid_argument"},
			"no content type":                 {"POST", path + "Try", "", `{}`, nil, 415, "invalid_argument"},
			"an unknown encoding":             {"POST", path + "Try", "application/yaml", `{}`, nil, 415, "invalid_argument"},
			"a call as a stream":              {"POST", path + "Try", "application/connect+json", frame(`{}`), nil, 415, "invalid_argument"},
			"a stream as a call":              {"POST", path + "Watch", js, `{}`, nil, 415, "invalid_argument"},
			"another version":                 {"POST", path + "Try", js, `{}`, []string{"Connect-Protocol-Version", "2"}, 400, "invalid_argument"},
			"a timeout in words":              {"POST", path + "Try", js, `{}`, []string{"Connect-Timeout-Ms", "soon"}, 400, "invalid_argument"},
			"a timeout below zero":            {"POST", path + "Try", js, `{}`, []string{"Connect-Timeout-Ms", "-1"}, 400, "invalid_argument"},
			"a timeout with a fraction":       {"POST", path + "Try", js, `{}`, []string{"Connect-Timeout-Ms", "1.5"}, 400, "invalid_argument"},
			"a timeout of 11 digits":          {"POST", path + "Try", js, `{}`, []string{"Connect-Timeout-Ms", "10000000000"}, 400, "invalid_argument"},
			"no time at all":                  {"POST", path + "Try", js, `{}`, []string{"Connect-Timeout-Ms", "0"}, 504, "deadline_exceeded"},
			"an unknown compression":          {"POST", path + "Try", js, `{}`, []string{"Content-Encoding", "br"}, 501, "unimplemented"},
			"what is not compressed":          {"POST", path + "Try", js, `{}`, []string{"Content-Encoding", "gzip"}, 400, "invalid_argument"},
			"a body that is too long":         {"POST", path + "Try", js, `{"padding":"` + strings.Repeat("A", 2<<10) + `"}`, nil, 429, "resource_exhausted"},
			"a long body that declares a lot": {"POST", path + "Try", "application/proto", strings.Repeat("\x00", 8<<20), nil, 429, "resource_exhausted"},
		} {
			a := o.raw(base, c.method, c.path, c.contentType, c.body, c.headers...)
			if a.StatusCode != c.status || a.Code != c.code {
				t.Errorf("%s: %s %q, want %d and %q", what, a.Status, a.body, c.status, c.code)
			}
			if a.StatusCode == 415 && c.method == "POST" && !strings.Contains(a.Message, "application/connect+json or application/connect+proto") && !strings.Contains(a.Message, "application/json or application/proto") {
				t.Errorf("%s: the response does not tell what to send: %s", what, a.body)
			}
			if (a.StatusCode == 405 || a.StatusCode == 415) && c.method != "HEAD" && strings.Count(string(a.body), "cajun.v1.CallStatus") != 1 {
				t.Errorf("%s: the response does not say what became of the call: %s", what, a.body)
			}
			if a.StatusCode == 405 && a.Header.Get("Allow") == "" || a.StatusCode == 415 && c.method == "POST" && a.Header.Get("Accept-Post") == "" {
				t.Errorf("%s: the response does not tell what is allowed: %v", what, a.Header)
			}
		}
		for what, c := range map[string]struct {
			body    string
			headers []string
			status  string
		}{
			"a timeout without a unit":   {frame(""), []string{"Grpc-Timeout", "5"}, "3"},
			"a timeout of another unit":  {frame(""), []string{"Grpc-Timeout", "5x"}, "3"},
			"a timeout of 9 digits":      {frame(""), []string{"Grpc-Timeout", "123456789S"}, "3"},
			"no time at all":             {frame(""), []string{"Grpc-Timeout", "0m"}, "4"},
			"an unknown compression":     {frame(""), []string{"Grpc-Encoding", "br"}, "12"},
			"no message":                 {"", nil, "12"},
			"two messages":               {frame("") + frame(""), nil, "12"},
			"a message that is cut off":  {"\x00\x00\x00\x00\x05ab", nil, "13"}, // as gRPC says of what is broken on the way
			"a frame that is cut off":    {"\x00\x00", nil, "13"},
			"a message that is too long": {"\x00\x7f\xff\xff\xffab", nil, "8"},
			"no protobuf":                {frame("\xff\xff"), nil, "3"},
		} {
			a := o.raw(base, "POST", path+"Try", "application/grpc+proto", c.body, append(c.headers, "Te", "trailers")...)
			if a.StatusCode != 200 || a.grpcStatus() != c.status {
				t.Errorf("%s by gRPC: %s, %v, trailers %v; want the status %s", what, a.Status, a.Header, a.Trailer, c.status)
			}
			if strings.Contains(what, "timeout") || strings.Contains(what, "time at all") || strings.Contains(what, "compression") {
				continue // those headers have other names elsewhere
			}
			a = o.raw(base, "POST", path+"Watch", "application/connect+proto", c.body)
			if flags, end := lastFrame(t, a.body); a.StatusCode != 200 || flags != 2 || !strings.Contains(end, `"error"`) {
				t.Errorf("%s in a stream: %s %x %q", what, a.Status, flags, end)
			}
		}
	})
	if o.allRuns() != 0 {
		t.Errorf("%d requests that are none have reached an actor", o.allRuns())
	}
}

// TestSuccessOnTheWire: what goes before and after the reply.
func TestSuccessOnTheWire(t *testing.T) {
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		const path = "/actors/fine/desk.v1.Desk/Try"
		for contentType, body := range map[string]string{
			"application/json": `{}`, "application/json; charset=utf-8": `{}`, "application/proto": "",
			"application/grpc": frame(""), "application/grpc+proto": frame(""), "application/grpc+json": frame(`{}`),
			"application/grpc-web": frame(""), "application/grpc-web+proto": frame(""), "application/grpc-web+json": frame(`{}`),
		} {
			a := o.raw(base, "POST", path, contentType, body, "Te", "trailers", "Accept-Encoding", "br", "Grpc-Accept-Encoding", "br", "Connect-Protocol-Version", "1")
			if a.StatusCode != 200 || a.Header.Get("Content-Type") != strings.TrimSuffix(contentType, "; charset=utf-8") && a.Header.Get("Content-Type") != contentType {
				t.Errorf("%s: %s %v %q", contentType, a.Status, a.Header, a.body)
			}
			switch {
			case strings.Contains(contentType, "grpc-web"):
				if flags, end := lastFrame(t, a.body); flags != 0x80 || !strings.Contains(end, "grpc-status: 0\r\n") || len(a.Trailer) > 0 {
					t.Errorf("%s ends with %x %q", contentType, flags, end)
				}
			case strings.Contains(contentType, "grpc"):
				if a.Trailer.Get("Grpc-Status") != "0" {
					t.Errorf("%s: trailers %v", contentType, a.Trailer)
				}
			case !strings.HasPrefix(a.Header.Get("Content-Type"), "application/"):
				t.Errorf("%s: %v", contentType, a.Header)
			}
		}
	})
}

// TestRefusalsOnTheWire: what the gateway refuses before Connect has a say comes in
// the protocol of the request.
func TestRefusalsOnTheWire(t *testing.T) {
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		const path = "/actors/a/no.such.Service/Method"
		for _, contentType := range []string{"application/grpc", "application/grpc+json", "application/grpc-web", "application/grpc-web+proto"} {
			a := o.raw(base, "POST", path, contentType, frame(""), "Te", "trailers")
			_, end := lastFrame(t, a.body)
			if a.StatusCode != 200 || a.Header.Get("Content-Type") != contentType || a.grpcStatus() != "5" && !strings.Contains(end, "grpc-status: 5\r\n") {
				t.Errorf("%s: %s %v %q, trailers %v", contentType, a.Status, a.Header, a.body, a.Trailer)
			}
		}
		a := o.raw(base, "POST", path, "application/connect+json", frame(`{}`))
		if flags, end := lastFrame(t, a.body); a.StatusCode != 200 || flags != 2 || !strings.Contains(end, `"not_found"`) || a.Header.Get("Content-Type") != "application/connect+json" {
			t.Errorf("a stream: %s %v %x %q", a.Status, a.Header, flags, end)
		}
		for _, contentType := range []string{"application/proto", "text/plain", ""} {
			o.raw(base, "POST", path, contentType, "").want(t, 404, "not_found", "no.such.Service")
		}
		a = o.get(base, path+"?connect=v1&encoding=json&message={}")
		a.want(t, 404, "not_found", "no.such.Service")
		if a.Header.Get("Content-Type") != "application/json" {
			t.Errorf("GET: %v", a.Header)
		}
	})
}
