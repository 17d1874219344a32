package cajun

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"
	"time"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/link/connectlink"
	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/state"
)

const (
	// DefaultCluster is the cluster's name unless WithCluster says otherwise.
	DefaultCluster = "default"
	// DefaultCallTimeout bounds calls whose context has no deadline.
	DefaultCallTimeout = 30 * time.Second
)

// Option configures Start.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

// config is what the options of one node add up to.
type config struct {
	metadata    metadata.Store
	state       state.Store
	transport   link.Transport
	cluster     string
	name        string
	listen      string
	advertise   string
	tls         *tls.Config
	insecure    bool
	clientOnly  bool
	delivery    guarantee.Level
	callTimeout time.Duration
	// callTimeoutSet says that the call timeout is the user's and no default.
	callTimeoutSet bool
	leaseTTL       time.Duration
	weight         float64
	maxMessage     int
	inbound        []Interceptor
	outbound       []Interceptor
	services       []func(*Node) (Service, error)
	logger         *slog.Logger
	hosted         []*hostedKind
	openStores     func(context.Context, string) (metadata.Store, state.Store, func() error, error)
	closeStores    func() error
	errs           []error
}

// Options makes one option of several.
func Options(opts ...Option) Option {
	return optionFunc(func(c *config) {
		for _, o := range opts {
			if o != nil {
				o.apply(c)
			}
		}
	})
}

// WithMetadata gives the node the store that its cluster agrees on. Without
// one, Start refuses: a cluster that nobody shares is never what is meant.
func WithMetadata(s metadata.Store) Option {
	return optionFunc(func(c *config) { c.metadata = s })
}

// WithState gives the node the store of its actors' durable state. It is
// needed for kinds with state and for EXACTLY_ONCE calls.
func WithState(s state.Store) Option { return optionFunc(func(c *config) { c.state = s }) }

// WithTransport makes nodes talk over t instead of over Connect.
func WithTransport(t link.Transport) Option { return optionFunc(func(c *config) { c.transport = t }) }

// WithCluster names the cluster to join; clusters with different names share a
// metadata store without seeing each other.
func WithCluster(name string) Option { return optionFunc(func(c *config) { c.cluster = name }) }

// WithName gives the node a name for people. Else it is named after its host
// and process.
func WithName(name string) Option { return optionFunc(func(c *config) { c.name = name }) }

// WithListen sets the address that the link listens on, as "host:port". Else
// it is a free port of the loopback interface.
func WithListen(addr string) Option { return optionFunc(func(c *config) { c.listen = addr }) }

// WithAdvertise sets the address that other nodes dial, when it differs from
// the one listened on.
func WithAdvertise(addr string) Option { return optionFunc(func(c *config) { c.advertise = addr }) }

// WithTLS protects the link: the config's certificates identify the node to
// both sides, its RootCAs check the nodes that are dialed, and its ClientAuth
// and ClientCAs say which nodes may dial.
func WithTLS(t *tls.Config) Option { return optionFunc(func(c *config) { c.tls = t }) }

// WithInsecureListen consents to a link that listens beyond the loopback
// interface without TLS: everybody who reaches it can then call every actor.
func WithInsecureListen() Option { return optionFunc(func(c *config) { c.insecure = true }) }

// WithClientOnly makes a node that calls, but hosts nothing and never leads.
func WithClientOnly() Option { return optionFunc(func(c *config) { c.clientOnly = true }) }

// WithDelivery sets the level of methods whose proto declares none. Else it is
// AT_MOST_ONCE.
func WithDelivery(l guarantee.Level) Option { return optionFunc(func(c *config) { c.delivery = l }) }

// WithCallTimeout bounds calls whose context has no deadline and whose method
// declares no timeout. Else it is DefaultCallTimeout.
func WithCallTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) {
		if d <= 0 {
			c.errs = append(c.errs, fmt.Errorf("cajun: WithCallTimeout(%v): give a positive time", d))
		}
		c.callTimeout, c.callTimeoutSet = d, true
	})
}

// WithLeaseTTL sets how long the cluster waits for a silent node before it
// takes the node for dead. Else it is member.DefaultTTL.
func WithLeaseTTL(d time.Duration) Option {
	return optionFunc(func(c *config) {
		if d < member.MinTTL {
			c.errs = append(c.errs, fmt.Errorf("cajun: WithLeaseTTL(%v): give at least %v", d, member.MinTTL))
		}
		c.leaseTTL = d
	})
}

// WithWeight sets the node's share of the shards relative to other nodes. Else
// it is 1.
func WithWeight(w float64) Option {
	return optionFunc(func(c *config) {
		if !(w > 0) || math.IsInf(w, 1) {
			c.errs = append(c.errs, fmt.Errorf("cajun: WithWeight(%v): give a positive number", w))
		}
		c.weight = w
	})
}

// WithInbound puts interceptors around every turn, the first one outermost.
func WithInbound(is ...Interceptor) Option {
	return optionFunc(func(c *config) {
		c.needInterceptors("WithInbound", is)
		c.inbound = append(c.inbound, is...)
	})
}

// WithOutbound puts interceptors around every call, the first one outermost.
func WithOutbound(is ...Interceptor) Option {
	return optionFunc(func(c *config) {
		c.needInterceptors("WithOutbound", is)
		c.outbound = append(c.outbound, is...)
	})
}

func (c *config) needInterceptors(option string, is []Interceptor) {
	if slices.ContainsFunc(is, func(i Interceptor) bool { return i == nil }) {
		c.errs = append(c.errs, fmt.Errorf("cajun: %s was given a nil interceptor: leave it out", option))
	}
}

// Service is something that lives and dies with a node, such as a gateway.
type Service interface {
	// Close stops the service and waits for it.
	Close() error
}

// Announced is a Service whose address the cluster is told, as
// ClusterMember.Gateway.
type Announced interface {
	Service
	// GatewayAddress is what callers outside the cluster dial, as "host:port".
	GatewayAddress() string
}

// WithService starts a service once the node runs, and closes it before the
// node stops. An error fails Start.
func WithService(start func(*Node) (Service, error)) Option {
	return optionFunc(func(c *config) {
		if start == nil {
			c.errs = append(c.errs, errors.New("cajun: WithService was given no function that starts the service"))
		}
		c.services = append(c.services, start)
	})
}

// WithLogger sets where the node logs to. Else it is slog.Default. Actors' keys
// appear only at debug level.
func WithLogger(l *slog.Logger) Option { return optionFunc(func(c *config) { c.logger = l }) }

// WithStores gives the node stores that are opened for it when it starts, once
// the cluster's name is known, and closed by the returned function when it has
// stopped. The state store may be nil.
func WithStores(open func(ctx context.Context, cluster string) (metadata.Store, state.Store, func() error, error)) Option {
	return optionFunc(func(c *config) { c.openStores = open })
}

func newConfig(opts []Option) (*config, error) {
	c := &config{cluster: DefaultCluster, callTimeout: DefaultCallTimeout, leaseTTL: member.DefaultTTL, weight: 1, maxMessage: link.DefaultMaxMessage}
	Options(opts...).apply(c)
	if c.logger == nil {
		c.logger = slog.Default()
	}
	if c.name == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "node"
		}
		c.name = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	if c.transport == nil {
		c.transport = connectlink.New()
	}
	return c, errors.Join(append(c.errs, c.check()...)...)
}

// check finds what is wrong with the options.
func (c *config) check() (errs []error) {
	if c.metadata == nil && c.openStores == nil {
		errs = append(errs, errors.New("cajun: no metadata store: add cajunetcd.With, or WithMetadata with a store that all nodes of the cluster share"))
	}
	if !c.delivery.Valid() {
		errs = append(errs, fmt.Errorf("cajun: WithDelivery(%v): that is no delivery level", c.delivery))
	}
	if c.clientOnly && len(c.hosted) > 0 {
		errs = append(errs, fmt.Errorf("cajun: WithClientOnly and the Host option of %s contradict each other: drop one", c.hosted[0].kind.Name))
	}
	seen := make(map[string]bool)
	for _, h := range c.hosted {
		if seen[h.kind.Name] {
			errs = append(errs, fmt.Errorf("cajun: the kind %s is hosted twice", h.kind.Name))
		}
		seen[h.kind.Name] = true
		if err := h.check(c.state != nil || c.openStores != nil); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}
