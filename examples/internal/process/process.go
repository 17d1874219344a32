// Package process runs the children of an example: processes of the example's
// own program that begin to serve, are killed, and end with their parent.
package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Process is a running child. Its standard input stays open until Finish, so
// that it notices when its parent is gone (see UntilStdinEnds).
type Process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	ready chan struct{}
	ended chan struct{}
	// rest is what the ready line says after its prefix, and err how the process
	// ended. Each is set before its channel is closed.
	rest string
	err  error
}

// Start starts this same program with other arguments. The child is ready when
// it prints a line that begins with readyLine; its later lines go to tell, one
// at a time, unless that is nil. What it writes to standard error goes there.
func Start(name, readyLine string, tell func(line string), args ...string) (*Process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &Process{name: name, cmd: exec.Command(program, args...), ready: make(chan struct{}), ended: make(chan struct{})}
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	go p.listen(stdout, readyLine, tell)
	return p, nil
}

// listen reads what the child prints until it ends.
func (p *Process) listen(stdout io.Reader, readyLine string, tell func(string)) {
	defer close(p.ended)
	up := false
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		rest, found := strings.CutPrefix(lines.Text(), readyLine)
		switch {
		case !up && found:
			p.rest, up = strings.TrimSpace(rest), true
			close(p.ready)
		case up && tell != nil:
			tell(lines.Text())
		}
	}
	p.err = p.cmd.Wait()
}

// Name is the name that Start was given.
func (p *Process) Name() string { return p.name }

// Ended is closed when the process is gone.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err is how the process ended: nil if it was well. Ask it after Ended.
func (p *Process) Err() error { return p.err }

// Up reports whether the child has been ready.
func (p *Process) Up() bool {
	select {
	case <-p.ready:
		return true
	default:
		return false
	}
}

// AwaitReady waits until the child is ready, and returns what its ready line
// says besides.
func (p *Process) AwaitReady(ctx context.Context) (string, error) {
	select {
	case <-p.ready:
		return p.rest, nil
	case <-p.ended:
		return "", errors.Join(fmt.Errorf("%s did not come up", p.name), p.err)
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// Kill ends the process as kill -9 does, and waits until it is gone.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("cannot kill %s: %w", p.name, err)
	}
	<-p.ended
	return nil
}

// Finish asks the child to end by itself, and does not wait for it.
func (p *Process) Finish() { p.stdin.Close() }

// FinishAll asks all children to end by themselves, waits for them, and kills
// those that have not ended in time.
func FinishAll(all []*Process, patience time.Duration) {
	for _, p := range all {
		p.Finish()
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	late := false
	for _, p := range all {
		if !late {
			select {
			case <-p.ended:
			case <-limit.C:
				late = true
			}
		}
		if late {
			_ = p.Kill() // it may have ended just now
		}
	}
}

// UntilStdinEnds returns a context that ends with standard input, so that no
// child outlives its parent.
func UntilStdinEnds(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin) // it has ended, however it did
	}()
	return ctx
}
