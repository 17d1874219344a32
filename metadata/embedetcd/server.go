// Package embedetcd runs an etcd server inside the process.
//
// It is one server: for development, for tests, and for small deployments in
// which one process may hold what the cluster agrees on. What it acknowledged
// is on disk and survives a crash, but while its process is down nobody
// reaches it, and nobody has a copy. Whoever can connect may read and write
// everything. For more, run an etcd cluster.
package embedetcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
)

// How fast the server's clock ticks. With nobody to elect but itself it need
// not wait for others, and is ready in a tenth of etcd's default time.
const (
	tickMs     = 10
	electionMs = 100
)

// Server is a running etcd server. Make one with Start.
type Server struct {
	etcd    *embed.Etcd
	clients *grpc.Server // nil until it serves
	url     string
	unlock  func() error
	scratch string // a folder to remove at the end

	closing sync.Once
	err     error
}

// Start starts a server on the folder dir and returns when it serves. The
// folder is made if need be; one that was used before keeps its data, while
// the server's address is new unless WithClientAddress fixes it. An empty dir
// stands for a temporary folder, which Close removes. ctx bounds the start
// only. It fails at once when another server uses the folder.
func Start(ctx context.Context, dir string, opts ...Option) (*Server, error) {
	o := defaults()
	for _, opt := range opts {
		opt(&o)
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("embedetcd: start: %w", err)
	}
	s := &Server{unlock: func() error { return nil }}
	if err := s.start(ctx, dir, o); err != nil {
		return nil, fmt.Errorf("embedetcd: start: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

// start leaves cleaning up after an error to Close.
func (s *Server) start(ctx context.Context, dir string, o options) error {
	if dir == "" {
		scratch, err := os.MkdirTemp("", "cajun-etcd-")
		if err != nil {
			return err
		}
		s.scratch, dir = scratch, scratch
	}
	if err := s.lock(dir); err != nil {
		return err
	}
	logs := newLogCore(o.logger)
	// Where etcd would end the process without a word, it panics with one.
	cfg, err := config(filepath.Join(dir, "etcd"), o, zap.New(logs, zap.WithFatalHook(zapcore.WriteThenPanic)))
	if err != nil {
		return err
	}
	serving := make(chan *grpc.Server, 1)
	cfg.ServiceRegister = func(gs *grpc.Server) { serving <- gs }
	if s.etcd, err = embed.StartEtcd(cfg); err != nil {
		return err
	}
	s.url = "http://" + dialAddress(o.clientAddress, s.etcd.Clients[0].Addr())
	select {
	case s.clients = <-serving:
		logs.serving()
		return nil
	case err := <-s.etcd.Err():
		return err
	case <-ctx.Done():
		return fmt.Errorf("etcd was not ready in time: %w", ctx.Err())
	}
}

// dialAddress is where a client of this host connects. The port is the one
// that the listener got when it was bound, and still holds: nobody can take it
// in between. The host is as asked for, except that one listens on all
// addresses but dials one.
func dialAddress(asked string, bound net.Addr) string {
	host, _, _ := net.SplitHostPort(asked) // check has seen to it
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() {
			host = "::1"
		}
	}
	_, port, _ := net.SplitHostPort(bound.String())
	return net.JoinHostPort(host, port)
}

// lock keeps two servers off one folder. etcd itself would wait for the other
// to end, for as long as that takes.
func (s *Server) lock(dir string) error {
	if err := os.MkdirAll(dir, fileutil.PrivateDirMode); err != nil {
		return err
	}
	path := filepath.Join(dir, "lock")
	file, err := fileutil.TryLockFile(path, os.O_WRONLY|os.O_CREATE, fileutil.PrivateFileMode)
	if errors.Is(err, fileutil.ErrLocked) {
		return fmt.Errorf("another server uses the folder %s: close that one or choose another folder", dir)
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	s.unlock = file.Close
	return nil
}

// config is etcd's configuration: one durable member that talks to nobody.
func config(dir string, o options, logger *zap.Logger) (*embed.Config, error) {
	client, err := url.Parse("http://" + o.clientAddress)
	if err != nil {
		return nil, fmt.Errorf("client address %q: %w", o.clientAddress, err)
	}
	cfg := embed.NewConfig()
	cfg.Name = "cajun"
	cfg.Dir = dir
	cfg.TickMs, cfg.ElectionMs = tickMs, electionMs
	cfg.ListenClientUrls = []url.URL{*client}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	// No peer ever comes, so it listens for none. The member still needs an
	// address to be known by, the same on every start.
	cfg.ListenPeerUrls = nil
	cfg.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.AutoCompactionMode = embed.CompactorModePeriodic
	cfg.AutoCompactionRetention = o.history.String()
	cfg.QuotaBackendBytes = o.quota
	cfg.EnableGRPCGateway = false
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger)
	return cfg, nil
}

// Config is how to connect. The client that it makes logs nothing.
func (s *Server) Config() clientv3.Config {
	return clientv3.Config{
		Endpoints: []string{s.url},
		Logger:    zap.NewNop(),
	}
}

// Close stops the server, cutting off whoever is connected, and returns when
// its files are closed. Closing twice is no error.
func (s *Server) Close() error {
	s.closing.Do(func() {
		if s.etcd != nil {
			s.stop()
		}
		err := s.unlock()
		if s.scratch != "" {
			err = errors.Join(err, os.RemoveAll(s.scratch))
		}
		if err != nil {
			s.err = fmt.Errorf("embedetcd: close: %w", err)
		}
	})
	return s.err
}

// stop ends etcd.
func (s *Server) stop() {
	if s.clients != nil {
		// etcd waits seconds for open watches to end by themselves. They do not.
		s.clients.Stop()
	} else {
		// etcd waits until it serves before it stops, which may never be.
		s.etcd.Server.Stop()
	}
	s.etcd.Close()
}
