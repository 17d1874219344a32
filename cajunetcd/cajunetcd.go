// Package cajunetcd keeps a cluster's metadata and its actors' state in one
// etcd.
package cajunetcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/etcdmeta"
	cajun "github.com/cajun-go/cajun/runtime"
	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/etcdstate"
)

const (
	// firstPause and longestPause bound how long a client waits between its
	// attempts to reach an etcd that is away. The defaults of gRPC, a second and
	// two minutes, would keep nodes suspended long after etcd is back.
	firstPause   = 50 * time.Millisecond
	longestPause = time.Second
	// attempt bounds one of those attempts.
	attempt = 2 * time.Second
	// firstReach bounds how long a start waits for etcd to answer at all, when its
	// context has no deadline: nobody should watch a silent program.
	firstReach = 10 * time.Second
	// keepAlive is after how long a silent connection is asked for a sign of
	// life, and keepAliveTimeout how long that may take.
	keepAlive        = 10 * time.Second
	keepAliveTimeout = 3 * time.Second
)

// With makes a node use the etcd of cfg for both its metadata and its state,
// with the TLS and the credentials that cfg holds. Each node that starts with
// the option gets a client of its own and closes it when it stops. A cfg
// without a logger gets one that discards, as the node reports what matters.
//
// Start fails when no etcd answers before its context ends, or within ten
// seconds if that context has no deadline.
//
// Everything is kept under "/cajun/<cluster>/".
func With(cfg clientv3.Config) cajun.Option {
	return cajun.WithStores(func(ctx context.Context, cluster string) (metadata.Store, state.Store, func() error, error) {
		return open(ctx, cfg, cluster, firstReach)
	})
}

// open opens the stores of one node. Several nodes may start with one option at
// the same time, so cfg is a copy of the option's.
func open(ctx context.Context, cfg clientv3.Config, cluster string, within time.Duration) (metadata.Store, state.Store, func() error, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, within)
		defer cancel()
	}
	cfg = withDefaults(cfg)
	if deadline, _ := ctx.Deadline(); cfg.DialTimeout == 0 {
		// Credentials are checked before there is a client, and without ctx.
		cfg.DialTimeout = max(time.Until(deadline), time.Nanosecond)
	}
	client, err := clientv3.New(cfg)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, nil, nil, noAnswer(cfg, err)
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("cajunetcd: cannot make a client for etcd at %q: %w", cfg.Endpoints, err)
	}
	if err := reach(ctx, client); err != nil {
		return nil, nil, nil, errors.Join(noAnswer(cfg, err), client.Close())
	}
	records, err := etcdstate.New(client, "/cajun/"+cluster+"/")
	if err != nil {
		return nil, nil, nil, errors.Join(err, client.Close())
	}
	meta := etcdmeta.New(client)
	return meta, records, func() error { return errors.Join(records.Close(), meta.Close(), client.Close()) }, nil
}

// withDefaults adds to a configuration what keeps nodes in touch with etcd. What
// the user has set stays.
func withDefaults(cfg clientv3.Config) clientv3.Config {
	if cfg.Logger == nil && cfg.LogConfig == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.DialKeepAliveTime == 0 {
		cfg.DialKeepAliveTime, cfg.DialKeepAliveTimeout = keepAlive, keepAliveTimeout
	}
	pauses := backoff.DefaultConfig
	pauses.BaseDelay, pauses.MaxDelay = firstPause, longestPause
	reconnect := grpc.WithConnectParams(grpc.ConnectParams{Backoff: pauses, MinConnectTimeout: attempt})
	cfg.DialOptions = append([]grpc.DialOption{reconnect}, cfg.DialOptions...) // the later ones win
	return cfg
}

func noAnswer(cfg clientv3.Config, err error) error {
	return fmt.Errorf("cajunetcd: no etcd answers at %q: start one there, or give other endpoints: %w", cfg.Endpoints, err)
}

// reach finds out early whether etcd is there, so that a wrong address is
// reported as such and not as whatever fails first.
func reach(ctx context.Context, client *clientv3.Client) error {
	_, err := client.Get(ctx, "/cajun", clientv3.WithCountOnly())
	return err
}
