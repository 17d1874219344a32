package embedetcd_test

import (
	"context"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/etcdmeta"
	"github.com/cajun-go/cajun/metadata/metatest"
)

// compacting lets the suite compact through a client of its own.
type compacting struct {
	*etcdmeta.Store
	client *clientv3.Client
}

func (c compacting) Compact(ctx context.Context, revision int64) error {
	_, err := c.client.Compact(ctx, revision)
	return err
}

func TestConformance(t *testing.T) {
	server := start(t, "")
	client, err := clientv3.New(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	t.Run("Open", func(t *testing.T) {
		metatest.Run(t, func(t testing.TB) metadata.Store { return compacting{open(t, server), client} })
	})
	t.Run("New", func(t *testing.T) {
		metatest.Run(t, func(t testing.TB) metadata.Store {
			store := etcdmeta.New(client)
			t.Cleanup(func() {
				if err := store.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			return store
		})
	})
}
