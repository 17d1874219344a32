package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	bankv1 "github.com/cajun-go/cajun/examples/gen/bank/v1"
	"github.com/cajun-go/cajun/examples/gen/bank/v1/bankv1cajun"
	"github.com/cajun-go/cajun/examples/internal/process"
	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
)

const (
	// patience bounds one attempt of a client. It tries again under the same key
	// until it has an answer.
	patience = 5 * time.Second
	// attemptPause is between a client's attempts, and thinkTime between its
	// orders, so that one machine can carry all processes.
	attemptPause = 50 * time.Millisecond
	thinkTime    = 5 * time.Millisecond
	// answeredLine begins the line that a client process prints for each answer.
	answeredLine = "answered"
)

// client makes one order after the other.
type client struct {
	plan   plan
	index  int
	node   *cajun.Node
	book   *notebook
	logger *slog.Logger
	// patience bounds one attempt.
	patience time.Duration
	// tell is called with the number of each order that was answered.
	tell func(number uint64)
}

// serveClients runs some of the clients until standard input ends, and then
// until nothing is pending.
func serveClients(ctx context.Context, s settings) error {
	node, err := s.startNode(ctx, cajun.WithClientOnly())
	if err != nil {
		return err
	}
	defer node.Close()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	go func() {
		<-node.Done()
		giveUp(errors.Join(errors.New("the clients' node has ended"), node.Err()))
	}()
	tell := func(number uint64) { fmt.Println(answeredLine, number) }
	all := make([]*client, 0, s.until-s.first)
	for i := s.first; i < s.until; i++ {
		book, err := openNotebook(s.dir, i)
		if err != nil {
			return err
		}
		all = append(all, &client{
			plan: s.plan(), index: i, node: node, book: book, patience: patience,
			logger: s.logger().With("client", i), tell: tell,
		})
	}
	fmt.Println(readyLine, s.name)
	return runClients(ctx, process.UntilStdinEnds(ctx), all)
}

// runClients runs clients at the same time.
func runClients(ctx, enough context.Context, all []*client) error {
	var running sync.WaitGroup
	errs := make([]error, len(all))
	for i, c := range all {
		running.Go(func() { errs[i] = errors.Join(c.run(ctx, enough), c.book.close()) })
	}
	running.Wait()
	return errors.Join(errs...)
}

// run makes orders until enough ends, and leaves none pending unless ctx ends.
func (c *client) run(ctx, enough context.Context) error {
	for {
		number, pending := c.book.pending()
		if !pending {
			if enough.Err() != nil {
				return nil
			}
			number = c.plan.number(c.index, len(c.book.notes))
			if err := c.book.begin(number); err != nil {
				return err
			}
		}
		a, err := c.insist(ctx, c.plan.order(number))
		if err != nil {
			return err
		}
		if err := c.book.end(a); err != nil {
			return err
		}
		c.tell(number)
		wait(enough, thinkTime)
	}
}

// insist asks until there is an answer, always under the same key.
func (c *client) insist(ctx context.Context, o order) (answer, error) {
	for {
		outcome, err := c.ask(ctx, o)
		switch {
		case err == nil:
			return answerOf(outcome), nil
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case cajun.OutcomeOf(err) == guarantee.Answered:
			c.logger.Error("an order was answered with an error", "order", o.number, "error", err)
			return answerError, nil
		}
		c.logger.Info("an order is asked for again", "order", o.number, "outcome", cajun.OutcomeOf(err), "error", err)
		wait(ctx, attemptPause)
	}
}

// ask makes one attempt.
func (c *client) ask(ctx context.Context, o order) (bankv1.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	key := strconv.FormatUint(o.number, 10)
	ctx = cajun.Idempotent(ctx, key)
	if o.transfer {
		reply, err := bankv1cajun.NewTransferPid(c.node, key).Execute(ctx, &bankv1.ExecuteRequest{From: o.from, To: o.to, Cents: o.cents})
		return reply.GetOutcome(), err
	}
	reply, err := bankv1cajun.NewAccountPid(c.node, o.from).Send(ctx, &bankv1.SendRequest{Order: o.number, To: o.to, Cents: o.cents})
	return reply.GetOutcome(), err
}

// wait waits for a while, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
