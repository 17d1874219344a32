package main

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

// child is a node in a process of its own.
type child struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{}
}

// startChildren starts node processes of this same program and returns when
// all of them are up.
func startChildren(ctx context.Context, s settings, endpoints []string) ([]*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var children []*child
	ready := make(chan error, s.nodes)
	for i := range s.nodes {
		c, err := startChild(s, program, fmt.Sprintf("node-%d", i+1), endpoints, ready)
		if err != nil {
			stopChildren(children)
			return nil, err
		}
		children = append(children, c)
	}
	for range children {
		select {
		case err = <-ready:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			stopChildren(children)
			return nil, err
		}
	}
	return children, nil
}

func startChild(s settings, program, name string, endpoints []string, ready chan<- error) (*child, error) {
	args := []string{"-serve", "-until-stdin-ends", "-name", name, "-cluster", s.cluster, "-etcd", strings.Join(endpoints, ","), "-lease", s.leaseTTL.String()}
	if s.verbose {
		args = append(args, "-v")
	}
	c := &child{name: name, cmd: exec.Command(program, args...), ended: make(chan struct{})}
	c.cmd.Stderr = os.Stderr
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	c.stdin = stdin
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	go func() {
		defer close(c.ended)
		lines := bufio.NewScanner(stdout)
		up := false
		for lines.Scan() {
			if !up && strings.HasPrefix(lines.Text(), readyLine) {
				up = true
				ready <- nil
			}
		}
		err := c.cmd.Wait()
		if !up {
			ready <- errors.Join(fmt.Errorf("%s did not come up", name), err)
		}
	}()
	return c, nil
}

// kill ends the process as kill -9 does, and waits until it is gone.
func (c *child) kill() error {
	if err := c.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("cannot kill %s: %w", c.name, err)
	}
	<-c.ended
	return nil
}

// stopChildren asks every child to hand over and stop, and waits for it.
func stopChildren(children []*child) {
	for _, c := range children {
		c.stdin.Close()
	}
	patience := time.NewTimer(grace + 5*time.Second)
	defer patience.Stop()
	for _, c := range children {
		select {
		case <-c.ended:
		case <-patience.C:
			c.cmd.Process.Kill()
			<-c.ended
		}
	}
}
