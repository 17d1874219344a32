package command

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cajun-go/cajun/cmd/cajun/internal/scaffold"
)

func newInit() *cobra.Command {
	var program string
	cmd := &cobra.Command{
		Use:   "init [module path]",
		Short: "Write a first actor, with a test and a program",
		Long: `Write a first actor into this folder: its proto file, the settings of buf, its
code in Go with a test, and a program that calls it. The folder is the root of
your module, or empty: then a module is started there.

No file is ever overwritten. If one is in the way, nothing is written. go.mod
gets the requirements and tools that the files need.`,
		Example: "  cajun init example.com/hello\n  cajun init --program cmd/counter",
		Args:    cobra.MaximumNArgs(1),
		RunE: failing(func(cmd *cobra.Command, args []string) error {
			plan := scaffold.Plan{Dir: ".", Program: program, Version: ownVersion()}
			if len(args) == 1 {
				plan.Module = args[0]
			}
			done, err := scaffold.Do(cmd.Context(), plan)
			tellFiles(cmd.OutOrStdout(), done)
			if err != nil {
				return err
			}
			tellNext(cmd.OutOrStdout(), done)
			return nil
		}),
	}
	cmd.Flags().StringVar(&program, "program", ".", "the `folder` of the program, for a module with Go files in its root")
	return cmd
}

func tellFiles(w io.Writer, done scaffold.Done) {
	if done.Started {
		fmt.Fprintf(w, "started module %s\n", done.Module)
	}
	for _, name := range done.Files {
		fmt.Fprintf(w, "wrote %s\n", name)
	}
}

// tellNext says the next commands.
func tellNext(w io.Writer, done scaffold.Done) {
	run := "."
	if done.Program != "." {
		run = "./" + done.Program
	}
	fmt.Fprint(w, "\nNext:\n")
	if done.Unused {
		fmt.Fprint(w, "  go work use . # the workspace that this folder is in does not take the module yet\n")
	}
	if done.Vendored {
		fmt.Fprint(w, "  go mod vendor -e # for the tools; it complains of code that is not generated yet\n")
	}
	fmt.Fprint(w, "  go tool cajun generate # or buf generate, if you have buf\n")
	if done.Vendored {
		fmt.Fprint(w, "  go mod tidy && go mod vendor\n")
	}
	fmt.Fprintf(w, "  go test ./... && go run %s\n", run)
}
