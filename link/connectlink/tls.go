package connectlink

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/cajun-go/cajun/link"
)

// serverTLS returns what the listener uses, or nil without TLS.
func serverTLS(cfg *link.Config) (*tls.Config, error) {
	if cfg.TLS == nil {
		return nil, nil
	}
	if len(cfg.TLS.Certificates) == 0 && cfg.TLS.GetCertificate == nil && cfg.TLS.GetConfigForClient == nil {
		return nil, errors.New("connectlink: Config.TLS has no certificate for the listener; " +
			"set Certificates or GetCertificate, or make the node ClientOnly")
	}
	own := cfg.TLS.Clone()
	own.NextProtos = []string{"h2"}
	return own, nil
}

// clientTLS returns what dials use, or nil without TLS.
func clientTLS(cfg *link.Config) *tls.Config {
	if cfg.TLS == nil {
		return nil
	}
	own := cfg.TLS.Clone()
	own.NextProtos = []string{"h2"}
	return own
}

// checkListen refuses to open an unprotected door to the network by accident.
func checkListen(cfg *link.Config) error {
	if cfg.TLS != nil || cfg.Insecure {
		return nil
	}
	host, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return fmt.Errorf("connectlink: the listen address %q is not host:port: %w", cfg.Listen, err)
	}
	if host == "localhost" {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return nil
	}
	return fmt.Errorf("connectlink: listening on %q without TLS would let everyone on that network call every actor: "+
		"protect the link with Config.TLS (cajun.WithTLS), or consent with Config.Insecure (cajun.WithInsecureListen), "+
		"or listen on a loopback address", cfg.Listen)
}

// advertised is the address that others dial, given the one that was bound.
func advertised(cfg *link.Config, bound net.Addr) (string, error) {
	if cfg.Advertise != "" {
		return cfg.Advertise, nil
	}
	if tcp, ok := bound.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return "", fmt.Errorf("connectlink: listening on all interfaces (%v) gives no address for others to dial: "+
			"set Config.Advertise (cajun.WithAdvertise)", bound)
	}
	return bound.String(), nil
}
