//go:build unix

// Package process makes a test binary its own children, so that tests can kill,
// stop and resume real processes. A child is told its role and its settings in
// its environment, tells its parent what happens in lines on its standard
// output, and gets commands in lines on its standard input, whose end says that
// the parent is gone.
package process

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What a child process is told in its environment.
const (
	roleVariable     = "CRASHTEST_ROLE"
	settingsVariable = "CRASHTEST_SETTINGS"
)

// Role returns the role of this process; "" is that of the parent.
func Role() string { return os.Getenv(roleVariable) }

// Settings reads what Launch was given into settings.
func Settings(settings any) error {
	return json.Unmarshal([]byte(os.Getenv(settingsVariable)), settings)
}

// Patience stretches limits of time for builds and machines that are slow.
func Patience(d time.Duration) time.Duration { return d * slowness }

// Limit is Patience for limits at which a test fails: the tests of other packages
// run beside it, and may take most of the machine.
func Limit(d time.Duration) time.Duration { return 2 * Patience(d) }

// Speaker writes a child's events, one per line.
type Speaker struct{ mu sync.Mutex }

// Say writes one event.
func (s *Speaker) Say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(os.Stdout, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " "))
}

// Process is a child process. It ends at the latest with its test.
type Process struct {
	t     testing.TB
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{} // closed when it is gone and all its events are here

	mu     sync.Mutex
	events []string
	news   chan struct{} // closed at the next event
}

// Spawn starts this test binary in another role and returns when it is ready.
func Spawn(t testing.TB, role, name string, settings any) *Process {
	t.Helper()
	p := Launch(t, role, name, settings)
	p.Ready()
	return p
}

// Launch is Spawn without the wait.
func Launch(t testing.TB, role, name string, settings any) *Process {
	t.Helper()
	told, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{t: t, name: name, cmd: exec.Command(program), ended: make(chan struct{}), news: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role, settingsVariable+"="+string(told))
	p.cmd.SysProcAttr = bound()
	p.cmd.Stderr = t.Output()
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%s does not start: %v", name, err)
	}
	go p.listen(stdout)
	t.Cleanup(p.Kill)
	return p
}

// listen gathers events until the process ends.
func (p *Process) listen(stdout io.Reader) {
	defer close(p.ended)
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		p.mu.Lock()
		p.events = append(p.events, lines.Text())
		close(p.news)
		p.news = make(chan struct{})
		p.mu.Unlock()
	}
	_ = p.cmd.Wait() // how it ended is for its events to tell
}

// Name returns what the process was named.
func (p *Process) Name() string { return p.name }

// Ended is closed when the process is gone.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Ready waits until the process is up and returns what it is known by: a
// node's session, an etcd's endpoint.
func (p *Process) Ready() string {
	p.t.Helper()
	return p.Await("ready ")
}

// Await returns the rest of the first event that begins like this.
func (p *Process) Await(prefix string) string {
	p.t.Helper()
	limit := time.NewTimer(Limit(20 * time.Second))
	defer limit.Stop()
	for {
		rest, found, news := p.Find(prefix)
		if found {
			return rest
		}
		select {
		case <-news:
		case <-p.ended:
			if rest, found, _ := p.Find(prefix); found {
				return rest
			}
			p.t.Fatalf("%s ended without %q; it said %q", p.name, prefix, p.Said())
		case <-limit.C:
			p.t.Fatalf("%s does not say %q; it said %q", p.name, prefix, p.Said())
		}
	}
}

// Find looks for the first event that begins like this and returns the rest of
// it. news is closed at the next event.
func (p *Process) Find(prefix string) (rest string, found bool, news <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if rest, found := strings.CutPrefix(e, prefix); found {
			return rest, true, p.news
		}
	}
	return "", false, p.news
}

// Said returns all events so far.
func (p *Process) Said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.events...)
}

// Tell sends a command. A stopped process finds it when it goes on.
func (p *Process) Tell(format string, args ...any) {
	p.t.Helper()
	if err := p.TryTell(format, args...); err != nil {
		p.t.Fatalf("%s cannot be told anything: %v", p.name, err)
	}
}

// TryTell is Tell for a process that may be gone.
func (p *Process) TryTell(format string, args ...any) error {
	_, err := fmt.Fprintf(p.stdin, format+"\n", args...)
	return err
}

func (p *Process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%s cannot be sent %v: %v", p.name, s, err)
	}
}

// Stop stops the process in its tracks, and returns when it does not move any
// more.
func (p *Process) Stop() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	p.AwaitStop()
}

// AwaitStop waits until the process is stopped, by whomever.
func (p *Process) AwaitStop() {
	p.t.Helper()
	limit := time.NewTimer(Limit(10 * time.Second))
	defer limit.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED|syscall.WNOHANG, nil)
		if pid > 0 && status.Stopped() {
			return
		}
		if pid > 0 || err != nil && err != syscall.EINTR {
			p.t.Fatalf("%s does not stop: %v, %v", p.name, status, err)
		}
		select {
		case <-tick.C:
		case <-limit.C:
			p.t.Fatalf("%s does not stop", p.name)
		}
	}
}

// Resume lets a stopped process go on.
func (p *Process) Resume() { p.t.Helper(); p.signal(syscall.SIGCONT) }

// Kill ends the process as kill -9 does, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.ended
}

// Wait waits until the process has ended by itself.
func (p *Process) Wait(ctx context.Context) {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.t.Fatalf("%s does not end; it said %q", p.name, p.Said())
	}
}
