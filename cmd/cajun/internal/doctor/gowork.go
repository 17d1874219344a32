package doctor

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/cajun-go/cajun/cmd/cajun/internal/gocmd"
)

// workspaces looks whether the module is left out of the workspace that it is in:
// the go command then knows none of its tools.
func (p *project) workspaces(ctx context.Context) []Finding {
	out, err := gocmd.RunOffline(ctx, p.dir, "env", "GOWORK")
	gowork := strings.TrimSpace(string(out))
	if err != nil || gowork == "" || gowork == "off" {
		return nil
	}
	var work struct{ Use []struct{ DiskPath string } }
	out, err = gocmd.RunOffline(ctx, p.dir, "work", "edit", "-json", gowork)
	if err != nil || json.Unmarshal(out, &work) != nil {
		return nil // the go command itself says what is wrong with it
	}
	own, err := os.Stat(p.dir)
	if err != nil {
		return nil
	}
	for _, use := range work.Use {
		folder := filepath.FromSlash(use.DiskPath)
		if !filepath.IsAbs(folder) {
			folder = filepath.Join(filepath.Dir(gowork), folder)
		}
		if info, err := os.Stat(folder); err == nil && os.SameFile(info, own) {
			return nil
		}
	}
	return []Finding{{gowork, "does not use this module, so that the go command finds none of its tools", "run go work use ."}}
}
