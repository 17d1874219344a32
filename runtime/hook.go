package cajun

import (
	"context"
	"errors"

	"github.com/cajun-go/cajun/journal"
)

// runHook runs a hook of an actor. It may send messages and set timers like a
// handler: they are stored if it returns nil. Its calls to other actors are no
// part of any turn.
func (a *activation) runHook(hook func(context.Context) error) error {
	c := &call{activation: a, method: a.shard.host.errands, durable: a.durable, hook: true, peer: a.shard.node.ID()}
	c.turn.call, c.turn.caller = c, a.shard.ctx
	c.start()
	returned := false
	defer func() {
		c.state.Store(callDone)
		c.turn.close()
		if !returned { // with nil
			c.turn.endEffects().cancel(a.shard.post)
		}
	}()
	if err := hook(&c.turn); err != nil {
		return err
	}
	returned = true
	e := c.turn.endEffects()
	if e == nil || len(e.changes) == 0 {
		return nil
	}
	r := a.stage(journal.Turn{State: a.durable.base, Changes: e.changes}, result{}, a.afterTurn(c, e))
	if r.fail != nil {
		return errors.New(r.fail.message)
	}
	return nil
}
