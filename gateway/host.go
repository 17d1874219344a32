package gateway

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"connectrpc.com/connect/v2"
)

// hosts are the names by which a gateway lets itself be called. A page can have a
// name of its own resolve to a loopback address, and so call what listens there for
// whoever has opened it (DNS rebinding): the browser takes it for the page's own
// server, and only the name in the request tells.
type hosts struct {
	any   bool
	names []string
}

// WithHosts names the hosts, such as "api.example.com", by which clients call the
// gateway; others are refused, but for localhost and addresses. Without it a gateway
// that listens on a loopback address without TLS is called as localhost or by an
// address only, and every other one by any name. A handler of NewHandler knows
// nothing of its listener and takes any.
func WithHosts(names ...string) Option {
	return optionFunc(func(c *config) {
		for _, name := range names {
			if name == "" || strings.ContainsAny(name, ":/* ") {
				c.errs = append(c.errs, fmt.Errorf("gateway: WithHosts was given %q: give names without scheme, port and wildcards", name))
			}
			c.hosts.names = append(c.hosts.names, name)
		}
	})
}

// check refuses a request for another host.
func (h hosts) check(host string) error {
	name := host
	if bare, _, err := net.SplitHostPort(host); err == nil {
		name = bare
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if h.any || name == "" || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return nil
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return nil // nothing was resolved
	}
	for _, known := range h.names {
		if strings.EqualFold(strings.TrimSuffix(known, "."), name) {
			return nil
		}
	}
	return refuse(connect.CodePermissionDenied, "the gateway is not called by the name %.100q: call it as localhost or by its address, or name the host by gateway.WithHosts", name)
}

// isLoopback reports whether only this machine reaches what listens on a host.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
