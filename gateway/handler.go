package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	cajun "github.com/cajun-go/cajun/runtime"
)

// handler serves the kinds of a node's cluster over HTTP.
type handler struct {
	node   *cajun.Node
	config *config
	logger *slog.Logger
	// forward are the headers that reach actors.
	forward []string
	errors  *connecthttp.ErrorWriter
	// slots holds a token for each request that is served.
	slots chan struct{}
	// own are the gateway's own services, by procedure.
	own routes

	mu sync.RWMutex
	// doors are the kinds that were called, by the name that was called: no more
	// than the cluster has kinds and aliases.
	doors map[string]*door

	// calls are the requests that are served. closing ends when streams have to.
	calls   gauge
	closing context.Context
	close   context.CancelFunc
}

// routes is where Connect mounts procedures.
type routes map[string]http.Handler

// Handle implements connecthttp.ServeMux.
func (r routes) Handle(pattern string, h http.Handler) { r[pattern] = h }

func newHandler(n *cajun.Node, c *config) http.Handler {
	c.hosts.any = len(c.hosts.names) == 0
	h := makeHandler(n, c)
	if err := errors.Join(c.errs...); err != nil {
		// What was meant to keep callers out may be missing.
		h.logger.Error("the gateway refuses every request, as its options make no sense", "error", err)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.fail(w, r, refuse(connect.CodeInternal, "the gateway is set up wrongly; its log tells why"))
		})
	}
	return h.cross(h)
}

func makeHandler(n *cajun.Node, c *config) *handler {
	h := &handler{node: n, config: c, logger: c.logger, errors: connecthttp.NewErrorWriter(), slots: make(chan struct{}, c.maxRequests), own: routes{}, doors: make(map[string]*door)}
	if h.logger == nil {
		h.logger = n.Logger()
	}
	h.forward = []string{"Traceparent", "Tracestate", "Baggage"}
	for _, name := range c.forward {
		if !strings.EqualFold(name, PrincipalHeader) {
			h.forward = append(h.forward, textproto.CanonicalMIMEHeaderKey(name))
		}
	}
	slices.Sort(h.forward)
	h.forward = slices.Compact(h.forward)
	h.closing, h.close = context.WithCancel(context.Background())
	h.serveOwn()
	return h
}

// interceptors are the user's with the gateway's own around and within them.
func (h *handler) interceptors(innermost ...connect.ServerInterceptor) []connect.ServerInterceptor {
	return slices.Concat([]connect.ServerInterceptor{h.recovered}, h.config.interceptors, []connect.ServerInterceptor{reached}, innermost)
}

// options are those of every procedure.
func (h *handler) options(more ...connecthttp.Option) []connecthttp.Option {
	return append(more, connecthttp.WithReadMaxBytes(h.config.maxMessage), connecthttp.WithCompressMinBytes(compressMin))
}

// compressMin is from how many bytes on a reply is worth compressing.
const compressMin = 1 << 10

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.calls.enter()
	defer h.calls.leave()
	if r.ProtoMajor == 1 && h.node.Draining() {
		// A client that kept the connection could send its next request just when the
		// gateway closes it. Over HTTP/2 the server tells clients which ones it took.
		w.Header().Set("Connection", "close")
	}
	t := newTransfer(w, r, h.config.transferTimeout)
	defer t.end()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		h.fail(t, r, refuse(connect.CodeResourceExhausted, "the gateway serves as many requests as it may: try again later"))
		return
	}
	defer t.drain()
	if err := h.config.hosts.check(r.Host); err != nil {
		h.fail(t, r, err)
		return
	}
	a, err := parseAddress(r)
	if err != nil {
		h.fail(t, r, err)
		return
	}
	if r.Method == http.MethodGet {
		w.Header().Add("Vary", KeyHeader) // no cache gives an actor's answer for another's
	}
	procedure, err := h.route(r, a)
	if err != nil {
		h.fail(t, r, err)
		return
	}
	in := &inbound{address: a, request: r}
	r = r.WithContext(context.WithValue(r.Context(), inboundKey{}, in))
	r.Body = t
	if streams(a.service) {
		stop := context.AfterFunc(h.closing, t.cut)
		defer stop()
	}
	procedure.ServeHTTP(t, r)
	if t.refused != 0 {
		h.explain(t, r)
	}
}

// route finds who serves a procedure. It creates nothing for services that no
// node hosts.
func (h *handler) route(r *http.Request, a address) (http.Handler, error) {
	if procedure, ok := h.own[a.procedure()]; ok {
		return procedure, nil // tools send a key along that is meant for an actor
	}
	if reserved(a.service) {
		return nil, refuse(connect.CodeNotFound, "the gateway does not serve %s", a.service)
	}
	d, err := h.door(r.Context(), a.service)
	if err != nil {
		return nil, err
	}
	procedure, ok := d.routes[a.procedure()]
	if !ok {
		return nil, refuse(connect.CodeNotFound, "the service %s has no method %s", a.service, a.method)
	}
	return procedure, nil
}

// reserved reports whether a name is one of those that no actor is served under:
// the services by which nodes talk to each other, and those of gateways.
func reserved(service string) bool {
	return strings.HasPrefix(service, "cajun.") || strings.HasPrefix(service, "grpc.")
}

// streams reports whether calls of a service last for as long as their clients
// want, so that they have to end when the gateway closes.
func streams(service string) bool { return strings.HasPrefix(service, "grpc.reflection.") }

// explain says what is wrong with a request that Connect has refused by its status,
// and that no actor was reached.
func (h *handler) explain(t *transfer, r *http.Request) {
	var err error
	switch {
	case t.refused == http.StatusMethodNotAllowed:
		err = refuse(connect.CodeInvalidArgument, "the method is called by %s and not by %s", t.Header().Get("Allow"), r.Method)
	case r.Method == http.MethodGet:
		err = refuse(connect.CodeInvalidArgument, "a call by GET has its message in the query, as ?encoding=json&message={}, and no body")
	default:
		own := slices.DeleteFunc(strings.Split(t.Header().Get("Accept-Post"), ", "), func(accepted string) bool {
			return strings.Contains(accepted, ";") || strings.Contains(accepted, "grpc")
		})
		err = refuse(connect.CodeInvalidArgument, "the method does not take a body of the type %.100q: send the header Content-Type: %s, or what gRPC sends", r.Header.Get("Content-Type"), strings.Join(own, " or "))
	}
	plain := (&http.Request{Method: http.MethodPost, Header: http.Header{}}).WithContext(r.Context()) // the answer is JSON whatever was sent
	h.fail(refusal{t}, plain, err)
}

// refusal writes an error under the status of a refusal.
type refusal struct{ *transfer }

// WriteHeader implements http.ResponseWriter.
func (r refusal) WriteHeader(int) { r.ResponseWriter.WriteHeader(r.refused) }

// fail writes an error in the way of the request's protocol.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if werr := h.errors.Write(w, r, err); werr != nil {
		h.logger.Debug("an error could not be told to its client", "error", werr)
	}
}
