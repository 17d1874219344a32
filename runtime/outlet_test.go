package cajun

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"weak"

	"github.com/cajun-go/cajun/link"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
)

// TestReaderThatLeavesWhileItsStreamOpens cancels a stream in the moment at which it
// is there to be cancelled.
func TestReaderThatLeavesWhileItsStreamOpens(t *testing.T) {
	for id := range uint64(10_000) {
		p := &peer{session: "reader", running: make(map[uint64]*call)}
		n := &Node{peers: map[string]*peer{p.session: p}}
		ctx, cancel := context.WithCancelCause(t.Context())
		f := &feed{life: ctx, cancel: cancel}
		o := newRemoteOutlet(n, remoteCaller{peer: p, id: id}, f)
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for ctx.Err() == nil {
					receiver{n}.Receive(p.session, link.Frame{Cancel: &link.Cancel{ID: id}})
				}
			})
		}
		o.open()
		readers.Wait()
	}
}

// TestEventsThatWereTakenAreLetGo, also while their streams are quiet.
func TestEventsThatWereTakenAreLetGo(t *testing.T) {
	o := newRemoteOutlet(nil, remoteCaller{}, nil)
	var all []weak.Pointer[link.Response]
	for range 10 {
		all = append(all, weak.Make(o.add(new(link.Response), 1)))
	}
	o.progress(link.Progress{Received: 5, Consumed: 5})
	gone(t, "the outlet", all[:5])
	o.progress(link.Progress{Received: 10, Consumed: 10})
	gone(t, "the outlet", all)
	runtime.KeepAlive(o)

	r := newReader(t.Context(), nil, nil)
	topic := Topic[*probev1.AddReply]{}
	s := &subscriber[*probev1.AddReply]{}
	var read, told []weak.Pointer[probev1.AddReply]
	for range 10 {
		a, b := new(probev1.AddReply), new(probev1.AddReply)
		read, told = append(read, weak.Make(a)), append(told, weak.Make(b))
		r.accept(event{message: a})
		s.queue = append(s.queue, b)
	}
	for taken := 1; taken <= 10; taken++ {
		r.take()
		_, _, _ = topic.next(s)
		gone(t, "the reader", read[:taken])
		gone(t, "the subscriber", told[:taken])
	}
	runtime.KeepAlive(r)
	runtime.KeepAlive(s)
}

func gone[T any](t *testing.T, where string, events []weak.Pointer[T]) {
	t.Helper()
	runtime.GC()
	for i, e := range events {
		if e.Value() != nil {
			t.Errorf("%s keeps event %d of %d", where, i, len(events))
		}
	}
}
