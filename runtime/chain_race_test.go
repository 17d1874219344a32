package cajun_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// TestGoroutinesOfHandlersRace: a handler may call from several goroutines, and
// leave some of them behind. It runs outside of a bubble, on all processors.
func TestGoroutinesOfHandlersRace(t *testing.T) {
	w := newWorld(t, 2)
	ctx := testContext(t)
	var stray sync.WaitGroup
	w.on("chain", func(ctx context.Context, self *cajun.Self) error {
		for i := range 4 {
			stray.Go(func() {
				_, _ = counterFrom(self, fmt.Sprint("b", i)).AddOnce(ctx, &probev1.AddRequest{Amount: 1})
			})
		}
		return nil
	})
	w.on("panic", func(ctx context.Context, self *cajun.Self) error {
		for i := range 4 {
			stray.Go(func() {
				_, _ = counterFrom(self, fmt.Sprint("b", i)).AddOnce(ctx, &probev1.AddRequest{Amount: 1})
			})
		}
		panic("as the test wants it")
	})
	for i := range 20 {
		for _, text := range []string{"chain", "panic"} {
			ctx, cancel := context.WithTimeout(ctx, 200e6)
			_, _ = probev1cajun.NewEchoPid(w.Node(0), fmt.Sprint(text, i)).Echo(ctx, &probev1.EchoRequest{Text: text})
			cancel()
		}
	}
	stray.Wait()
}
