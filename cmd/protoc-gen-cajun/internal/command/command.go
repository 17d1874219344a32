// Package command is what protoc-gen-cajun does when a person runs it. A
// compiler runs it without arguments.
package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	cajunproto "github.com/cajun-go/cajun/proto"
)

const usage = `protoc-gen-cajun writes typed actors in Go for protobuf services. buf and protoc
run it as a plugin, without arguments; in buf.gen.yaml:

  - local: ["go", "tool", "protoc-gen-cajun"]
    out: .
    opt: module=example.com/bank

By hand it takes:

`

// unpublished is what Go calls the version of a module that a replace directive
// takes from a folder.
const unpublished = "v0.0.0-00010101000000"

// ByHand reports whether a person is at the other end of stdin: a compiler
// sends its request through a pipe, and a person would wait for an answer to
// nothing.
func ByHand(stdin *os.File) bool {
	info, err := stdin.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Run does what the arguments ask for and returns the exit code: 0 when that
// was done, 1 when it failed, 2 when they make no sense.
func Run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("protoc-gen-cajun", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	version := flags.Bool("version", false, "print the version")
	folder := flags.String("options", "", "write "+cajunproto.OptionsPath+", which actors' proto files import, into this `folder`")
	help := func(w io.Writer) {
		fmt.Fprint(w, usage)
		flags.SetOutput(w)
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		help(stdout)
		return 0
	case err == nil && flags.NArg() > 0:
		err = fmt.Errorf("%q is no flag", flags.Arg(0))
		fallthrough
	case err != nil:
		fmt.Fprintf(stderr, "protoc-gen-cajun: %v\n\n", err)
		help(stderr)
		return 2
	}
	if *version {
		fmt.Fprintln(stdout, "protoc-gen-cajun", ownVersion())
		return 0
	}
	if *folder == "" {
		help(stderr)
		return 2
	}
	if err := writeOptions(*folder); err != nil {
		fmt.Fprintln(stderr, "protoc-gen-cajun:", err)
		return 1
	}
	return 0
}

// writeOptions writes the options of this version below a folder.
func writeOptions(folder string) error {
	path := filepath.Join(folder, filepath.FromSlash(cajunproto.OptionsPath))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("cannot make the folder of the options: %w", err)
	}
	if err := os.WriteFile(path, []byte(cajunproto.Options()), 0o644); err != nil {
		return fmt.Errorf("cannot write the options: %w", err)
	}
	return nil
}

// ownVersion is the version of the module that the plugin was built from.
func ownVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || strings.HasPrefix(info.Main.Version, unpublished) {
		return "(devel)"
	}
	return info.Main.Version
}
