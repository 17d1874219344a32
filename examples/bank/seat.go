package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/cajun-go/cajun/examples/internal/process"
)

const (
	// mostFalseStarts is how many successors in a row may end before they are
	// ready, and falseStartPause is between them.
	mostFalseStarts = 10
	falseStartPause = 100 * time.Millisecond
	// readyPatience bounds how long a child may take to be ready.
	readyPatience = 30 * time.Second
)

// seat is a place for a child process: whoever dies there has a successor.
type seat struct {
	name string
	tell func(line string)
	// empty is closed when there will be no more successors, and err is why if
	// that is wrong.
	empty chan struct{}
	err   error

	mu      sync.Mutex
	args    []string
	current *process.Process
	// killed says that the present process was killed on purpose, finishing that
	// it is to end well, and abandoned that it is to end.
	killed, finishing, abandoned bool
	// unasked counts the processes that ended by themselves, and crashed those of
	// them that did not even say why.
	unasked, crashed int
}

// takeSeat starts the first process of a seat. No successor is started once ctx
// has ended.
func takeSeat(ctx context.Context, name string, tell func(line string), args ...string) (*seat, error) {
	s := &seat{name: name, tell: tell, args: args, empty: make(chan struct{})}
	if _, err := s.start(); err != nil {
		return nil, err
	}
	go s.keep(ctx)
	return s, nil
}

// start starts a process, unless none is wanted any more.
func (s *seat) start() (*process.Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.abandoned {
		return nil, nil
	}
	p, err := process.Start(s.name, readyLine, s.tell, s.args...)
	if err != nil {
		return nil, err
	}
	if s.finishing {
		p.Finish()
	}
	s.current, s.killed = p, false
	return p, nil
}

// process is the one that sits there now.
func (s *seat) process() *process.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// keep starts a successor whenever a process ends, until none is wanted.
func (s *seat) keep(ctx context.Context) {
	defer close(s.empty)
	falseStarts := 0
	for p := s.process(); p != nil; {
		<-p.Ended()
		if s.ended(ctx, p) {
			return
		}
		if p.Up() {
			falseStarts = 0
		} else if falseStarts++; falseStarts > mostFalseStarts {
			s.err = fmt.Errorf("%s does not come up again: %w", s.name, p.Err())
			return
		} else {
			wait(ctx, falseStartPause)
		}
		if p, s.err = s.start(); s.err != nil {
			return
		}
	}
}

// ended notes that a process has ended, and reports whether it needs no
// successor.
func (s *seat) ended(ctx context.Context, p *process.Process) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.abandoned || ctx.Err() != nil || s.finishing && !s.killed && p.Err() == nil {
		return true
	}
	if !s.killed {
		s.unasked++
		if hasCrashed(p.Err()) {
			s.crashed++
		}
	}
	return false
}

// awaitReady waits until the present process is ready, or a successor of it,
// and returns what it is known by.
func (s *seat) awaitReady(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, readyPatience, fmt.Errorf("%s does not come up in time", s.name))
	defer cancel()
	for {
		rest, err := s.process().AwaitReady(ctx)
		switch {
		case err == nil:
			return rest, nil
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		}
		select {
		case <-s.empty:
			return "", errors.Join(err, s.err)
		case <-time.After(falseStartPause):
		}
	}
}

// kill ends the present process as kill -9 does, and reports whether there was
// one to kill.
func (s *seat) kill() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.current.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		return false, nil
	}
	s.killed = s.killed || err == nil
	return err == nil, err
}

// finish lets the present process, or a successor of it, end well. When ctx
// ends first, the process is killed.
func (s *seat) finish(ctx context.Context) error {
	s.mu.Lock()
	s.finishing = true
	s.current.Finish()
	s.mu.Unlock()
	select {
	case <-s.empty:
		return s.err
	case <-ctx.Done():
		s.abandon()
		return fmt.Errorf("%s does not end: %w", s.name, context.Cause(ctx))
	}
}

// abandon ends the seat at once.
func (s *seat) abandon() {
	s.mu.Lock()
	s.abandoned = true
	_ = s.current.Kill() // it may be gone already
	s.mu.Unlock()
	<-s.empty
}

// hasCrashed reports whether a process has ended by a panic, for which Go has an
// exit code, or by a signal. A node whose session is lost ends in good order.
func hasCrashed(err error) bool {
	const panicked = 2
	var exit *exec.ExitError
	return errors.As(err, &exit) && (exit.ExitCode() == panicked || !exit.Exited())
}

// crashes is how many processes have crashed.
func (s *seat) crashes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.crashed
}

// unaskedEnds is how many processes ended by themselves.
func (s *seat) unaskedEnds() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unasked
}

// tellSuccessors gives successors more arguments.
func (s *seat) tellSuccessors(args ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.args = append(s.args, args...)
}
