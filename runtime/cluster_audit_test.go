package cajun_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
	"github.com/cajun-go/cajun/state"
)

// audit compares what a storm of chains has left with what it should have.
func (c *chains) audit(rnd *rand.Rand) {
	busy := func(a state.Agenda) bool { return a.Due == 1 }
	resent := make(map[string]bool)
	c.clearLetters(rnd, resent, true) // those that stop others after a while
	c.settle("messages and open turns", busy)
	c.repeatKeyed()
	during(30 * time.Second) // longer than a timer that calls once takes
	c.settle("messages and open turns", busy)
	c.checkRhythm()
	c.settle("timers", func(a state.Agenda) bool { return a.Due != 0 })
	c.mended = true
	c.clearLetters(rnd, resent, false)
	c.settle("dead letters", func(a state.Agenda) bool { return a != state.Agenda{} })
	if sender := rnd.IntN(4 * len(c.counters)); sender < len(c.counters) {
		c.flood(sender) // it takes as long as all the rest
	}
	c.settle("the last messages", func(a state.Agenda) bool { return a != state.Agenda{} })
	during(time.Minute)
	b := c.read()
	for _, o := range c.odd {
		c.t.Error(o)
	}
	for id, p := range c.plans {
		b.check(id, p, resent)
	}
	b.checkOrder()
	b.checkTicks()
	for _, key := range c.counters {
		c.checkRows(counterFrom(c.client, key))
	}
	for _, key := range c.echoes {
		c.checkRows(probev1cajun.NewEchoPid(c.client, key))
	}
}

// settle waits until no actor has something of a kind to see to.
func (c *chains) settle(what string, open func(state.Agenda) bool) {
	c.t.Helper()
	var left []string
	for range 900 {
		left = nil
		for _, kind := range []string{probev1cajun.CounterKind, probev1cajun.EchoKind} {
			for number := range 64 {
				page, err := c.records.Agenda(c.t.Context(), state.Shard{Kind: kind, Number: uint32(number)}, "", 1000)
				if err != nil {
					c.t.Fatal(err)
				}
				for _, e := range page {
					if open(e.Agenda) {
						left = append(left, fmt.Sprintf("%s: %+v", e.Key, e.Agenda))
					}
				}
			}
		}
		if len(left) == 0 {
			return
		}
		during(time.Second)
	}
	c.t.Errorf("%s are left after a quarter of an hour: %q", what, left)
	for _, key := range c.counters {
		c.t.Logf("%s: %q", key, rowsOf(c.t, c.records, c.client, counterFrom(c.client, key)))
	}
}

// state reads what an actor has noted.
func (c *chains) state(key string) map[string]int64 {
	c.t.Helper()
	r, err := counterFrom(c.client, key).Get(testContext(c.t), &probev1.GetRequest{})
	if err != nil {
		c.t.Errorf("%s cannot be read: %v", key, err)
	}
	return r.GetByLabel()
}

// checkRhythm looks whether the repeating timers call as often as they should,
// and ends them.
func (c *chains) checkRhythm() {
	const span = 30 * time.Second
	count := func() map[string]int64 {
		all := make(map[string]int64)
		for _, key := range c.counters {
			maps.Copy(all, c.state(key))
		}
		return all
	}
	before := count()
	during(span)
	after := count()
	for id, p := range c.plans {
		if p.Do != "every" {
			continue
		}
		ticks, due := after["did/"+id]-before["did/"+id], int64(span/p.Every)
		set := c.told["set/"+id]+after["set/"+id] > 0
		if ticks > 0 && c.stopped[id] != 0 || ticks > due+1 || ticks < due-1 && (ticks > 0 || set) && !c.stops[id] {
			c.t.Errorf("timer %s of %s: %d calls in %v, every %v; set %v, to be removed %v", id, p.To, ticks, span, p.Every, set, c.stops[id])
		}
		if err := cajun.Unschedule(testContext(c.t), counterFrom(c.client, p.To), id); err != nil {
			c.t.Error(err)
		}
	}
}

// clearLetters compares the dead letters with those that there should be, sends
// some of them again and discards the others, or only discards those that may
// have had their effect. found is told of all, with true for those that were sent
// again.
func (c *chains) clearLetters(rnd *rand.Rand, found map[string]bool, maybe bool) {
	c.t.Helper()
	letters := slices.Concat(c.letters(probev1cajun.CounterKind), c.letters(probev1cajun.EchoKind))
	for _, l := range letters {
		if maybe && !l.MaybeExecuted {
			continue
		}
		var r probev1.AddRequest
		var d deed
		if err := proto.Unmarshal(l.Request, &r); err != nil {
			c.t.Error(err)
		}
		if err := json.Unmarshal([]byte(r.GetScript()), &d); err != nil {
			c.t.Error(err)
		}
		if _, twice := found[d.ID]; twice && !c.often(d.ID) || !c.plans[d.ID].dead() || !strings.Contains(l.Reason, errRehearsed.Error()) {
			c.t.Errorf("an unexpected dead letter, twice %v, of %+v: %+v", twice, c.plans[d.ID], l)
		}
		// To send it again would do again what its handler has done to others.
		again := !maybe && rnd.IntN(2) == 0 && len(d.Tasks) == 0 && !c.often(d.ID)
		found[d.ID] = again
		see := c.client.Discard
		if again {
			see = c.client.Resend
		}
		c.insist(func() error { return see(testContext(c.t), l) })
	}
}

// repeatKeyed repeats the calls under a key, which have an answer then at the
// latest: those that had one before get the same.
func (c *chains) repeatKeyed() {
	for id, p := range c.plans {
		if p.Do != "keyed" || c.told["no/"+id] > 0 {
			continue
		}
		first, h := c.replies[id], &hand{c: c, from: c.client, marks: c.told}
		var err error
		for range 300 { // it may run for the first time, and wait for others in a circle
			ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
			err = h.call(ctx, p.task)
			cancel()
			if err == nil || cajun.OutcomeOf(err) == guarantee.Answered {
				break
			}
			during(time.Second)
		}
		switch {
		case err == nil:
			c.told["ok/"+id]++
			if first != nil && !proto.Equal(first, c.replies[id]) {
				c.t.Errorf("call %s was repeated under its key: the reply %v, and at first %v", id, c.replies[id], first)
			}
		case first != nil || cajun.OutcomeOf(err) != guarantee.Answered:
			c.t.Errorf("call %s was repeated under its key: %v; the first reply was %v", id, err, first)
		}
	}
}

// flood has one shard send more messages to each actor than one caller may have
// open: whatever was left open by mistake stops them.
func (c *chains) flood(sender int) {
	for n, to := range slices.Concat(c.counters, c.counters) {
		d := deed{ID: fmt.Sprint("flood-", n)}
		for k := range guarantee.MaxOutstanding/2 + 1 {
			t := task{Do: "send", To: to, Deed: deed{ID: fmt.Sprint(d.ID, ".", k)}}
			c.plans[t.Deed.ID] = plan{t, c.counters[sender]}
			d.Tasks = append(d.Tasks, t)
		}
		t := task{Do: "once", To: c.counters[sender], Deed: d}
		c.plans[d.ID] = plan{t, ""}
		h := &hand{c: c, from: c.client, marks: c.told}
		if err := h.do(testContext(c.t), t); err != nil || c.told["ok/"+d.ID] == 0 {
			c.t.Errorf("%s cannot send any more", t.To)
		}
	}
}

// letters lists the dead letters of a kind.
func (c *chains) letters(kind string) (list []cajun.DeadLetter) {
	c.t.Helper()
	c.insist(func() error {
		list = nil
		for l, err := range c.client.DeadLetters(testContext(c.t), kind) {
			if err != nil {
				return err
			}
			list = append(list, l)
		}
		return nil
	})
	return list
}

// insist tries something of an actor that may have no room yet.
func (c *chains) insist(try func() error) {
	c.t.Helper()
	err := try()
	for n := 0; err != nil && n < 60; n++ {
		during(10 * time.Second)
		err = try()
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// books is all that a storm of chains has left.
type books struct {
	*chains
	states map[string]map[string]int64
	// marks are those of all states and of the callers outside.
	marks map[string]int64
}

func (c *chains) read() *books {
	b := &books{c, make(map[string]map[string]int64), maps.Clone(c.told)}
	for _, key := range c.counters {
		b.states[key] = c.state(key)
		for mark, n := range b.states[key] {
			b.marks[mark] += n
			sort, id, _ := strings.Cut(mark, "/")
			switch p, known := c.plans[id]; {
			case sort == "did" && (!known || p.To != key):
				c.t.Errorf("%s has done %s, which is %+v", key, id, p)
			case sort == "lost":
				c.t.Errorf("%s has stored a turn with a call without an answer: %s", key, id)
			case sort == "disorder":
				c.t.Errorf("%s has got messages in disorder: %s", key, id)
			}
		}
	}
	return b
}

// within reports whether a task is a part of one that fits.
func (c *chains) within(id string, fits func(id string) bool) bool {
	for i := strings.LastIndexByte(id, '.'); i > 0; i = strings.LastIndexByte(id, '.') {
		if id = id[:i]; fits(id) {
			return true
		}
	}
	return false
}

// often reports whether a task is a part of something that may happen again.
func (c *chains) often(id string) bool {
	return c.within(id, func(id string) bool { return !c.plans[id].once() || c.plans[id].Do == "every" })
}

// check compares the effect of one task with what is known of it.
func (b *books) check(id string, p plan, resent map[string]bool) {
	if strings.HasPrefix(p.To, "e") {
		return // what it has led to is looked at
	}
	did := b.marks["did/"+id]
	done := b.marks["ok/"+id] + b.marks["sent/"+id] + b.marks["set/"+id]
	no := b.marks["no/"+id]
	often := b.often(id)
	dead := p.dead() && !resent[id]
	tell := func(format string, args ...any) {
		b.t.Helper()
		b.t.Errorf("%s, %q of %s at %s, has had its effect %d times: %s; %d told that it is done, %d that it is not, %d are lost; %+v",
			id, p.Do, p.from, p.To, did, fmt.Sprintf(format, args...), done, no, b.told["lost/"+id], p.Deed)
	}
	switch {
	case p.Do == "every":
	case dead && did > 0:
		tell("it is a dead letter")
	case dead:
	case p.Do == "send" && slices.Contains(b.counters, p.from) && did != done:
		tell("it was sent, or not")
	case done > 0 && did == 0:
		tell("it was told that it is done")
	case !p.once() || often:
	case did > 1:
		tell("once is enough")
	case no > 0 && did > 0:
		tell("it was told that it is not")
	case done > 1 && p.Do != "keyed", done > 0 && no > 0:
		tell("two answers")
	}
}

// checkOrder looks whether what was sent has arrived.
func (b *books) checkOrder() {
	for from, marks := range b.states {
		for _, to := range b.counters {
			sent, arrived := marks["to/"+to], b.states[to]["from/"+from]
			if sent != arrived {
				b.t.Errorf("%s has sent %d messages to %s, and the last that has arrived is number %d", from, sent, to, arrived)
			}
		}
	}
}

// checkTicks looks whether each due time of a timer has had its effect once, in
// the rhythm of the timer, and none after it was removed.
func (b *books) checkTicks() {
	phases := make(map[string]int64)
	for mark, n := range b.marks {
		tick, ok := strings.CutPrefix(mark, "tick/")
		if !ok {
			continue
		}
		var sequence, due int64
		id, rest, _ := strings.Cut(tick, "/")
		if _, err := fmt.Sscanf(rest, "%x@%d", &sequence, &due); err != nil {
			b.t.Errorf("%s: %v", tick, err)
		}
		if n != 1 {
			b.t.Errorf("the tick %s has had its effect %d times", tick, n)
		}
		if at := b.stopped[id]; at != 0 && due > at {
			b.t.Errorf("the tick %s came after its timer was removed, at %d", tick, at)
		}
		if every := int64(b.plans[id].Every); every > 0 {
			set := fmt.Sprint(id, sequence)
			if phase, seen := phases[set]; seen && phase != due%every {
				b.t.Errorf("the tick %s is out of the rhythm of its timer", tick)
			}
			phases[set] = due % every
		}
	}
}

// checkRows looks whether anything is left to see to.
func (c *chains) checkRows(actor interface {
	cajun.Target
	fmt.Stringer
}) {
	for _, row := range rowsOf(c.t, c.records, c.client, actor) {
		if slices.Contains([]string{"o/", "i/", "d/", "t/", "n/"}, row[:2]) {
			c.t.Errorf("%v still has the row %q", actor, row)
		}
	}
}
