package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// leastKills is the least number of rounds in which everybody is killed.
	leastKills = 4
	// clientsEvery is how many rounds there are for each kill of clients.
	clientsEvery = 4
	// clientProcesses is how many processes share the clients.
	clientProcesses = 2
	// finishPatience is how long clients may take to get their last answers.
	finishPatience = time.Minute
)

// crowd is all the processes.
type crowd struct {
	settings settings
	etcd     *seat
	nodes    []*seat
	clients  []*seat
	// unserved is why clients could not end well; the audit tells the rest.
	unserved error
	// answered counts the answers that clients got.
	answered atomic.Int64
	// killed counts who was killed.
	killed struct{ nodes, clients, etcd atomic.Int64 }
}

// gather starts etcd and the nodes, and returns when they are up. Whatever is
// started is in the crowd, also after an error.
func (c *crowd) gather(ctx context.Context) error {
	const name = "etcd"
	etcd, err := takeSeat(ctx, name, nil, c.settings.forChild(roleEtcd, name)...)
	if err != nil {
		return err
	}
	c.etcd = etcd
	endpoint, err := etcd.awaitReady(ctx)
	if err != nil {
		return err
	}
	c.settings.etcd = endpoint
	// The others look for it where it was.
	etcd.tellSuccessors("-listen", strings.TrimPrefix(endpoint, "http://"))
	for i := range c.settings.nodes {
		name := fmt.Sprintf("node-%d", i+1)
		s, err := takeSeat(ctx, name, nil, append(c.settings.forChild(roleNode, name), "-etcd", endpoint)...)
		if err != nil {
			return err
		}
		c.nodes = append(c.nodes, s)
	}
	return c.awaitNodes(ctx)
}

// awaitNodes waits until all nodes are up.
func (c *crowd) awaitNodes(ctx context.Context) error {
	for _, s := range c.nodes {
		if _, err := s.awaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// admitClients starts the clients.
func (c *crowd) admitClients(ctx context.Context) error {
	tell := func(line string) {
		if strings.HasPrefix(line, answeredLine) {
			c.answered.Add(1)
		}
	}
	for i := range clientProcesses {
		first, until := i*c.settings.clients/clientProcesses, (i+1)*c.settings.clients/clientProcesses
		name := fmt.Sprintf("clients-%d", i+1)
		s, err := takeSeat(ctx, name, tell, append(c.settings.forChild(roleClients, name),
			"-etcd", c.settings.etcd, "-first", fmt.Sprint(first), "-until", fmt.Sprint(until))...)
		if err != nil {
			return err
		}
		c.clients = append(c.clients, s)
	}
	return nil
}

// torment kills for as long as the settings say: in each round a node, in some
// one of the client processes, and in the middle etcd.
func (c *crowd) torment(ctx context.Context) error {
	rnd := rand.New(rand.NewPCG(c.settings.seed, 0))
	rounds := int(c.settings.duration / c.settings.killEvery)
	ticker := time.NewTicker(c.settings.killEvery)
	defer ticker.Stop()
	for round := 1; round <= rounds; round++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		err := kill(c.nodes[rnd.IntN(len(c.nodes))], &c.killed.nodes)
		if round%clientsEvery == clientsEvery-1 {
			err = errors.Join(err, kill(c.clients[rnd.IntN(len(c.clients))], &c.killed.clients))
		}
		if round == rounds/2 {
			err = errors.Join(err, kill(c.etcd, &c.killed.etcd))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// kill kills who sits there and counts it.
func kill(s *seat, count *atomic.Int64) error {
	done, err := s.kill()
	if done {
		count.Add(1)
	}
	return err
}

// dismissClients lets the clients get their last answers and end.
func (c *crowd) dismissClients(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, finishPatience, fmt.Errorf("some of its orders have had no answer for %v", finishPatience))
	defer cancel()
	return finishAll(ctx, c.clients)
}

func finishAll(ctx context.Context, seats []*seat) error {
	errs := make([]error, len(seats))
	var finishing sync.WaitGroup
	for i, s := range seats {
		finishing.Go(func() { errs[i] = s.finish(ctx) })
	}
	finishing.Wait()
	return errors.Join(errs...)
}

// disperse ends all processes, etcd last, as the others need it to end well.
func (c *crowd) disperse() {
	for _, s := range c.clients {
		s.abandon()
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace+5*time.Second)
	defer cancel()
	_ = finishAll(ctx, c.nodes) // how they end is of no interest any more
	if c.etcd != nil {
		_ = c.etcd.finish(ctx)
	}
}

// ends counts the processes that ended without having been killed, and those
// of them that have crashed.
func (c *crowd) ends() (unasked, crashed int) {
	for _, s := range slices.Concat(c.nodes, c.clients, []*seat{c.etcd}) {
		unasked += s.unaskedEnds()
		crashed += s.crashes()
	}
	return unasked, crashed
}

// progress tells how far the orders and the kills are.
func (c *crowd) progress() string {
	return fmt.Sprintf("  %5d orders answered; killed: %d nodes, %d client processes, %d etcd",
		c.answered.Load(), c.killed.nodes.Load(), c.killed.clients.Load(), c.killed.etcd.Load())
}
