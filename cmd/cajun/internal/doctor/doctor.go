// Package doctor finds the usual mistakes in a project with actors. It reads
// files and asks the go command, and needs neither buf nor a network. It only
// tells what is certainly wrong; what it does not see, compilers do.
package doctor

import (
	"context"
	"fmt"
	"slices"
)

// Finding is one mistake.
type Finding struct {
	// Where is the file that is wrong, below the project's folder.
	Where string
	// Wrong says what is wrong and what comes of it.
	Wrong string
	// Do says what to do.
	Do string
}

// String returns the finding in two lines.
func (f Finding) String() string { return fmt.Sprintf("%s: %s\n  %s", f.Where, f.Wrong, f.Do) }

// Report is what Check has seen.
type Report struct {
	Findings []Finding
	// Protos and Generated count the files that were looked at.
	Protos, Generated int
}

// Check looks at the project in a folder, which has go.mod and buf.gen.yaml.
func Check(ctx context.Context, dir string) (Report, error) {
	p, err := load(ctx, dir)
	if err != nil {
		return Report{}, err
	}
	report := Report{Protos: len(p.protos), Generated: len(p.generated)}
	report.Findings = slices.Concat(
		p.required(),
		p.settings(),
		p.plugins(ctx),
		p.generatedVersions(),
		p.options(),
		p.registeredTwice(),
		p.stale(),
	)
	return report, nil
}
