package foreign

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// root is the root of this repository, seen from the tests.
const root = "../.."

// missing ends a test for which a client is not there: it is skipped, or fails
// where all clients are required.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CAJUN_FOREIGN") == "require" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// program finds the first of these programs that is installed.
func program(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing(t, "%s is not installed", names[0])
	return ""
}

// tool finds a tool of tools/go.mod. It is compiled if it was not yet, from what
// is in the module cache: a test is not the place to download hundreds of modules.
func tool(t *testing.T, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("in short mode no tool is compiled")
	}
	cmd := exec.CommandContext(t.Context(), "go", "tool", "-modfile=tools/go.mod", "-n", name)
	// GOFLAGS of the test's own run, such as -race, are not the tool's.
	cmd.Dir, cmd.Env = root, append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOPROXY=off")
	out, err := cmd.CombinedOutput()
	path := strings.TrimSpace(string(out))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		missing(t, "there is no %s; go tool -modfile=tools/go.mod %s makes it: %v\n%s", name, name, err, out)
	}
	return path
}

// run runs a program to its end and returns what it prints, its errors last.
func run(t *testing.T, path string, args ...string) (string, error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(bounded(t), path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = t.TempDir(), &out, &errs, time.Second
	err := cmd.Run()
	return out.String() + errs.String(), err
}

// output is run for a program that has to succeed.
func output(t *testing.T, path string, args ...string) string {
	t.Helper()
	out, err := run(t, path, args...)
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", filepath.Base(path), args, err, out)
	}
	return out
}

// process is a program that runs on, such as one that follows a stream.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  io.Reader
	errs bytes.Buffer
	seen []byte // of what it has printed
	over bool
}

// launch starts a program, which is killed when the test ends, with what it has
// started.
func launch(t *testing.T, input string, path string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.CommandContext(bounded(t), path, args...)}
	group(p.cmd)
	p.cmd.Stdin, p.cmd.Stderr, p.cmd.WaitDelay = strings.NewReader(input), &p.errs, time.Second
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// await reads on until the program has printed a text.
func (p *process) await(text string) {
	p.t.Helper()
	chunk := make([]byte, 4<<10)
	for {
		if at := bytes.Index(p.seen, []byte(text)); at >= 0 {
			p.seen = p.seen[at+len(text):]
			return
		}
		n, err := p.out.Read(chunk)
		p.seen = append(p.seen, chunk[:n]...)
		if err != nil && !bytes.Contains(p.seen, []byte(text)) {
			p.kill() // so that all it has to say is there
			p.t.Fatalf("%s has not printed %q: %v\n%s\n%s", filepath.Base(p.cmd.Path), text, err, p.seen, &p.errs)
		}
	}
}

// kill ends the program, as one does who has seen enough.
func (p *process) kill() {
	if p.over {
		return
	}
	p.over = true
	killGroup(p.cmd)
	_ = p.cmd.Wait()
}

// lockedBuffer is a buffer that is read while a program writes to it.
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
