package cajun

import (
	"context"
	"sync"
	"testing"

	"github.com/cajun-go/cajun/link"
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
