// Package gocmd asks the go command about a module, and has it change one.
package gocmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Cajun is the path of the framework's module.
const Cajun = "github.com/cajun-go/cajun"

// Module is what a go.mod file says.
type Module struct {
	Module  struct{ Path string }
	Go      string
	Require []Version
	Replace []struct{ Old, New Version }
	Tool    []struct{ Path string }
}

// Version is a module at a version; in a replacement by a folder there is none.
type Version struct{ Path, Version string }

// Required returns the version of a module that go.mod requires, or "".
func (m Module) Required(path string) string {
	for _, r := range m.Require {
		if r.Path == path {
			return r.Version
		}
	}
	return ""
}

// Replaced reports whether go.mod puts something else in the place of a module,
// and of which version; "" stands for all of them.
func (m Module) Replaced(path string) (version string, ok bool) {
	for _, r := range m.Replace {
		if r.Old.Path == path {
			return r.Old.Version, true
		}
	}
	return "", false
}

// HasTool reports whether go.mod names a package as a tool.
func (m Module) HasTool(path string) bool {
	for _, t := range m.Tool {
		if t.Path == path {
			return true
		}
	}
	return false
}

// Read reads the go.mod of a folder.
func Read(ctx context.Context, dir string) (Module, error) {
	var m Module
	out, err := Run(ctx, dir, "mod", "edit", "-json", "go.mod")
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(out, &m); err != nil {
		return m, fmt.Errorf("cannot understand what `go mod edit -json` says: %w", err)
	}
	return m, nil
}

// Run runs the go command in a folder and returns what it prints. The error
// has its complaints.
func Run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	return run(ctx, dir, nil, args)
}

// RunOffline is Run with the module cache alone.
func RunOffline(ctx context.Context, dir string, args ...string) ([]byte, error) {
	return run(ctx, dir, []string{"GOPROXY=off"}, args)
}

// RunAlone is Run for the module by itself, whatever workspace it is part of.
func RunAlone(ctx context.Context, dir string, args ...string) ([]byte, error) {
	return run(ctx, dir, []string{"GOWORK=off"}, args)
}

func run(ctx context.Context, dir string, env, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, errors.New("there is no go command: install Go from https://go.dev/dl, and have it on the PATH")
	case err != nil:
		return nil, fmt.Errorf("`go %s`: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(complaints.String()))
	}
	return out, nil
}
