package pgstate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// startServer starts a PostgreSQL in a temporary folder, on a socket there.
func startServer() (conn string, stop func(), err error) {
	bin := binaries()
	if bin == "" {
		return "", nil, errNoServer
	}
	// Not in TMPDIR, which may be too long for the path of a socket.
	dir, err := os.MkdirTemp("/tmp", "cajun-pg-")
	if err != nil {
		return "", nil, err
	}
	remove := func() { _ = os.RemoveAll(dir) }
	identity, err := unprivileged(dir)
	if err != nil {
		remove()
		return "", nil, err
	}
	end, err := serve(bin, dir, identity)
	if err != nil {
		remove()
		return "", nil, err
	}
	return fmt.Sprintf("host=%s user=postgres dbname=postgres", dir), func() { end(); remove() }, nil
}

// binaries is the folder of the newest installed server, or "".
func binaries() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		found = append(found, filepath.Join(strings.TrimSpace(string(out)), "initdb"))
	}
	for i := len(found) - 1; i >= 0; i-- {
		bin := filepath.Dir(found[i])
		_, initdb := os.Stat(filepath.Join(bin, "initdb"))
		_, postgres := os.Stat(filepath.Join(bin, "postgres"))
		if initdb == nil && postgres == nil {
			return bin
		}
	}
	return ""
}

// unprivileged is whom the server runs as, who also gets dir: PostgreSQL refuses
// to run as root.
func unprivileged(dir string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2, os.Chown(dir, int(uid), int(gid))); err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func serve(bin, dir string, identity *syscall.Credential) (stop func(), err error) {
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = dir, &syscall.SysProcAttr{Credential: identity}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	// In the file, where the benchmark can change it.
	settings := filepath.Join(data, "postgresql.auto.conf")
	if err := os.WriteFile(settings, []byte("fsync = off\n"), 0o600); err != nil {
		return nil, err
	}
	var log bytes.Buffer
	postgres := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", dir,
		"-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=64MB")
	postgres.Dir, postgres.Stdout, postgres.Stderr = dir, &log, &log
	// The server ends with this process, also when that is killed. What counts
	// is the thread that has started it, so the main goroutine keeps its thread.
	runtime.LockOSThread()
	postgres.SysProcAttr = &syscall.SysProcAttr{Credential: identity, Pdeathsig: syscall.SIGQUIT, Setpgid: true}
	if err := postgres.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = postgres.Wait() }()
	stop = func() {
		_ = postgres.Process.Signal(syscall.SIGINT) // the fast way to stop
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = postgres.Process.Signal(syscall.SIGQUIT)
			<-ended
		}
	}
	if err := awaitServer(dir, ended); err != nil {
		stop()
		return nil, fmt.Errorf("%w\n%s", err, log.Bytes())
	}
	return stop, nil
}

func awaitServer(dir string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := pgx.Connect(ctx, "host="+dir+" user=postgres dbname=postgres")
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-tick.C:
		case <-ended:
			return errors.New("the server has ended at once")
		case <-ctx.Done():
			return err
		}
	}
}
