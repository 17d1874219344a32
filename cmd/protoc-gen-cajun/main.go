// protoc-gen-cajun is a plugin for buf and protoc. For every protobuf service
// that is marked with (cajun.v1.actor) it writes the Go interface that the
// actor implements, the option that hosts it, and the Pid that calls it.
//
// The output goes into a package of its own beneath the package of the
// messages: bank/v1/bank.proto, whose messages are in package bankv1, becomes
// bankv1cajun/bank.cajun.go. So who only needs the messages links nothing of
// the framework. The plugin takes the options that all Go plugins take (paths,
// module, M) and one of its own:
//
//   - package_suffix is what is appended to the name of the messages' package,
//     "cajun" by default. When it is empty, the output joins the messages'
//     package.
//
// Run by hand, `protoc-gen-cajun -options folder` writes cajun/v1/options.proto,
// which actors' proto files import, below a folder, in the version that fits
// the plugin.
//
// A proto method named Pid has the name of the field through which a Pid
// embeds [cajun.Pid]. The Pid type of an actor with such a method embeds it
// under an unexported name instead: all else stays, only the selector p.Pid is
// then the method.
//
// [cajun.Pid]: https://pkg.go.dev/github.com/cajun-go/cajun/runtime#Pid
package main

import (
	"fmt"
	"os"

	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/command"
	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin"
)

func main() {
	if len(os.Args) > 1 || command.ByHand(os.Stdin) {
		os.Exit(command.Run(os.Args[1:], os.Stdout, os.Stderr))
	}
	if err := plugin.Run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "protoc-gen-cajun:", err)
		os.Exit(1)
	}
}
