//go:build unix

package failpoint

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	failpointv1 "github.com/cajun-go/cajun/crashtest/gen/failpoint/v1"
	"github.com/cajun-go/cajun/crashtest/gen/failpoint/v1/failpointv1cajun"
	"github.com/cajun-go/cajun/crashtest/internal/process"
	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
)

const (
	// attempt bounds one attempt of a call that is repeated under a key, from
	// whatever client, and patient how long it is repeated, or how long a client
	// goes on by itself.
	attempt = 2 * time.Second
	patient = 40 * time.Second
)

// load calls scribes from several goroutines at once and keeps the books on what
// it was told.
type load struct {
	*books
	c      *cluster
	prefix string
	kinds  []func(*load, *job)
	clocks []string
	// groupSize is how many calls are made before the load goes on to other
	// scribes: those of before are then left alone with what they have to see to.
	groupSize int
	// rows is how many scribes of each sort there are in a group.
	rows int

	next atomic.Int64
	stop chan struct{}
	work sync.WaitGroup
}

// job is one call that the load makes.
type job struct {
	// name is unique, and key that of the caller's own.
	name string
	// place says which scribes of the group are called.
	place string
	// worker numbers the goroutine, and group its scribes.
	worker int
}

// everything is all sorts of calls that a load can make.
var everything = []func(*load, *job){
	(*load).enter, (*load).enterOnce, (*load).enterLoosely, (*load).chain, (*load).chainLoosely, (*load).post, (*load).postLoosely,
	(*load).note, (*load).noteUnderKey, (*load).alarm,
}

// begin starts so many callers, who go on until end, and clocks, which are timers
// that ring again and again.
func begin(c *cluster, prefix string, callers, clocks, groupSize, rows int, kinds []func(*load, *job)) *load {
	l := &load{books: newBooks(), c: c, prefix: prefix, kinds: kinds, groupSize: groupSize, rows: rows, stop: make(chan struct{})}
	c.progress = l.next.Load
	for i := range clocks {
		l.clocks = append(l.clocks, fmt.Sprintf("%s-clock-%d", prefix, i))
	}
	for _, clock := range l.clocks {
		l.work.Go(func() { l.startClock(clock) })
	}
	for worker := range callers {
		l.work.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
					l.call(worker, int(l.next.Add(1)-1))
				}
			}
		})
	}
	return l
}

// end stops the callers and waits for their last calls.
func (l *load) end() {
	close(l.stop)
	l.work.Wait()
}

// call makes the n-th call.
func (l *load) call(worker, n int) {
	j := &job{name: fmt.Sprintf("%s-%d", l.prefix, n), place: fmt.Sprintf("%s-%d-%d", l.prefix, n/l.groupSize, n%l.rows), worker: worker}
	l.kinds[n%len(l.kinds)](l, j)
}

func scribeFor(from cajun.Caller, key string) failpointv1cajun.ScribePid {
	return failpointv1cajun.NewScribePid(from, key)
}

// insist makes a call under a key, from whatever client, until it is answered.
func (l *load) insist(key string, call func(ctx context.Context, from *cajun.Node) error) (answered bool) {
	ctx, cancel := context.WithTimeout(l.c.t.Context(), process.Patience(patient))
	defer cancel()
	var last error
	over := poll(ctx, func() bool {
		ctx, cancel := context.WithTimeout(ctx, process.Patience(attempt))
		defer cancel()
		last = call(cajun.Idempotent(ctx, key), l.c.anyClient())
		return last == nil || cajun.OutcomeOf(last) == guarantee.Answered
	})
	switch {
	case last == nil:
		return true
	case over:
		l.wrong("call %s was refused: %v", key, last)
	default:
		l.wrong("call %s got no answer: %v", key, last)
	}
	return false
}

// once makes a call that the client itself repeats, and reports whether it was
// answered.
func (l *load) once(what string, call func(ctx context.Context, from *cajun.Node) error) bool {
	ctx, cancel := context.WithTimeout(l.c.t.Context(), process.Patience(patient))
	defer cancel()
	err := call(ctx, l.c.anyClient())
	if err != nil {
		l.wrong("%s got no answer: %v: %v", what, cajun.OutcomeOf(err), err)
	}
	return err == nil
}

// loosely makes a call once, and returns what is known of it then.
func (l *load) loosely(call func(ctx context.Context, from *cajun.Node) error) fate {
	ctx, cancel := context.WithTimeout(l.c.t.Context(), process.Patience(attempt))
	defer cancel()
	err := call(ctx, l.c.anyClient())
	if err == nil {
		return happened
	}
	switch cajun.OutcomeOf(err) {
	case guarantee.NotExecuted, guarantee.NotCommitted:
		return never
	}
	return perhaps
}

// enter makes an entry under a key, and now and then asks for it again.
func (l *load) enter(j *job) {
	scribe := j.place + "-enter"
	var first *failpointv1.EnterReply
	call := func(ctx context.Context, from *cajun.Node) error {
		r, err := scribeFor(from, scribe).Enter(ctx, &failpointv1.EnterRequest{Name: j.name})
		if err == nil && first != nil && r.GetEntries() != first.GetEntries() {
			l.wrong("call %s was answered with %d and then with %d", j.name, first.GetEntries(), r.GetEntries())
		}
		first = r
		return err
	}
	l.entry(scribe, j.name, perhaps)
	if l.insist(j.name, call) {
		l.entry(scribe, j.name, happened)
		if rand.IntN(4) == 0 {
			l.insist(j.name, call)
		}
	}
}

// enterOnce leaves the repeats to the client.
func (l *load) enterOnce(j *job) {
	scribe := j.place + "-enter"
	l.entry(scribe, j.name, perhaps)
	if l.once("entry "+j.name, func(ctx context.Context, from *cajun.Node) error {
		_, err := scribeFor(from, scribe).Enter(cajun.Deliver(ctx, guarantee.ExactlyOnce), &failpointv1.EnterRequest{Name: j.name})
		return err
	}) {
		l.entry(scribe, j.name, happened)
	}
}

// enterLoosely is not repeated.
func (l *load) enterLoosely(j *job) {
	scribe := j.place + "-enter"
	l.entry(scribe, j.name, perhaps)
	l.entry(scribe, j.name, l.loosely(func(ctx context.Context, from *cajun.Node) error {
		_, err := scribeFor(from, scribe).Enter(ctx, &failpointv1.EnterRequest{Name: j.name})
		return err
	}))
}

// chain has three scribes make an entry, each on behalf of the one before, and
// send a note.
func (l *load) chain(j *job) {
	request, scribes := j.chain()
	l.together(j.name, scribes)
	var first *failpointv1.ChainReply
	if l.insist(j.name, func(ctx context.Context, from *cajun.Node) error {
		r, err := scribeFor(from, scribes[0]).Chain(ctx, request)
		if err == nil && first != nil && !slices.Equal(r.GetEntries(), first.GetEntries()) {
			l.wrong("chain %s was answered with %d and then with %d", j.name, first.GetEntries(), r.GetEntries())
		}
		first = r
		return err
	}) {
		l.entries(scribes, j.name, happened)
	}
}

// chainLoosely is not repeated: the chain is finished all the same once it has
// begun.
func (l *load) chainLoosely(j *job) {
	request, scribes := j.chain()
	l.together(j.name, scribes)
	l.entries(scribes, j.name, l.loosely(func(ctx context.Context, from *cajun.Node) error {
		_, err := scribeFor(from, scribes[0]).Chain(ctx, request)
		return err
	}))
}

func (j *job) chain() (*failpointv1.ChainRequest, []string) {
	scribes := []string{j.place + "-first", j.place + "-second", j.place + "-third"}
	return &failpointv1.ChainRequest{Name: j.name, Next: scribes[1:], NoteTo: j.place + "-to"}, scribes
}

// post has a scribe send notes and set a timer.
func (l *load) post(j *job) {
	request, scribe := j.post()
	l.entry(scribe, j.name, perhaps)
	l.entry(scribe, ringOf(j.name), perhaps)
	var reply *failpointv1.PostReply
	if l.insist(j.name, func(ctx context.Context, from *cajun.Node) (err error) {
		reply, err = scribeFor(from, scribe).Post(ctx, request)
		return err
	}) {
		l.posted(scribe, request, reply)
	}
}

// postLoosely is not repeated.
func (l *load) postLoosely(j *job) {
	request, scribe := j.post()
	l.entry(scribe, j.name, perhaps)
	l.entry(scribe, ringOf(j.name), perhaps)
	var reply *failpointv1.PostReply
	switch f := l.loosely(func(ctx context.Context, from *cajun.Node) (err error) {
		reply, err = scribeFor(from, scribe).Post(ctx, request)
		return err
	}); f {
	case happened:
		l.posted(scribe, request, reply)
	default:
		l.entry(scribe, j.name, f)
		l.entry(scribe, ringOf(j.name), f)
	}
}

// post names a sender that few others use, and receivers that many share.
func (j *job) post() (*failpointv1.PostRequest, string) {
	return &failpointv1.PostRequest{
		Name: j.name, To: []string{j.place + "-to", j.place + "-too"}, Notes: 3,
		RingAfterNanos: int64(rand.N(300*time.Millisecond)) + 1, Witness: j.place + "-witness",
	}, fmt.Sprintf("%s-from-%d", j.place, j.worker)
}

// note sends a numbered note from outside.
func (l *load) note(j *job) {
	to, from := j.place+"-to", fmt.Sprintf("%s-outside-%d", l.prefix, j.worker)
	number := l.number(to, from)
	if l.once(fmt.Sprintf("note %d of %s", number, from), func(ctx context.Context, _ *cajun.Node) error {
		// All from one client: notes from two are in no order.
		return scribeFor(l.c.clients[j.worker%len(l.c.clients)], to).Note(ctx, &failpointv1.NoteRequest{From: from, Number: number})
	}) {
		l.noted(to, from, number)
	}
}

// noteUnderKey sends a note that has no place in an order.
func (l *load) noteUnderKey(j *job) {
	to, from := j.place+"-to", "outside-"+j.name
	number := l.number(to, from)
	if l.insist(j.name, func(ctx context.Context, node *cajun.Node) error {
		return scribeFor(node, to).Note(ctx, &failpointv1.NoteRequest{From: from, Number: number})
	}) {
		l.noted(to, from, number)
	}
}

// alarm sets a timer from outside.
func (l *load) alarm(j *job) {
	scribe, witness := j.place+"-alarm", j.place+"-witness"
	l.entry(scribe, ringOf(j.name), perhaps)
	timer := cajun.Timer{Name: j.name, After: rand.N(300 * time.Millisecond)}
	if l.insist(j.name, func(ctx context.Context, from *cajun.Node) error {
		return cajun.Schedule(ctx, scribeFor(from, scribe).Ring, &failpointv1.RingRequest{Name: j.name, Witness: witness}, timer)
	}) {
		l.rings(scribe, j.name, witness)
	}
}

// clockPeriod is how often clocks ring.
const clockPeriod = 50 * time.Millisecond

func (l *load) startClock(key string) {
	l.insist(key, func(ctx context.Context, from *cajun.Node) error {
		ring := &failpointv1.RingRequest{Name: key, EveryNanos: int64(clockPeriod), Witness: witnessOf(key)}
		return cajun.Schedule(ctx, scribeFor(from, key).Ring, ring, cajun.Timer{Name: key, Every: clockPeriod})
	})
}

func (l *load) stopClock(key string) {
	l.insist(key+" stops", func(ctx context.Context, from *cajun.Node) error {
		return cajun.Unschedule(ctx, scribeFor(from, key), key)
	})
}

func witnessOf(clock string) string { return clock + "-witness" }
