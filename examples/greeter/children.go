package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cajun-go/cajun/examples/internal/process"
)

// startChildren starts node processes of this same program and returns when
// all of them are up.
func startChildren(ctx context.Context, s settings, endpoints []string) ([]*process.Process, error) {
	var children []*process.Process
	for i := range s.nodes {
		c, err := startChild(s, fmt.Sprintf("node-%d", i+1), endpoints)
		if err != nil {
			stopChildren(children)
			return nil, err
		}
		children = append(children, c)
	}
	for _, c := range children {
		if _, err := c.AwaitReady(ctx); err != nil {
			stopChildren(children)
			return nil, err
		}
	}
	return children, nil
}

func startChild(s settings, name string, endpoints []string) (*process.Process, error) {
	args := []string{"-serve", "-until-stdin-ends", "-name", name, "-cluster", s.cluster, "-etcd", strings.Join(endpoints, ","), "-lease", s.leaseTTL.String()}
	if s.verbose {
		args = append(args, "-v")
	}
	return process.Start(name, readyLine, nil, args...)
}

// stopChildren asks every child to hand over and stop, and waits for it.
func stopChildren(children []*process.Process) {
	process.FinishAll(children, grace+5*time.Second)
}
