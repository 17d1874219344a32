package cajun_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/placement"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// deed is what a handler does for one request, drawn before the storm begins. It
// travels as the request's script, and leaves a mark in the actor's state.
type deed struct {
	ID string
	// Fails is how many runs fail before they do anything.
	Fails int    `json:",omitempty"`
	Tasks []task `json:",omitempty"`
	// End is "fail" for a handler that says no after all it has done, and "panic"
	// for one that panics the first time that it gets there.
	End string `json:",omitempty"`
}

// task is something that a caller or a handler does to another actor.
type task struct {
	// Do is a call ("once", "sure", "keyed"), a message ("send", "sendSure"), a
	// timer ("timer", "every", or "stop" for the end of one), or "wait".
	Do, To string
	Deed   deed
	After  time.Duration `json:",omitempty"`
	Every  time.Duration `json:",omitempty"`
	// Strict says that a handler passes on the error of a call.
	Strict bool `json:",omitempty"`
}

func (t task) isCall() bool { return t.Do == "once" || t.Do == "sure" || t.Do == "keyed" }

// plan is a task as the audit looks for its effect.
type plan struct {
	task
	from string // who does it
}

// dead reports whether the message ends as a dead letter.
func (p plan) dead() bool { return !p.isCall() && p.Deed.End == "fail" }

// once reports whether the effect is to happen once for each time that somebody
// does the task.
func (p plan) once() bool {
	return p.Do != "sure" && (p.Do != "sendSure" || strings.HasPrefix(p.from, "out"))
}

// chains is a storm of calls that lead to calls, messages and timers.
type chains struct {
	*storm
	stage    *stage
	counters []string
	echoes   []string

	mu sync.Mutex
	// plans are by the ID of the deed, timers the repeating ones by who sets them,
	// and stops those that somebody may remove.
	plans  map[string]plan
	timers map[string][]task
	stops  map[string]bool
	// runs counts the runs of each deed.
	runs     map[string]int
	panicked map[string]bool
	// mended says that what was to fail for ever does so no more.
	mended bool
	// told are the marks that callers outside have seen, stopped is when they
	// were told that a timer is gone, and replies are those of calls under a key.
	told    map[string]int64
	stopped map[string]int64
	replies map[string]*probev1.AddReply
	odd     []string
}

func newChains(t *testing.T, rnd *rand.Rand) *chains {
	c := &chains{stage: newStage(), echoes: []string{"e0", "e1"}, plans: make(map[string]plan), timers: make(map[string][]task), stops: make(map[string]bool), runs: make(map[string]int),
		panicked: make(map[string]bool), told: make(map[string]int64), stopped: make(map[string]int64), replies: make(map[string]*probev1.AddReply)}
	// Two in each shard, as a shard is one caller.
	for i := range 3 {
		first := fmt.Sprint("a", i)
		c.counters = append(c.counters, first)
		for k := 0; len(c.counters)%2 != 0; k++ {
			if other := fmt.Sprint("b", k); placement.ShardOf(other, 64) == placement.ShardOf(first, 64) {
				c.counters = append(c.counters, other)
			}
		}
	}
	c.storm = newStorm(t, rnd, 3+rnd.IntN(2), cajun.Options(
		probev1cajun.HostCounter(func(self *cajun.Self, st *probev1.CounterState) (*chainCounter, error) {
			return &chainCounter{&counter{stage: c.stage, self: self, state: st}, c}, nil
		}),
		probev1cajun.HostEcho(func(self *cajun.Self) (*chainEcho, error) {
			return &chainEcho{&echo{stage: c.stage, self: self}, c}, nil
		})))
	return c
}

// What callers outside and handlers do.
var (
	outside = strings.Fields("once once once once once sure keyed keyed keyed send send send sendSure timer timer every stop")
	inside  = strings.Fields("once once once once sure send send send sendSure timer every stop wait wait")
)

// plot draws a task of somebody, with all that follows from it.
func (c *chains) plot(rnd *rand.Rand, id, from string, depth int) task {
	t := task{Do: inside[rnd.IntN(len(inside))], To: c.counters[rnd.IntN(len(c.counters))], Deed: deed{ID: id}, Strict: rnd.IntN(4) == 0}
	if depth == 0 {
		t.Do = outside[rnd.IntN(len(outside))]
	}
	switch {
	case t.Do == "wait":
		t.After = time.Duration(rnd.Int64N(int64(400 * time.Millisecond)))
		return t
	case t.Do == "stop" && len(c.timers[from]) > 0:
		t = c.timers[from][rnd.IntN(len(c.timers[from]))]
		t.Do, t.Deed = "stop", deed{ID: t.Deed.ID}
		c.stops[t.Deed.ID] = true
		return t
	case t.Do == "stop":
		t.Do = "once"
	case t.Do == "timer":
		t.After = time.Duration(rnd.Int64N(int64(10 * time.Second)))
	case t.Do == "every":
		c.plotEvery(rnd, &t, from)
		return t
	}
	if t.Do == "once" && rnd.IntN(4) == 0 {
		t.To = c.echoes[rnd.IntN(len(c.echoes))]
	}
	for i := range rnd.IntN(4) {
		if i+depth < 4 {
			t.Deed.Tasks = append(t.Deed.Tasks, c.plot(rnd, fmt.Sprint(id, ".", i), t.To, depth+1))
		}
	}
	t.Deed.End = map[int]string{0: "fail", 1: "panic"}[rnd.IntN(12)]
	if rnd.IntN(10) == 0 {
		t.Deed.Fails = 1
	}
	for i := range t.Deed.Tasks {
		if !t.isCall() {
			t.Deed.Tasks[i].Strict = false // an error of a call is none of the message's
		}
	}
	c.plans[id] = plan{t, from}
	return t
}

// plotEvery makes a repeating timer of a task. A part of them send messages.
func (c *chains) plotEvery(rnd *rand.Rand, t *task, from string) {
	id := t.Deed.ID
	t.After, t.Every = time.Duration(rnd.Int64N(int64(5*time.Second))), time.Second+time.Duration(rnd.Int64N(int64(4*time.Second)))
	c.timers[from] = append(c.timers[from], *t)
	if rnd.IntN(2) == 0 {
		t.Deed.Tasks = []task{{Do: "send", To: c.counters[rnd.IntN(len(c.counters))], Deed: deed{ID: id + ".0"}}}
		c.plans[id+".0"] = plan{t.Deed.Tasks[0], t.To}
	}
	c.plans[id] = plan{*t, from}
}

// hand does tasks: that of a caller outside, or that of a handler.
type hand struct {
	c    *chains
	from cajun.Caller
	// sender is whose messages are numbered in marks, if anybody's.
	sender string
	// runs is how often the actor's state was changed before: a handler that is
	// run again must not see another one.
	runs  int64
	marks map[string]int64
}

func (h *hand) isOutside() bool {
	_, ok := h.from.(*cajun.Node)
	return ok
}

func (h *hand) do(ctx context.Context, t task) error {
	switch {
	case t.Do == "wait":
		during(t.After)
		return nil
	case t.isCall():
		err := h.call(ctx, t)
		h.note(t.Deed.ID, "ok/", err)
		if !t.Strict {
			return nil
		}
		return err
	}
	err := h.send(ctx, t)
	switch t.Do {
	case "send", "sendSure":
		h.note(t.Deed.ID, "sent/", err)
	case "stop":
		h.note("stop-"+t.Deed.ID, "ok/", err)
	default:
		h.note(t.Deed.ID, "set/", err)
	}
	return err
}

// note marks what has come of a task: that it was done, that it certainly has no
// effect, or that nobody knows.
func (h *hand) note(id, done string, err error) {
	if err == nil {
		h.marks[done+id]++
		return
	}
	for _, bad := range []string{"forgotten", "other arguments", "unacknowledged at this actor", "no member"} {
		if strings.Contains(err.Error(), bad) {
			h.c.suspect("%s: %v", id, err)
		}
	}
	switch o := cajun.OutcomeOf(err); {
	case o == guarantee.Answered, o == guarantee.NotExecuted, o == guarantee.NotCommitted && h.isOutside():
		h.marks["no/"+id]++
	default:
		h.marks["lost/"+id]++
	}
}

func (c *chains) suspect(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.odd = append(c.odd, fmt.Sprintf(format, args...))
}

func script(d deed) string {
	b, _ := json.Marshal(d) // of strings and numbers
	return string(b)
}

func (h *hand) call(ctx context.Context, t task) error {
	if strings.HasPrefix(t.To, "e") {
		r, err := probev1cajun.NewEchoPid(h.from, t.To).EchoOnce(ctx, &probev1.EchoRequest{Text: script(t.Deed)})
		if err != nil {
			return err
		}
		return json.Unmarshal(r.GetPayload(), &h.marks) // adds what the echo has noted
	}
	pid, r := counterFrom(h.from, t.To), &probev1.AddRequest{Script: script(t.Deed), Amount: h.runs}
	switch t.Do {
	case "sure":
		_, err := pid.AddSure(ctx, r)
		return err
	case "keyed":
		reply, err := pid.Add(cajun.Idempotent(ctx, t.Deed.ID), r)
		if err == nil {
			h.c.mu.Lock()
			defer h.c.mu.Unlock()
			h.c.replies[t.Deed.ID] = reply
		}
		return err
	}
	_, err := pid.AddOnce(ctx, r)
	return err
}

// send sends a message, or sets or removes a timer. Messages that arrive once are
// numbered for each receiver, without those that are to become dead letters.
func (h *hand) send(ctx context.Context, t task) error {
	pid, r := counterFrom(h.from, t.To), &probev1.AddRequest{Script: script(t.Deed)}
	switch t.Do {
	case "stop":
		return cajun.Unschedule(ctx, pid, t.Deed.ID)
	case "timer", "every":
		return cajun.Schedule(ctx, pid.NoteOnce, r, cajun.Timer{Name: t.Deed.ID, After: t.After, Every: t.Every})
	case "sendSure":
		if !h.isOutside() {
			return pid.NoteSure(ctx, r)
		}
	}
	if h.sender != "" && t.Deed.End != "fail" {
		h.marks["to/"+t.To]++
		r.Labels = map[string]int64{h.sender: h.marks["to/"+t.To]}
	}
	if t.Do == "sendSure" {
		return pid.NoteSure(ctx, r)
	}
	return pid.NoteOnce(ctx, r)
}

// perform does a deed in a handler.
func (h *hand) perform(ctx context.Context, d deed) error {
	for _, t := range d.Tasks {
		if err := h.do(ctx, t); err != nil {
			return err
		}
	}
	h.c.mu.Lock()
	mended, again := h.c.mended, h.c.panicked[d.ID]
	h.c.panicked[d.ID] = true
	h.c.mu.Unlock()
	switch {
	case d.End == "fail" && !mended:
		return errRehearsed
	case d.End == "panic" && !again:
		panic(errRehearsed)
	}
	return nil
}

// begin reads a deed, and reports false for a run that is to fail at once.
func (c *chains) begin(script string) (d deed, ok bool) {
	if err := json.Unmarshal([]byte(script), &d); err != nil {
		c.suspect("the script %q: %v", script, err)
		return d, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs[d.ID]++
	return d, c.runs[d.ID] > d.Fails
}

// chainCounter is a counter that does deeds and keeps their marks.
type chainCounter struct {
	*counter
	c *chains
}

func (a *chainCounter) Add(ctx context.Context, r *probev1.AddRequest) (*probev1.AddReply, error) {
	d, ok := a.c.begin(r.GetScript())
	if !ok {
		return nil, errRehearsed
	}
	if a.state.ByLabel == nil {
		a.state.ByLabel = make(map[string]int64)
	}
	marks := a.state.ByLabel
	marks["did/"+d.ID]++
	call, _ := cajun.CallFrom(ctx)
	if _, tick, ok := strings.Cut(call.ID, "/timer/"); ok {
		marks["tick/"+tick]++
	}
	for sender, n := range r.GetLabels() {
		last := marks["from/"+sender]
		// What was sent from outside may have got lost.
		if n <= last || n > last+1 && !strings.HasPrefix(sender, "out") {
			marks[fmt.Sprintf("disorder/%s: %d after %d", sender, n, last)]++
		}
		marks["from/"+sender] = n
	}
	h := &hand{c: a.c, from: a.self, sender: a.self.Key(), runs: a.state.Runs, marks: marks}
	a.state.Runs++
	if err := h.perform(ctx, d); err != nil {
		return nil, err
	}
	return &probev1.AddReply{Runs: a.state.Runs}, nil
}

func (a *chainCounter) AddSure(ctx context.Context, r *probev1.AddRequest) (*probev1.AddReply, error) {
	return a.Add(ctx, r)
}

func (a *chainCounter) AddOnce(ctx context.Context, r *probev1.AddRequest) (*probev1.AddReply, error) {
	return a.Add(ctx, r)
}

func (a *chainCounter) Get(context.Context, *probev1.GetRequest) (*probev1.AddReply, error) {
	return &probev1.AddReply{ByLabel: a.state.ByLabel, Runs: a.state.Runs}, nil
}

func (a *chainCounter) NoteSure(ctx context.Context, r *probev1.AddRequest) error {
	_, err := a.Add(ctx, r)
	return err
}

func (a *chainCounter) NoteOnce(ctx context.Context, r *probev1.AddRequest) error {
	_, err := a.Add(ctx, r)
	return err
}

// chainEcho has no state to keep marks in: its callers get them.
type chainEcho struct {
	*echo
	c *chains
}

func (a *chainEcho) EchoOnce(ctx context.Context, r *probev1.EchoRequest) (*probev1.EchoReply, error) {
	d, ok := a.c.begin(r.GetText())
	if !ok {
		return nil, errRehearsed
	}
	h := &hand{c: a.c, from: a.self, marks: make(map[string]int64)}
	if err := h.perform(ctx, d); err != nil {
		return nil, err
	}
	payload, err := json.Marshal(h.marks)
	return &probev1.EchoReply{Payload: payload}, err
}

// errand is a task of a caller outside, after a pause and through a node: the
// client, more often than not.
type errand struct {
	task
	pause   time.Duration
	through int
}

// call does the errands of one caller, one after the other.
func (c *chains) call(caller string, errands []errand) {
	sent := make(map[string]int64) // messages to each actor
	for _, e := range errands {
		during(e.pause)
		n := c.node(e.through)
		h := &hand{c: c, from: n, sender: caller + "/" + n.ID(), marks: map[string]int64{"to/" + e.To: sent[e.To]}}
		ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
		_ = h.do(ctx, e.task) // it is in the marks
		cancel()
		sent[e.To] = h.marks["to/"+e.To]
		delete(h.marks, "to/"+e.To)
		c.mu.Lock()
		for mark, n := range h.marks {
			c.told[mark] += n
		}
		if h.marks["ok/stop-"+e.Deed.ID] > 0 && c.stopped[e.Deed.ID] == 0 && c.told["set/"+e.Deed.ID] > 0 {
			c.stopped[e.Deed.ID] = time.Now().UnixNano()
		}
		c.mu.Unlock()
	}
}

// TestChainStorm: whatever happens to nodes, stores and links, what calls,
// messages and timers have led to is there in the end, as often as it should,
// and nothing else.
func TestChainStorm(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		c := newChains(t, rnd)
		defer c.close()
		plans := make(map[string][]errand)
		for k := range 6 {
			caller := fmt.Sprint("out", k)
			for i := range 20 {
				e := errand{task: c.plot(rnd, fmt.Sprint(caller, "-", i), caller, 0), pause: time.Duration(rnd.Int64N(int64(3 * time.Second))), through: -1}
				if rnd.IntN(3) == 0 {
					e.through = rnd.IntN(len(c.nodes))
				}
				plans[caller] = append(plans[caller], e)
			}
		}
		c.w.bad.Store(true)
		var callers sync.WaitGroup
		for caller, errands := range maps.All(plans) {
			callers.Go(func() { c.call(caller, errands) })
		}
		for range 16 {
			during(time.Duration(rnd.Int64N(int64(4 * time.Second))))
			c.disturb(rnd, rnd.IntN(len(c.nodes)))
		}
		callers.Wait()
		c.calm()
		c.audit(rnd)
	})
}
