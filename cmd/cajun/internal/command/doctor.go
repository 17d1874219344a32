package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cajun-go/cajun/cmd/cajun/internal/doctor"
)

func newDoctor() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Find the usual mistakes in a project",
		Long: `Look through the project in this folder for the usual mistakes: settings of
buf.gen.yaml that are missing, Go packages that are not where their code goes,
versions of plugin, generated code and runtime that do not fit, an old options
proto, Go code that is registered twice, and generated code that is not that of
its proto file.

It changes nothing, and needs neither buf nor a network. Each finding says what
to do. The exit code is 1 when there is one.`,
		Args: cobra.NoArgs,
		RunE: failing(func(cmd *cobra.Command, _ []string) error {
			report, err := doctor.Check(cmd.Context(), ".")
			if err != nil {
				return err
			}
			for _, finding := range report.Findings {
				fmt.Fprintln(cmd.OutOrStdout(), finding)
			}
			if n := len(report.Findings); n > 0 {
				return failure{fmt.Errorf("found %d to mend", n), 1}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "nothing wrong found in the settings, %d proto files and %d generated files\n", report.Protos, report.Generated)
			return nil
		}),
	}
}
