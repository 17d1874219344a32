package embedetcd_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/embedetcd"
	"github.com/cajun-go/cajun/metadata/etcdmeta"
)

// childDir is the variable that makes the test binary a server to be killed.
const childDir = "EMBEDETCD_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

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
	r := put(t, open(t, first), "k", "v")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := start(t, dir)
	e, found, err := open(t, second).Get(t.Context(), "k")
	if err != nil || !found || string(e.Value) != "v" || e.Modified != r.Revision {
		t.Errorf("Get = %+v, %v, %v", e, found, err)
	}
	if host, port, err := net.SplitHostPort(strings.TrimPrefix(second.Config().Endpoints[0], "http://")); err != nil || host != "127.0.0.1" || port == "0" {
		t.Errorf("the server is at %v", second.Config().Endpoints)
	}
}

func TestSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if killErr := cmd.Process.Kill(); killErr != nil {
		t.Error(killErr)
	}
	cmd.Wait()
	if err != nil || line != "written\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	s, err := open(t, start(t, dir)).List(t.Context(), "k")
	if err != nil || len(s.Entries) != childWrites {
		t.Errorf("%d of %d acknowledged writes are left, %v", len(s.Entries), childWrites, err)
	}
}

const childWrites = 50

// child writes, says so, and waits to be killed.
func child(dir string) {
	server, err := embedetcd.Start(context.Background(), dir)
	if err != nil {
		panic(err)
	}
	store, err := etcdmeta.Open(server.Config())
	if err != nil {
		panic(err)
	}
	for i := range childWrites {
		op := metadata.Put("k"+string(rune('A'+i)), nil, 0)
		if _, err := store.Commit(context.Background(), metadata.Txn{Then: []metadata.Op{op}}); err != nil {
			panic(err)
		}
	}
	os.Stdout.WriteString("written\n")
	<-time.After(time.Minute)
}

func TestOneServerPerFolder(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	began := time.Now()
	if s, err := embedetcd.Start(t.Context(), dir); err == nil {
		s.Close()
		t.Fatal("two servers on one folder")
	} else if !strings.Contains(err.Error(), dir) {
		t.Errorf("the error does not name the folder: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the refusal took %v", took)
	}
	put(t, open(t, first), "k", "v") // the first one goes on
}

func TestTemporaryFolderIsRemoved(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	s := start(t, "")
	if made, err := filepath.Glob(filepath.Join(temp, "*")); err != nil || len(made) != 1 {
		t.Fatalf("the folder holds %v, %v, want one temporary folder", made, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

func TestCloseDoesNotWaitForClients(t *testing.T) {
	server := start(t, "")
	store := open(t, server)
	w := store.Watch(t.Context(), "k", put(t, store, "k", "v").Revision)
	put(t, store, "k", "v")
	<-w // the watch is open
	began := time.Now()
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("Close took %v", took)
	}
	if err := server.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

func TestStartRefuses(t *testing.T) {
	for name, opt := range map[string]embedetcd.Option{
		"all interfaces":     embedetcd.WithClientAddress("0.0.0.0:0"),
		"no host":            embedetcd.WithClientAddress(":0"),
		"another host":       embedetcd.WithClientAddress("192.0.2.1:2379"),
		"a name":             embedetcd.WithClientAddress("example.com:2379"),
		"no port":            embedetcd.WithClientAddress("127.0.0.1"),
		"endless history":    embedetcd.WithHistory(0),
		"a quota of nothing": embedetcd.WithQuota(0),
	} {
		if s, err := embedetcd.Start(t.Context(), "", opt); err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := embedetcd.Start(ended, ""); !errors.Is(err, context.Canceled) {
		s.Close()
		t.Errorf("Start with an ended context: %v", err)
	}
}

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) (net.Listener, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l, l.Addr().String()
}

func TestClientAddress(t *testing.T) {
	dir := t.TempDir()
	l, addr := freePort(t)
	if s, err := embedetcd.Start(t.Context(), dir, embedetcd.WithClientAddress(addr)); err == nil {
		s.Close()
		t.Fatal("started on an address that is taken")
	}
	l.Close()
	// A failed start leaves the folder usable, and the address too, unless
	// another process was quicker.
	for range 5 {
		s, err := embedetcd.Start(t.Context(), dir, embedetcd.WithClientAddress(addr))
		if err != nil {
			l, addr = freePort(t)
			l.Close()
			continue
		}
		defer s.Close()
		if got := s.Config().Endpoints[0]; got != "http://"+addr {
			t.Errorf("the server is at %s, want %s", got, addr)
		}
		put(t, open(t, s), "k", "v")
		return
	}
	t.Error("started on none of five addresses that were free")
}

func TestInsecureListen(t *testing.T) {
	s := start(t, "", embedetcd.WithClientAddress("0.0.0.0:0"), embedetcd.WithInsecureListen())
	if got := s.Config().Endpoints[0]; !strings.HasPrefix(got, "http://127.0.0.1:") {
		t.Errorf("to be dialled at %s, want the loopback interface", got)
	}
	put(t, open(t, s), "k", "v")
}

func TestForgetsHistory(t *testing.T) {
	s := start(t, "", embedetcd.WithHistory(time.Second))
	store := open(t, s)
	first := put(t, store, "k", "v").Revision
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		put(t, store, "k", "v")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		b := <-store.Watch(ctx, "k", first-1)
		cancel()
		if errors.Is(b.Err, metadata.ErrCompacted) {
			return
		}
		if b.Err != nil {
			t.Fatal(b.Err)
		}
	}
	t.Error("the history is never compacted")
}

func TestLogsOnlyTrouble(t *testing.T) {
	var logs lockedBuffer
	l := slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := start(t, "", embedetcd.WithLogger(l))
	put(t, open(t, s), "k", "v")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(logs.String()) {
		if !strings.Contains(line, "level=WARN") && !strings.Contains(line, "level=ERROR") {
			t.Errorf("logged: %s", line)
		}
	}
}

// lockedBuffer is a buffer for several writers.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
