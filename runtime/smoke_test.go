package cajun_test

import (
	"fmt"
	"testing"

	"github.com/cajun-go/cajun/cajuntest"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

func TestSmoke(t *testing.T) {
	s := newStage()
	c := cajuntest.Start(t, 3, s.options())
	ctx := testContext(t)
	for i := range 300 {
		pid := probev1cajun.NewCounterPid(c.Node(i%3), fmt.Sprint("a", i%50))
		for _, f := range []func() (*probev1.AddReply, error){
			func() (*probev1.AddReply, error) { return pid.Add(ctx, &probev1.AddRequest{Amount: 1}) },
			func() (*probev1.AddReply, error) { return pid.AddSure(ctx, &probev1.AddRequest{Amount: 1}) },
			func() (*probev1.AddReply, error) { return pid.AddOnce(ctx, &probev1.AddRequest{Amount: 1}) },
		} {
			r, err := f()
			if err != nil {
				t.Fatal(i, err)
			}
			_ = r
		}
	}
	for i := range 50 {
		pid := probev1cajun.NewCounterPid(c.Node(i%3), fmt.Sprint("a", i))
		r, err := pid.Get(ctx, &probev1.GetRequest{})
		if err != nil || r.Sum != 18 {
			t.Fatal(i, err, r)
		}
	}
	_ = cajun.Version
}
