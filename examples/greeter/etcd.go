package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/cajun-go/cajun/metadata/embedetcd"
)

const (
	// etcdAddress is where -serve keeps its etcd, for the next terminal to find.
	etcdAddress = "127.0.0.1:2379"
	// etcdPatience is how long an etcd may take to give its first answer.
	etcdPatience = 5 * time.Second
)

// openEtcd returns how to reach the etcd that the cluster meets in. Without
// -etcd it starts one, at the given address or else on a free port.
func (s settings) openEtcd(ctx context.Context, address string) (clientv3.Config, func(), error) {
	if s.etcd != "" {
		etcd := clientv3.Config{Endpoints: s.endpoints(), DialTimeout: etcdPatience, Logger: zap.NewNop()}
		return etcd, func() {}, reach(ctx, etcd)
	}
	var opts []embedetcd.Option
	if address != "" {
		opts = append(opts, embedetcd.WithClientAddress(address))
	}
	server, err := embedetcd.Start(ctx, "", opts...)
	if err != nil {
		err = fmt.Errorf("the embedded etcd did not start: %w", err)
		if listen := (*net.OpError)(nil); address != "" && errors.As(err, &listen) && listen.Op == "listen" {
			err = fmt.Errorf("%w: if another greeter runs there, join it with -etcd http://%s", err, address)
		}
		return clientv3.Config{}, nil, err
	}
	return server.Config(), func() { server.Close() }, nil
}

// reach finds out whether an etcd answers, which a node would wait for much
// longer and in silence.
func reach(ctx context.Context, etcd clientv3.Config) error {
	client, err := clientv3.New(etcd)
	if err != nil {
		return fmt.Errorf("-etcd %s: %w", strings.Join(etcd.Endpoints, ","), err)
	}
	defer client.Close()
	patience, cancel := context.WithTimeout(ctx, etcdPatience)
	defer cancel()
	for {
		_, err := client.Get(patience, "/cajun", clientv3.WithCountOnly())
		if err == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-patience.Done():
			if ctx.Err() != nil {
				return errInterrupted
			}
			return fmt.Errorf("no etcd answers at %s: start one there, or a node that holds one with -serve, or correct -etcd", strings.Join(etcd.Endpoints, ","))
		}
	}
}
