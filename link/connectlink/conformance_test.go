package connectlink

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/link/linktest"
)

func TestConformance(t *testing.T) {
	linktest.Run(t, func(testing.TB) func() link.Transport {
		return func() link.Transport { return &mortal{Transport: New()} }
	})
}

func TestConformanceMutualTLS(t *testing.T) {
	config := mutualTLS(t)
	linktest.Run(t, func(testing.TB) func() link.Transport {
		return func() link.Transport { return &mortal{Transport: New(), tls: config} }
	})
}

// mortal lets a test kill its endpoint: all connections close without a word,
// and nobody hears the receiver any more.
type mortal struct {
	link.Transport
	tls      *tls.Config
	mu       sync.Mutex
	endpoint *endpoint
	dead     atomic.Bool
}

func (m *mortal) Open(ctx context.Context, cfg link.Config) (link.Endpoint, error) {
	cfg.TLS = m.tls
	cfg.Receiver = &muted{Receiver: cfg.Receiver, dead: &m.dead}
	opened, err := m.Transport.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.endpoint = opened.(*endpoint)
	return opened, nil
}

func (m *mortal) Kill(string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead.Store(true)
	if m.endpoint.server != nil {
		_ = m.endpoint.server.Close()
	}
	m.endpoint.eachStream(func(s *stream) { s.abort() })
	_ = m.endpoint.Close()
}

type muted struct {
	link.Receiver
	dead *atomic.Bool
}

func (r *muted) Receive(from string, f link.Frame) {
	if !r.dead.Load() {
		r.Receiver.Receive(from, f)
	}
}

func (r *muted) PeerDown(session string, err error) {
	if !r.dead.Load() {
		r.Receiver.PeerDown(session, err)
	}
}

// mutualTLS returns a configuration whose one certificate identifies every
// node of a cluster on this host, and without which nobody gets in.
func mutualTLS(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cajun test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IsCA:        true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}
}
