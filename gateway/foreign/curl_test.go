package foreign

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// reply is a response as curl has saved it.
type reply struct {
	status, version string
	header          http.Header
	body            []byte
}

// field is what the path leads to in the body, as text. Whatever a step is called,
// it leads from a list to its first element.
func (r reply) field(path ...string) string {
	var v any
	if json.Unmarshal(r.body, &v) != nil {
		return ""
	}
	for _, name := range path {
		switch w := v.(type) {
		case map[string]any:
			v = w[name]
		case []any:
			if len(w) == 0 {
				return ""
			}
			v = w[0]
		default:
			return ""
		}
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func (r reply) String() string { return fmt.Sprintf("status %s, %v, %s", r.status, r.header, r.body) }

// curls are the versions of HTTP that curl is asked to speak.
var curls = map[string]string{"1.1": "--http1.1", "2": "--http2-prior-knowledge"}

// eachCurl runs a test with both versions of HTTP at both gateways. The key is one
// that no other run of the test has.
func eachCurl(t *testing.T, f func(t *testing.T, base, key string, curl func(args ...string) reply)) {
	path := program(t, "curl")
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		for version, flag := range curls {
			t.Run("HTTP "+version, func(t *testing.T) {
				key := strings.NewReplacer("/", ".", " ", "-").Replace(t.Name())
				f(t, base, key, func(args ...string) reply {
					t.Helper()
					r := curl(t, path, append([]string{flag}, args...)...)
					if r.version != version {
						t.Errorf("curl %q: HTTP %s", args, r.version)
					}
					return r
				})
			})
		}
	})
}

// curl makes one request.
func curl(t *testing.T, path string, args ...string) reply {
	t.Helper()
	dir := t.TempDir()
	head, body := filepath.Join(dir, "head"), filepath.Join(dir, "body")
	out := output(t, path, append([]string{"-sS", "-D", head, "-o", body, "-w", "%{http_code} %{http_version}"}, args...)...)
	var r reply
	r.status, r.version, _ = strings.Cut(out, " ")
	text, err := os.ReadFile(head)
	if err != nil {
		t.Fatal(err)
	}
	_, fields, _ := strings.Cut(string(text), "\n") // the status line
	mime, err := textproto.NewReader(bufio.NewReader(strings.NewReader(fields))).ReadMIMEHeader()
	if err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	r.header = http.Header(mime)
	if r.body, err = os.ReadFile(body); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return r
}

func TestCurlNamesActors(t *testing.T) {
	eachCurl(t, func(t *testing.T, base, key string, curl func(...string) reply) {
		for i, args := range [][]string{
			{"--json", `{"amount": 1}`, base + "/actors/" + key + "/desk.v1.Desk/Add"},
			{"--json", `{"amount": 1}`, "-H", "Cajun-Key: " + key, base + "/desk.v1.Desk/Add"},
			{"--json", `{"amount": "1", "desk": "` + key + `"}`, base + "/desk.v1.Desk/Add"},
			{"-d", `{"amount": 1}`, "-H", "Content-Type: application/json", base + "/actors/" + key + "/desk.v1.Desk/Add"},
		} {
			if r := curl(args...); r.status != "200" || r.field("desk") != key || r.field("sum") != fmt.Sprint(i+1) {
				t.Errorf("%q: %v", args, r)
			}
		}
		if r := curl("--json", `{}`, base+"/actors/a%2Fb%20100%25/desk.v1.Desk/Try"); r.field("desk") != "a/b 100%" {
			t.Errorf("a key that needs an encoding: %v", r)
		}
	})
}

func TestCurlGets(t *testing.T) {
	eachCurl(t, func(t *testing.T, base, key string, curl func(...string) reply) {
		curl("--json", `{"amount": 7}`, base+"/actors/"+key+"/desk.v1.Desk/Add")
		query := []string{"-G", "-d", "connect=v1", "-d", "encoding=json", "--data-urlencode", "message={}"}
		if r := curl(append(query, base+"/actors/"+key+"/desk.v1.Desk/Look")...); r.status != "200" || r.field("sum") != "7" {
			t.Error(r)
		}
		if r := curl(append(query, base+"/actors/"+key+"/desk.v1.Desk/Add")...); r.status != "405" || r.header.Get("Allow") != "POST" {
			t.Errorf("a method with side effects answers GET: %v", r)
		}
	})
}

func TestCurlRepeats(t *testing.T) {
	eachCurl(t, func(t *testing.T, base, key string, curl func(...string) reply) {
		for i, replayed := range []string{"", "true"} {
			r := curl("--json", `{"amount": 100}`, "-H", "Idempotency-Key: order-4711", base+"/actors/"+key+"/desk.v1.Desk/Add")
			if r.status != "200" || r.field("sum") != "100" || r.header.Get("Idempotency-Replayed") != replayed {
				t.Errorf("call %d: %v", i, r)
			}
		}
		r := curl("--json", `{"amount": 101}`, "-H", "Idempotency-Key: order-4711", base+"/actors/"+key+"/desk.v1.Desk/Add")
		if r.status != "400" || r.field("code") != "invalid_argument" {
			t.Errorf("another request with the same key: %v", r)
		}
	})
}

func TestCurlIsToldWhatWentWrong(t *testing.T) {
	eachCurl(t, func(t *testing.T, base, key string, curl func(...string) reply) {
		for what, c := range map[string]struct {
			args                  []string
			status, code, outcome string
		}{
			"the handler's own": {[]string{"--json", `{"script": "refuse"}`, base + "/actors/" + key + "/desk.v1.Desk/Try"}, "404", "not_found", "OUTCOME_ANSWERED"},
			"out of range":      {[]string{"--json", `{"amount": -1}`, base + "/actors/" + key + "/desk.v1.Desk/Add"}, "400", "out_of_range", "OUTCOME_ANSWERED"},
			"no key":            {[]string{"--json", `{}`, base + "/desk.v1.Desk/Try"}, "400", "invalid_argument", "OUTCOME_NOT_EXECUTED"},
			"no JSON":           {[]string{"--json", `{`, base + "/actors/" + key + "/desk.v1.Desk/Try"}, "400", "invalid_argument", "OUTCOME_NOT_EXECUTED"},
			"no such method":    {[]string{"--json", `{}`, base + "/actors/" + key + "/desk.v1.Desk/Nothing"}, "404", "not_found", "OUTCOME_NOT_EXECUTED"},
			"late": {[]string{"--json", `{"script": "wait"}`, "-H", "Connect-Timeout-Ms: 50", base + "/actors/" + key + "/desk.v1.Desk/Try"},
				"504", "deadline_exceeded", ""},
		} {
			r := curl(c.args...)
			if r.status != c.status || r.field("code") != c.code || r.field("message") == "" {
				t.Errorf("%s: %v", what, r)
			}
			if got := r.field("details", "", "debug", "outcome"); c.outcome != "" && got != c.outcome {
				t.Errorf("%s: the outcome is %q: %v", what, got, r)
			}
		}
		if r := curl("--json", `{}`, "-H", "Connect-Timeout-Ms: 9000", base+"/actors/"+key+"/desk.v1.Desk/Try"); len(r.field("left")) != 4 {
			t.Errorf("the handler does not know the deadline: %v", r)
		}
	})
}

func TestCurlCompresses(t *testing.T) {
	eachCurl(t, func(t *testing.T, base, key string, curl func(...string) reply) {
		padding := strings.Repeat("AAAA", 1<<10)
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		fmt.Fprintf(w, `{"padding": %q}`, padding)
		w.Close()
		file := filepath.Join(t.TempDir(), "request.gz")
		if err := os.WriteFile(file, zipped.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		r := curl("--compressed", "--data-binary", "@"+file, "-H", "Content-Type: application/json", "-H", "Content-Encoding: gzip", base+"/actors/"+key+"/desk.v1.Desk/Try")
		if r.header.Get("Content-Encoding") != "gzip" || r.field("padding") != padding {
			t.Errorf("got %v", r.header)
		}
	})
}

// TestCurlFollows: a stream of Connect's own protocol has a frame of five bytes
// before each message, and works over HTTP/1.1, too.
func TestCurlFollows(t *testing.T) {
	path := program(t, "curl")
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		for version, flag := range curls {
			t.Run("HTTP "+version, func(t *testing.T) {
				key := strings.NewReplacer("/", ".", " ", "-").Replace(t.Name())
				o.add(t, key, 7)
				p := launch(t, "\x00\x00\x00\x00\x02{}", path, flag, "-sSN", "--data-binary", "@-", "-H", "Content-Type: application/connect+json", base+"/actors/"+key+"/desk.v1.Desk/Watch")
				p.await(`"sum":"7"}`)
				for i := range 3 {
					o.add(t, key, 1)
					p.await(fmt.Sprintf(`"sum":"%d"}`, 8+i))
				}
				p.kill()
				o.awaitLeft(t, key)
			})
		}
	})
}
