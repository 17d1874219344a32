package cajun_test

import (
	"context"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// TestOpeningDoesNotHoldTheActorUp: the node that has asked for the stream takes
// nothing at the moment.
func TestOpeningDoesNotHoldTheActorUp(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		ctx := testContext(t)
		p := w.counterOn(0, 1, "stuck")
		gate := w.hold("hold")
		cancelled, cancel := context.WithCancel(ctx)
		defer cancel()
		opening := async(func() (iter.Seq2[*probev1.AddReply, error], error) {
			return p.Watch(cancelled, &probev1.GetRequest{Script: "hold"})
		})
		receive(t, "the turn", gate.entered)
		w.Partition(0, 1)
		time.Sleep(2 * time.Second) // the link finds out
		gate.release()
		synctest.Wait()
		began := time.Now()
		if _, err := probev1cajun.NewCounterPid(w.Node(1), key(p)).Get(ctx, &probev1.GetRequest{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("the actor was held up for %v", took)
		}
		w.Heal()
		cancel()
		<-opening
	})
}
