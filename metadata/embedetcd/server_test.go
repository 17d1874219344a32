package embedetcd_test

import (
	"context"
	"testing"
	"time"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/embedetcd"
	"github.com/cajun-go/cajun/metadata/etcdmeta"
)

// start starts a server that ends with the test.
func start(t testing.TB, dir string, opts ...embedetcd.Option) *embedetcd.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := embedetcd.Start(ctx, dir, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// open opens a store that ends with the test.
func open(t testing.TB, s *embedetcd.Server) *etcdmeta.Store {
	t.Helper()
	store, err := etcdmeta.Open(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return store
}

func put(t testing.TB, store metadata.Store, key, value string) metadata.Result {
	t.Helper()
	r, err := store.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Put(key, []byte(value), 0)}})
	if err != nil || !r.Applied {
		t.Fatalf("Commit of %q: %+v, %v", key, r, err)
	}
	return r
}

func TestKeepsDataAndChangesAddress(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	put(t, open(t, first), "k", "v")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	second := start(t, dir)
	t.Logf("ready in %v at %v, before at %v", time.Since(began), second.Config().Endpoints, first.Config().Endpoints)
	e, found, err := open(t, second).Get(t.Context(), "k")
	if err != nil || !found || string(e.Value) != "v" {
		t.Fatalf("Get = %+v, %v, %v", e, found, err)
	}
}
