//go:build unix

package crashtest

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

// process is a child process. It ends at the latest with its test.
type process struct {
	t     testing.TB
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{} // closed when it is gone and all its events are here

	mu     sync.Mutex
	events []string
	news   chan struct{} // closed at the next event
}

// spawn starts this test binary in another role and returns when it is ready.
func spawn(t testing.TB, role string, s settings) *process {
	t.Helper()
	p := launch(t, role, s)
	p.ready()
	return p
}

// launch is spawn without the wait.
func launch(t testing.TB, role string, s settings) *process {
	t.Helper()
	told, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, name: s.Name, cmd: exec.Command(program), ended: make(chan struct{}), news: make(chan struct{})}
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
		t.Fatalf("%s does not start: %v", s.Name, err)
	}
	go p.listen(stdout)
	t.Cleanup(p.kill)
	return p
}

// listen gathers events until the process ends.
func (p *process) listen(stdout io.Reader) {
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

// ready waits until the process is up and returns what it is known by: a
// node's session, an etcd's endpoint.
func (p *process) ready() string {
	p.t.Helper()
	return p.await("ready ")
}

// await returns the rest of the first event that begins like this.
func (p *process) await(prefix string) string {
	p.t.Helper()
	limit := time.NewTimer(patience(20 * time.Second))
	defer limit.Stop()
	for {
		rest, found, news := p.find(prefix)
		if found {
			return rest
		}
		select {
		case <-news:
		case <-p.ended:
			if rest, found, _ := p.find(prefix); found {
				return rest
			}
			p.t.Fatalf("%s ended without %q; it said %q", p.name, prefix, p.said())
		case <-limit.C:
			p.t.Fatalf("%s does not say %q; it said %q", p.name, prefix, p.said())
		}
	}
}

func (p *process) find(prefix string) (rest string, found bool, news <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if rest, found := strings.CutPrefix(e, prefix); found {
			return rest, true, p.news
		}
	}
	return "", false, p.news
}

func (p *process) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.events...)
}

// tell sends a command. A stopped process finds it when it goes on.
func (p *process) tell(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.stdin, format+"\n", args...); err != nil {
		p.t.Fatalf("%s cannot be told anything: %v", p.name, err)
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%s cannot be sent %v: %v", p.name, s, err)
	}
}

// stop stops the process in its tracks, and returns when it does not move any
// more.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	limit := time.NewTimer(patience(10 * time.Second))
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

// resume lets a stopped process go on.
func (p *process) resume() { p.t.Helper(); p.signal(syscall.SIGCONT) }

// kill ends the process as kill -9 does, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.ended
}

// wait waits until the process has ended by itself.
func (p *process) wait(ctx context.Context) {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.t.Fatalf("%s does not end; it said %q", p.name, p.said())
	}
}
