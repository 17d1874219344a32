package doctor

import (
	"context"

	"github.com/cajun-go/cajun/cmd/cajun/internal/gocmd"
)

// workspaces looks whether the module is left out of the workspace that it is in:
// the go command then knows none of its tools.
func (p *project) workspaces(ctx context.Context) []Finding {
	gowork, wrong := gocmd.Unused(ctx, p.dir)
	if gowork == "" {
		return nil
	}
	return []Finding{{gowork, wrong, "run go work use ."}}
}
