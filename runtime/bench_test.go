package cajun_test

import (
	"context"
	"testing"

	"github.com/cajun-go/cajun/cajuntest"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// BenchmarkPingPong is the floor for handing a message to another goroutine
// and back: two channels, nothing else.
func BenchmarkPingPong(b *testing.B) {
	there, back := make(chan *probev1.EchoRequest), make(chan *probev1.EchoRequest)
	go func() {
		for r := range there {
			back <- r
		}
	}()
	defer close(there)
	req := &probev1.EchoRequest{Text: "hello"}
	b.ReportAllocs()
	for b.Loop() {
		there <- req
		<-back
	}
}

func BenchmarkLocalCall(b *testing.B) {
	c := cajuntest.Start(b, 1, newBenchStage())
	pid := probev1cajun.NewEchoPid(c.Node(0), "bench")
	req := &probev1.EchoRequest{Text: "hello"}
	// No deadline and no cancel, and a copy with both.
	plain, bounded := context.Background(), b.Context()
	for name, call := range map[string]func() error{
		"copied":      func() error { _, err := pid.Echo(plain, req); return err },
		"immutable":   func() error { _, err := pid.EchoShared(plain, req); return err },
		"cancellable": func() error { _, err := pid.EchoShared(bounded, req); return err },
		"one-way":     func() error { return pid.Note(plain, req) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := call(); err != nil && name != "one-way" {
					b.Fatal(err)
				}
			}
		})
	}
}
