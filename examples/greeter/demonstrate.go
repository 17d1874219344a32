package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/cajunetcd"
	"github.com/cajun-go/cajun/examples/internal/process"
	"github.com/cajun-go/cajun/examples/internal/progress"
	cajun "github.com/cajun-go/cajun/runtime"
)

var errInterrupted = errors.New("interrupted")

// demonstrate runs the whole show: nodes, greetings, a kill, and the check.
func demonstrate(ctx context.Context, s settings, etcd clientv3.Config) error {
	began := time.Now()
	where := strings.Join(etcd.Endpoints, ",")
	if s.nodes == 0 {
		progress.Say("Using the nodes that run at %s …", where)
	} else {
		progress.Say("Starting %d node processes …", s.nodes)
	}
	children, err := startChildren(ctx, s, etcd.Endpoints)
	if err != nil {
		return err
	}
	defer stopChildren(children)

	// This process takes part without hosting anything.
	node, err := cajun.Start(ctx, cajunetcd.With(etcd), cajun.WithCluster(s.cluster), cajun.WithName("caller"),
		cajun.WithLeaseTTL(s.leaseTTL), cajun.WithLogger(s.logger()), cajun.WithClientOnly(), s.door())
	if err != nil {
		return err
	}
	defer node.Close()
	if hosts(node) == 0 {
		return fmt.Errorf("no node of cluster %s hosts greeters: start one with -serve -etcd %s -cluster %q", s.cluster, where, s.cluster)
	}

	load := newLoad(s, node)
	r := report{Run: load.id, Nodes: hosts(node), Actors: s.actors}
	progress.Say("Greeting %d actors …", s.actors)
	if err := load.greetAll(ctx, children, &r); err != nil {
		return err
	}
	progress.Say("Asking every actor what it remembers …")
	if err := load.audit(ctx, &r); err != nil {
		return err
	}
	r.Leader = leaderName(node)
	r.PlacementAfter = load.placement()
	r.Elapsed = time.Since(began).Milliseconds()
	err = r.conclude()
	return errors.Join(r.print(os.Stdout, s.json), err)
}

// greetAll sends every greeting, the second half of them while a child dies.
func (l *load) greetAll(ctx context.Context, children []*process.Process, r *report) error {
	stopProgress := progress.Show(os.Stderr, l.progress)
	defer stopProgress()
	half := l.settings.calls / 2
	l.run(ctx, half)
	if ctx.Err() != nil {
		return errInterrupted
	}
	r.PlacementBefore = l.placement()
	greetings, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := l.start(greetings, l.settings.calls-half)
	var err error
	if len(children) > 0 {
		if err = l.killOne(children, r); err != nil {
			cancel()
		}
	}
	wait()
	if ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// killOne ends the node with the most actors, as kill -9 does.
func (l *load) killOne(children []*process.Process, r *report) error {
	victim := slices.MaxFunc(children, func(a, b *process.Process) int {
		return cmp.Compare(r.PlacementBefore[a.Name()], r.PlacementBefore[b.Name()])
	})
	l.expectMove(move{from: victim.Name(), actors: l.owned(victim.Name())})
	r.Killed = victim.Name()
	l.killed.Store(time.Now().UnixNano())
	return victim.Kill()
}
