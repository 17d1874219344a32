package cajun_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/metadata/memmeta"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
	"github.com/cajun-go/cajun/state/memstate"
)

// mutualTLS makes a config whose one certificate identifies every node to every
// other.
func mutualTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "node"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      pool,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}
}

// TestNodesOverTLS: nodes that know each other's certificates talk, one without
// a certificate does not get through, and a listener for everybody has to be
// asked for.
func TestNodesOverTLS(t *testing.T) {
	t.Parallel()
	meta, records := memmeta.New(), memstate.New()
	t.Cleanup(func() { meta.Close(); records.Close() })
	s := newStage()
	start := func(opts ...cajun.Option) *cajun.Node {
		t.Helper()
		n, err := cajun.Start(testContext(t), append([]cajun.Option{cajun.WithMetadata(meta), cajun.WithState(records), cajun.WithCallTimeout(2 * time.Second)}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		return n
	}
	config := mutualTLS(t)
	start(s.options(), cajun.WithTLS(config))
	friend := start(cajun.WithClientOnly(), cajun.WithTLS(config))
	if _, err := probev1cajun.NewEchoPid(friend, "a").Echo(testContext(t), &probev1.EchoRequest{}); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	anonymous := config.Clone()
	anonymous.Certificates = nil
	for name, opt := range map[string]cajun.Option{"without a certificate": cajun.WithTLS(anonymous), "without TLS": cajun.Options()} {
		stranger := start(cajun.WithClientOnly(), opt)
		_, err := probev1cajun.NewEchoPid(stranger, "a").Echo(t.Context(), &probev1.EchoRequest{})
		wantOutcome(t, err, guarantee.NotExecuted)
		if s.runsOf("a") != 1 {
			t.Errorf("%s: the handler ran %d times, want only the friend's", name, s.runsOf("a"))
		}
	}
	_, err := cajun.Start(testContext(t), cajun.WithMetadata(meta), cajun.WithState(records), s.options(), cajun.WithListen("0.0.0.0:0"))
	if err == nil || !strings.Contains(err.Error(), "WithTLS") || !strings.Contains(err.Error(), "WithInsecureListen") {
		t.Errorf("a listener for everybody without TLS: %v", err)
	}
}
