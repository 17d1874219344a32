package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cajun-go/cajun/examples/internal/progress"
	cajun "github.com/cajun-go/cajun/runtime"
)

const (
	// tickPatience is how long each timer may take to show that it has outlived
	// the kills, and settlePatience how long what was accepted may be on its way.
	tickPatience   = 20 * time.Second
	settlePatience = time.Minute
	// auditPause is between two looks at the books. One that finds nothing wrong
	// is followed by a last one, secondLook later, for what comes twice.
	auditPause = 250 * time.Millisecond
	secondLook = 2 * time.Second
)

// demonstrate runs the whole show: the bank, its customers, the kills, and the
// audit.
func demonstrate(ctx context.Context, s settings) error {
	began := time.Now()
	removeDir, err := s.prepareDir()
	if err != nil {
		return err
	}
	defer removeDir()
	progress.Say("Starting an etcd and %d nodes; -seed %d …", s.nodes, s.seed)
	c := &crowd{settings: s}
	defer c.disperse()
	if err := c.gather(ctx); err != nil {
		return err
	}
	progress.Say("Opening %d accounts …", s.accounts)
	opened := time.Now()
	if err := c.settings.withTeller(ctx, teller.open); err != nil {
		return err
	}
	progress.Say("Moving money, while a node is killed every %v …", s.killEvery)
	if err := c.business(ctx); err != nil {
		return err
	}
	if c.unserved != nil {
		progress.Say("Not all clients have ended well: %v", c.unserved)
	}
	progress.Say("Auditing …")
	r := newReport(s)
	r.countEnds(c)
	err = c.settings.withTeller(ctx, func(t teller, ctx context.Context) error { return t.close(ctx, s.dir, opened, &r) })
	if err != nil {
		return err
	}
	r.Elapsed = time.Since(began).Milliseconds()
	err = r.conclude()
	return errors.Join(r.print(os.Stdout, s.json), err)
}

// prepareDir makes sure that there is an empty folder for the children.
func (s *settings) prepareDir() (remove func(), err error) {
	if s.dir == "" {
		s.dir, err = os.MkdirTemp("", "cajun-bank-")
		return func() { os.RemoveAll(s.dir) }, err
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	inside, err := os.ReadDir(s.dir)
	if err == nil && len(inside) > 0 {
		err = fmt.Errorf("-dir %s: the folder is not empty: an earlier run's orders would spoil the audit", s.dir)
	}
	return func() {}, err
}

// withTeller does something with a node that hosts nothing.
func (s settings) withTeller(ctx context.Context, do func(teller, context.Context) error) error {
	s.name = "teller"
	node, err := s.startNode(ctx, cajun.WithClientOnly())
	if err != nil {
		return err
	}
	defer node.Close()
	return do(teller{plan: s.plan(), node: node}, ctx)
}

// business lets customers in, kills who serves them, and returns when all are
// served.
func (c *crowd) business(ctx context.Context) error {
	defer progress.Show(os.Stderr, c.progress)()
	if err := c.admitClients(ctx); err != nil {
		return err
	}
	if err := c.torment(ctx); err != nil {
		return err
	}
	if err := c.awaitNodes(ctx); err != nil {
		return err
	}
	c.unserved = c.dismissClients(ctx)
	return ctx.Err()
}

// close sees that timers still fire, ends them, and audits what is left.
func (t teller) close(ctx context.Context, dir string, opened time.Time, r *report) error {
	silent, err := t.awaitTicks(ctx)
	if err != nil {
		return err
	}
	if err := t.stopInterest(ctx); err != nil {
		return err
	}
	most := mostTicks(time.Since(opened))
	notes, err := readNotebooks(dir, t.plan.clients)
	if err != nil {
		return err
	}
	began := time.Now()
	e, found, err := t.settle(ctx, notes, most)
	if err != nil {
		return err
	}
	r.Settled = time.Since(began).Milliseconds()
	r.describe(e)
	r.violated(append(silent, found...)...)
	return nil
}

// awaitTicks waits until every timer has fired anew, and returns complaints
// about those that have not.
func (t teller) awaitTicks(ctx context.Context) (silent []string, err error) {
	deadline := time.Now().Add(tickPatience)
	before, err := t.accounts(ctx)
	for err == nil {
		wait(ctx, auditPause)
		silent = nil
		now, e := t.accounts(ctx)
		for _, key := range t.plan.customers() {
			if len(now[key].GetTicks()) <= len(before[key].GetTicks()) {
				silent = append(silent, fmt.Sprintf("the timer of %s has not fired for %v since the kills", key, tickPatience))
			}
		}
		if err = errors.Join(e, ctx.Err()); err == nil && (len(silent) == 0 || time.Now().After(deadline)) {
			return silent, nil
		}
	}
	return nil, err
}

// settle audits until nothing is wrong or it took too long, as some of what
// was accepted may be on its way. Then it looks once more.
func (t teller) settle(ctx context.Context, notes []note, mostTicks int) (*evidence, []string, error) {
	deadline := time.Now().Add(settlePatience)
	for last := false; ; {
		e, err := t.collect(ctx, notes)
		if err != nil {
			return nil, nil, err
		}
		e.mostTicks = mostTicks
		found := e.audit()
		switch {
		case last || time.Now().After(deadline):
			return e, found, nil
		case len(found) == 0:
			last = true
			wait(ctx, secondLook)
		default:
			wait(ctx, auditPause)
		}
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
	}
}

// readNotebooks reads what all clients have written down.
func readNotebooks(dir string, clients int) (all []note, err error) {
	for i := range clients {
		notes, _, err := readNotes(notebookPath(dir, i))
		if err != nil {
			return nil, err
		}
		all = append(all, notes...)
	}
	slices.SortFunc(all, func(a, b note) int { return a.answered.Compare(b.answered) })
	return all, nil
}
