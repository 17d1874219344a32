// Package command is the command line of cajun without the process around it.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// unpublished is what Go calls the version of a module that a replace directive
// takes from a folder.
const unpublished = "v0.0.0-00010101000000"

// failure is the error of a command that made sense and did not work out.
type failure struct {
	error
	code int
}

// Run does what the arguments ask for and returns the exit code: 0 when that
// was done, 1 when it failed or something was found, 2 when they make no sense.
// The exit code of a command that runs another one is that one's.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var failed failure
	switch {
	case err == nil:
		return 0
	case errors.As(err, &failed):
		if failed.error != nil {
			fmt.Fprintln(stderr, "cajun:", failed.error)
		}
		return failed.code
	}
	fmt.Fprintf(stderr, "cajun: %v\nRun `cajun --help`, or with a command, for what there is\n", err)
	return 2
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:               "cajun",
		Short:             "Start, generate and check projects with Cajun actors",
		Version:           orDevel(ownVersion()),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.AddCommand(newInit(), newGenerate(), newDoctor())
	return root
}

// failing makes of a function the RunE of a command: its errors are failures,
// not misuse.
func failing(run func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		var failed failure
		if err == nil || errors.As(err, &failed) {
			return err
		}
		return failure{err, 1}
	}
}

// ownVersion is the version of the module that this was built from, or "" when
// it has none that go.mod could name.
func ownVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || strings.HasPrefix(info.Main.Version, unpublished) || strings.Contains(info.Main.Version, "+") || info.Main.Version == "(devel)" {
		return ""
	}
	return info.Main.Version
}

func orDevel(version string) string {
	if version == "" {
		return "(devel)"
	}
	return version
}
