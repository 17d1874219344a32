package gocmd

import (
	"context"
	"encoding/json"
	"fmt"
	"go/version"
	"os"
	"path/filepath"
	"strings"
)

// Unused looks whether the workspace that a module's folder is in takes the
// module. It returns the go.work file for which `go work use .` has to be run
// and what is wrong with it, or nothing.
func Unused(ctx context.Context, dir string) (gowork, wrong string) {
	out, err := RunOffline(ctx, dir, "env", "GOWORK")
	gowork = strings.TrimSpace(string(out))
	if err != nil || gowork == "" || gowork == "off" {
		return "", ""
	}
	var work struct {
		Go  string
		Use []struct{ DiskPath string }
	}
	out, err = RunOffline(ctx, dir, "work", "edit", "-json", gowork)
	if err != nil || json.Unmarshal(out, &work) != nil {
		return "", "" // the go command itself says what is wrong with it
	}
	own, err := os.Stat(dir)
	if err != nil {
		return "", ""
	}
	used := false
	for _, use := range work.Use {
		folder := filepath.FromSlash(use.DiskPath)
		if !filepath.IsAbs(folder) {
			folder = filepath.Join(filepath.Dir(gowork), folder)
		}
		info, err := os.Stat(folder)
		used = used || err == nil && os.SameFile(info, own)
	}
	if !used {
		return gowork, "does not use this module, so that the go command finds none of its tools"
	}
	if m, err := Read(ctx, dir); err == nil && version.Compare("go"+m.Go, "go"+work.Go) > 0 {
		return gowork, fmt.Sprintf("has go %s, and go.mod the newer go %s, so that no go command runs", work.Go, m.Go)
	}
	return "", ""
}
