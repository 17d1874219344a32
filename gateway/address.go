package gateway

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"connectrpc.com/connect/v2"

	cajun "github.com/cajun-go/cajun/runtime"
)

// KeyHeader is the header that names an actor's key, percent-encoded.
const KeyHeader = "Cajun-Key"

// actorsPrefix begins the paths that name an actor's key.
const actorsPrefix = "/actors/"

// address is what a request says about whom it calls.
type address struct {
	service, method string
	// key is the actor's, if the path or a header tells it.
	key   string
	keyed bool
}

// procedure is the path under which Connect knows the method.
func (a address) procedure() string { return "/" + a.service + "/" + a.method }

// parseAddress reads a request's path and headers.
func parseAddress(r *http.Request) (address, error) {
	a, err := parsePath(r.URL.EscapedPath())
	if err != nil {
		return a, err
	}
	values := r.Header.Values(KeyHeader)
	if len(values) == 0 {
		return a, nil
	}
	if len(values) > 1 {
		return a, refuse(connect.CodeInvalidArgument, "the header %s is there %d times: an actor has one key", KeyHeader, len(values))
	}
	key, err := parseKey(values[0], "the header "+KeyHeader)
	if err != nil {
		return a, err
	}
	if a.keyed && a.key != key {
		return a, refuse(connect.CodeInvalidArgument, "the path names the key %q, and the header %s names %q: leave one out or make them equal", a.key, KeyHeader, key)
	}
	a.key, a.keyed = key, true
	return a, nil
}

// parsePath reads "/<service>/<method>", which "/actors/<key>" may precede. All
// between that and the last two elements is the key: clients that decode the path
// of their base URL send a slash of the key as it is.
func parsePath(path string) (a address, err error) {
	rest, slash := path, strings.LastIndexByte(path, '/')
	if slash < 0 {
		return a, noSuchPath()
	}
	rest, a.method = path[:slash], path[slash+1:]
	if slash = strings.LastIndexByte(rest, '/'); slash < 0 {
		return a, noSuchPath()
	}
	rest, a.service = rest[:slash], rest[slash+1:]
	if !isName(a.service) || !isName(a.method) {
		return a, noSuchPath()
	}
	if rest == "" {
		return a, nil
	}
	encoded, ok := strings.CutPrefix(rest+"/", actorsPrefix)
	if !ok {
		return a, noSuchPath()
	}
	a.key, err = parseKey(strings.TrimSuffix(encoded, "/"), "the path")
	a.keyed = true
	return a, err
}

func noSuchPath() error {
	return refuse(connect.CodeNotFound, "no such path: call /actors/<key>/<package.Service>/<Method>, or /<package.Service>/<Method> with the header %s", KeyHeader)
}

// parseKey decodes an actor's key.
func parseKey(encoded, where string) (string, error) {
	key, err := url.PathUnescape(encoded)
	switch {
	case err != nil:
		return "", refuse(connect.CodeInvalidArgument, "the key in %s is not percent-encoded: write a %% as %%25", where)
	case key == "":
		return "", refuse(connect.CodeInvalidArgument, "the key in %s is empty: every actor has a key of 1 to %d bytes", where, cajun.MaxKey)
	case len(key) > cajun.MaxKey:
		return "", refuse(connect.CodeInvalidArgument, "the key in %s has %d bytes, at most %d are taken: use a hash of it", where, len(key), cajun.MaxKey)
	case !utf8.ValidString(key):
		return "", refuse(connect.CodeInvalidArgument, "the key in %s is not UTF-8: encode it, for example in base64", where)
	}
	return key, nil
}

// isName reports whether an element of a path can be a name in a proto file.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '.' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return s != "" && len(s) <= 1024
}
