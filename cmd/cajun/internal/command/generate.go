package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/cajun-go/cajun/cmd/cajun/internal/buf"
	"github.com/cajun-go/cajun/cmd/cajun/internal/doctor"
)

func newGenerate() *cobra.Command {
	return &cobra.Command{
		Use:   "generate [arguments of buf generate]",
		Short: "Run buf generate, without an installed buf",
		Long: `Run buf ` + buf.Version + ` generate in this folder. If that version of buf is on the PATH, it is
used. Otherwise this is

  go run ` + buf.Package + ` generate

which downloads and compiles buf the first time, for some minutes, and adds
nothing to your go.mod. The exit code is that of buf. When buf fails, what
cajun doctor finds wrong in the settings is told after it.

To run it sooner the first time, install that version of buf:
https://buf.build/docs/cli/installation`,
		Example: "  cajun generate\n  cajun generate --path proto/counter",
		// All flags are buf's, but for --help alone.
		DisableFlagParsing: true,
		RunE: failing(func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
				return cmd.Help()
			}
			if _, err := os.Stat("buf.gen.yaml"); errors.Is(err, fs.ErrNotExist) && len(args) == 0 {
				return errors.New("there is no buf.gen.yaml in this folder: go to the one that has it, or write one with cajun init")
			}
			code, err := buf.Run(cmd.Context(), ".", append([]string{"generate"}, args...), cmd.OutOrStdout(), cmd.ErrOrStderr())
			if err != nil || code != 0 {
				if err == nil {
					tellObstacles(cmd)
				}
				return failure{err, code}
			}
			return nil
		}),
	}
}

// tellObstacles adds to what buf has said why code could not be generated, as
// far as the doctor knows. Plugins that fail have no places to tell, and those
// that have are not heard when another fails first.
func tellObstacles(cmd *cobra.Command) {
	if _, err := os.Stat("buf.gen.yaml"); err != nil {
		return // other settings are in use
	}
	findings, err := doctor.Obstacles(cmd.Context(), ".")
	if err != nil {
		return // buf has said enough
	}
	for _, finding := range findings {
		fmt.Fprintln(cmd.ErrOrStderr(), finding)
	}
}
