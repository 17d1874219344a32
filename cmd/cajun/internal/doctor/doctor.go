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
	// Where is the file that is wrong, below the project's folder, and the place
	// in it if that is known.
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
	report.Findings = slices.Concat(p.obstacles(ctx), p.generatedVersions(), p.registeredTwice(), p.stale())
	return report, nil
}

// Obstacles looks only for what keeps code from being generated.
func Obstacles(ctx context.Context, dir string) ([]Finding, error) {
	p, err := load(ctx, dir)
	if err != nil {
		return nil, err
	}
	return p.obstacles(ctx), nil
}

func (p *project) obstacles(ctx context.Context) []Finding {
	return slices.Concat(p.workspaces(ctx), p.required(), p.settings(), p.plugins(ctx), p.options(), p.imports(), p.goPackages())
}
