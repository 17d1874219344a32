// cajun is the command line of Cajun.
//
//	cajun init       write a first actor, with a test and a program
//	cajun generate   generate Go code, without an installed buf
//	cajun doctor     find what is wrong with a project's settings and code
//
// A module gets it with
//
//	go get -tool github.com/cajun-go/cajun/cmd/cajun
//
// and runs it as `go tool cajun`, in the version that go.mod names.
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/cajun-go/cajun/cmd/cajun/internal/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := command.Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
