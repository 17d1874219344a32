// Package usermodule lets a test do what a user does: start a module in an empty
// folder, with this checkout in the place of a published Cajun, and type
// commands there.
package usermodule

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// timeout bounds one script. Where nothing is in the build cache yet, compiling
// takes minutes.
const timeout = 9 * time.Minute

// Folder is a folder in which a user works.
type Folder struct {
	t   testing.TB
	Dir string
	env []string
}

// New returns an empty folder. The test is skipped in short mode, and where
// there is no shell.
func New(t testing.TB) *Folder {
	t.Helper()
	if testing.Short() {
		t.Skip("in short mode nothing is compiled for a user's module")
	}
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("there is no sh to type commands into")
	}
	// GOFLAGS of the test's own run, such as -race, are not the user's. Without the paths
	// of files in them, what another run has compiled elsewhere can be used again.
	env := append(os.Environ(), "GOWORK=off", "GOFLAGS=-trimpath")
	return &Folder{t: t, Dir: t.TempDir(), env: env}
}

// Checkout returns the root of this repository.
func Checkout(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatalf("where is this checkout? %v", err)
	}
	return strings.TrimSpace(string(out))
}

// Set sets a variable of the user's environment.
func (f *Folder) Set(name, value string) { f.env = append(f.env, name+"="+value) }

// WithPath puts a folder in front of the user's PATH.
func (f *Folder) WithPath(dir string) {
	path := ""
	for _, variable := range f.env { // the last one counts
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			path = value
		}
	}
	f.Set("PATH", dir+string(filepath.ListSeparator)+path)
}

// WithBuf puts the buf of tools/go.mod on the user's PATH. The test is skipped
// when it cannot be had.
func (f *Folder) WithBuf() {
	f.t.Helper()
	cmd := exec.Command("go", "tool", "-modfile=tools/go.mod", "-n", "buf")
	cmd.Dir = Checkout(f.t)
	out, err := cmd.CombinedOutput()
	binary := strings.TrimSpace(string(out))
	if _, missing := os.Stat(binary); err != nil || missing != nil {
		f.t.Skipf("buf cannot be had (go tool -modfile=tools/go.mod buf): %v\n%s", err, out)
	}
	bin := f.t.TempDir()
	if err := os.Symlink(binary, filepath.Join(bin, "buf")); err != nil {
		f.t.Fatal(err)
	}
	f.WithPath(bin)
}

// Run runs a script of the shell, which ends at the first command that fails,
// and returns what it prints. The folder in which it ends is that of the next
// one, as in a terminal. It fails the test when the script fails, and
// skips it when that is for want of a network.
func (f *Folder) Run(script string) string {
	f.t.Helper()
	out, err := f.Try(script)
	if err != nil {
		if reason := offline(out); reason != "" {
			f.t.Skipf("without network, and these modules are not in the module cache (%s):\n%s", reason, out)
		}
		f.t.Fatalf("%v, after\n%s\n\n%s", err, script, out)
	}
	return out
}

// Try is Run for a script that may fail.
func (f *Folder) Try(script string) (string, error) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), timeout)
	defer cancel()
	ended := filepath.Join(f.t.TempDir(), "ended")
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", script+"\npwd >\"$ENDED_IN\"")
	cmd.Dir, cmd.Env = f.Dir, append(f.env, "ENDED_IN="+ended)
	out, err := cmd.CombinedOutput()
	if dir, err := os.ReadFile(ended); err == nil {
		f.Dir = strings.TrimSpace(string(dir))
	}
	return string(out), err
}

// Write writes a file of the user's.
func (f *Folder) Write(name, content string) {
	f.t.Helper()
	path := filepath.Join(f.Dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// offline names what in the output of the go command says that it could not
// reach a proxy; empty when nothing does.
func offline(out string) string {
	for _, sign := range []string{"module lookup disabled by GOPROXY=off", "dial tcp", "no such host", "proxyconnect tcp", "TLS handshake timeout"} {
		if strings.Contains(out, sign) {
			return sign
		}
	}
	return ""
}
