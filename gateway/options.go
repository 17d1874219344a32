package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect/v2"

	cajun "github.com/cajun-go/cajun/runtime"
)

// Defaults of the limits.
const (
	// DefaultMaxMessage is how large a request may be, in bytes, after it was
	// decompressed. The nodes take no larger ones.
	DefaultMaxMessage = 4 << 20
	// DefaultMaxHeader is how large a request's line and headers may be, in bytes.
	// A message that is sent by GET is part of that.
	DefaultMaxHeader = 64 << 10
	// DefaultMaxRequests is how many requests are served at once.
	DefaultMaxRequests = 1024
	// DefaultMaxConnections is how many connections are open at once.
	DefaultMaxConnections = 4096
	// DefaultHeaderTimeout is how long a request's headers may take to arrive.
	DefaultHeaderTimeout = 10 * time.Second
	// DefaultTransferTimeout is how long a request's body may take to arrive, and
	// each piece of a response to be taken.
	DefaultTransferTimeout = 30 * time.Second
	// DefaultIdleTimeout is how long a connection stays open without a request.
	DefaultIdleTimeout = 2 * time.Minute
	// DefaultGrace is how long requests may take to end when the gateway closes.
	DefaultGrace = 5 * time.Second
)

// maxStreams is how many requests one HTTP/2 connection may carry at once.
const maxStreams = 256

// Option changes what a gateway does.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

// Authorizer decides about one call; see WithAuthorize.
type Authorizer func(ctx context.Context, r Request) (principal string, err error)

// config is what the options add up to.
type config struct {
	tls          *tls.Config
	insecure     bool
	advertise    string
	authorize    Authorizer
	interceptors []connect.ServerInterceptor
	forward      []string
	hosts        hosts
	origins      []string
	corsHeaders  []string
	hidden       bool
	logger       *slog.Logger

	maxMessage, maxHeader, maxRequests, maxConnections int

	headerTimeout, transferTimeout, idleTimeout, grace time.Duration
	errs                                               []error
}

func newConfig(opts []Option) *config {
	c := &config{
		maxMessage: DefaultMaxMessage, maxHeader: DefaultMaxHeader, maxRequests: DefaultMaxRequests, maxConnections: DefaultMaxConnections,
		headerTimeout: DefaultHeaderTimeout, transferTimeout: DefaultTransferTimeout, idleTimeout: DefaultIdleTimeout, grace: DefaultGrace,
	}
	for _, o := range opts {
		if o != nil {
			o.apply(c)
		}
	}
	return c
}

// WithTLS serves HTTPS only. The config's certificates identify the gateway, and
// its ClientAuth and ClientCAs say who may call; WithAuthorize gets to see the
// certificates of clients. HTTP/2 and HTTP/1.1 are negotiated by ALPN.
func WithTLS(t *tls.Config) Option {
	return optionFunc(func(c *config) {
		if t == nil {
			c.errs = append(c.errs, errors.New("gateway: WithTLS was given no config, and would serve without TLS: leave it out to do so"))
		}
		c.tls = t
	})
}

// WithInsecure consents to a gateway that listens beyond the loopback interface
// without TLS, because the network is trusted or TLS ends before it: what is
// sent can then be read and changed on the way, credentials included.
func WithInsecure() Option { return optionFunc(func(c *config) { c.insecure = true }) }

// WithAdvertise sets the address that the cluster is told (see
// cajun.ClusterMember), as "host:port", when it differs from the one listened on.
func WithAdvertise(addr string) Option { return optionFunc(func(c *config) { c.advertise = addr }) }

// WithAuthorize has f decide about every call, those of reflection and health
// included, before anything is routed. It runs inside the interceptors of
// WithInterceptors, and so sees what they put on the context.
//
// When f returns an error the call is refused: with that error if it is a
// *connect.Error of its own making, and as PermissionDenied otherwise. The
// principal that it returns, if any, scopes idempotency keys, so that nobody gets
// the answers of another, and reaches the actor as the header PrincipalHeader.
//
// When the key of the actor is in the path or in a header, f is asked before the
// body is read; a key that is only in the body has to be read first.
func WithAuthorize(f Authorizer) Option {
	return optionFunc(func(c *config) {
		if f == nil {
			c.errs = append(c.errs, errors.New("gateway: WithAuthorize was given no function"))
		}
		c.authorize = f
	})
}

// WithInterceptors puts interceptors of Connect around every call, reflection
// and health included, the first one outermost. What they put on the context
// with cajun.SetHeader or cajun.Deliver holds for the call of the actor. An error
// that one of them got from a call of its own is told like one of WithAuthorize, with
// the outcome of the call that is served: as not executed if it did not get past them,
// and else as maybe executed.
func WithInterceptors(is ...connect.ServerInterceptor) Option {
	return optionFunc(func(c *config) {
		for _, i := range is {
			if i == nil {
				c.errs = append(c.errs, errors.New("gateway: WithInterceptors was given a nil interceptor: leave it out"))
				continue
			}
			c.interceptors = append(c.interceptors, i)
		}
	})
}

// WithForwardHeaders lets these headers of requests reach the actors (see
// cajun.Call.Header), with names in lower case and values of one name joined by
// ", ". Else only those of W3C Trace Context do: traceparent, tracestate and
// baggage. Headers of one-way calls are stored with them, so think twice before
// naming one that holds a credential.
func WithForwardHeaders(names ...string) Option {
	return optionFunc(func(c *config) { c.forward = append(c.forward, names...) })
}

// WithCORS lets scripts of pages from these origins, such as
// "https://app.example.com", call the gateway; "*" stands for all. Else browsers
// let none of another origin. Cookies are never let through.
func WithCORS(origins ...string) Option {
	return optionFunc(func(c *config) { c.origins = append(c.origins, origins...) })
}

// WithCORSHeaders lets such scripts send these headers besides those of the
// protocols, Cajun-Key, Idempotency-Key and Authorization.
func WithCORSHeaders(names ...string) Option {
	return optionFunc(func(c *config) { c.corsHeaders = append(c.corsHeaders, names...) })
}

// WithoutReflection does not tell what the services of the cluster look like.
// Tools such as grpcurl then need the proto files.
func WithoutReflection() Option { return optionFunc(func(c *config) { c.hidden = true }) }

// WithLogger sets where the gateway logs to. Else it is the node's logger. Keys,
// bodies and headers are not logged.
func WithLogger(l *slog.Logger) Option { return optionFunc(func(c *config) { c.logger = l }) }

// WithMaxMessage sets how large a request may be, in bytes, after it was
// decompressed. Else it is DefaultMaxMessage.
func WithMaxMessage(bytes int) Option {
	return positive("WithMaxMessage", bytes, func(c *config) *int { return &c.maxMessage })
}

// WithMaxHeader sets how large a request's line and headers may be, in bytes.
// Else it is DefaultMaxHeader. A handler of NewHandler leaves that to its server.
func WithMaxHeader(bytes int) Option {
	return positive("WithMaxHeader", bytes, func(c *config) *int { return &c.maxHeader })
}

// WithMaxRequests sets how many requests are served at once, streams included;
// further ones are refused as ResourceExhausted. Else it is DefaultMaxRequests.
func WithMaxRequests(n int) Option {
	return positive("WithMaxRequests", n, func(c *config) *int { return &c.maxRequests })
}

// WithMaxConnections sets how many connections are open at once; further ones
// wait to be accepted. Else it is DefaultMaxConnections. A handler of NewHandler
// leaves that to its server.
func WithMaxConnections(n int) Option {
	return positive("WithMaxConnections", n, func(c *config) *int { return &c.maxConnections })
}

// WithHeaderTimeout sets how long a request's headers may take to arrive. Else
// it is DefaultHeaderTimeout. A handler of NewHandler leaves that to its server.
func WithHeaderTimeout(d time.Duration) Option {
	return positive("WithHeaderTimeout", d, func(c *config) *time.Duration { return &c.headerTimeout })
}

// WithTransferTimeout sets how long a request's body may take to arrive in all,
// and each piece of a response to be taken: a client that is slower is cut off.
// Else it is DefaultTransferTimeout. It does not bound the actor, nor how long a
// stream lasts.
func WithTransferTimeout(d time.Duration) Option {
	return positive("WithTransferTimeout", d, func(c *config) *time.Duration { return &c.transferTimeout })
}

// WithIdleTimeout sets how long a connection stays open without a request. Else
// it is DefaultIdleTimeout. A handler of NewHandler leaves that to its server.
func WithIdleTimeout(d time.Duration) Option {
	return positive("WithIdleTimeout", d, func(c *config) *time.Duration { return &c.idleTimeout })
}

// WithGrace sets how long requests may take to end when the gateway closes,
// before they are cut off. Else it is DefaultGrace.
func WithGrace(d time.Duration) Option {
	return positive("WithGrace", d, func(c *config) *time.Duration { return &c.grace })
}

// positive sets what field points to, unless the value makes no sense.
func positive[T int | time.Duration](option string, v T, field func(*config) *T) Option {
	return optionFunc(func(c *config) {
		if v <= 0 {
			c.errs = append(c.errs, errors.New("gateway: "+option+" needs a positive value"))
			return
		}
		*field(c) = v
	})
}

// With gives the node a gateway that listens on addr, as "host:port"; port 0 is a
// free one. The node does not start when the gateway cannot, and closes it before
// it stops.
func With(addr string, opts ...Option) cajun.Option {
	return cajun.WithService(func(n *cajun.Node) (cajun.Service, error) { return listen(n, addr, newConfig(opts)) })
}

// NewHandler returns the gateway of a node as a handler, to be mounted at the
// root of a server of your own. It needs HTTP/2 for gRPC; set the limits that are
// a server's: for headers, connections, idle ones and for closing. With options
// that With would refuse, it refuses every request and logs why. Calls fail once
// the node is closed.
func NewHandler(n *cajun.Node, opts ...Option) http.Handler { return newHandler(n, newConfig(opts)) }
