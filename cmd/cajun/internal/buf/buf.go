// Package buf runs buf, in the version that Cajun was tried with.
package buf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Version is the version of buf that Cajun was tried with. This is the only
// place that names it for users; tests hold tools/go.mod and the docs to it.
const Version = "1.75.0"

// Package is what `go run` takes to run that version.
const Package = "github.com/bufbuild/buf/cmd/buf@v" + Version

// Run runs buf in a folder and returns its exit code. An installed buf is used
// when it has the version, as compiling one takes minutes the first time;
// otherwise `go run` gets it. The error is about buf that could not be run at
// all: what buf itself has to say, it has said.
func Run(ctx context.Context, dir string, args []string, stdout, stderr io.Writer) (int, error) {
	if path, ok := installed(ctx); ok {
		return run(ctx, dir, append([]string{path}, args...), stdout, stderr)
	}
	if _, err := exec.LookPath("go"); err != nil {
		return 1, errors.New("there is neither buf " + Version + " nor a go command to get it with: install Go from https://go.dev/dl, and have it on the PATH")
	}
	// `go run` always exits with 1, and tells the exit code of what it ran in a
	// line of its own.
	last := &lastLine{w: stderr}
	code, err := run(ctx, dir, append([]string{"go", "run", Package}, args...), stdout, last)
	if code != 0 && last.code() != 0 {
		return last.code(), err
	}
	return code, errors.Join(err, last.flush())
}

// installed returns the path of a buf that has the version.
func installed(ctx context.Context) (string, bool) {
	path, err := exec.LookPath("buf")
	if err != nil {
		return "", false
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	return path, err == nil && strings.TrimSpace(string(out)) == Version
}

func run(ctx context.Context, dir string, command []string, stdout, stderr io.Writer) (int, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, os.Stdin, stdout, stderr
	err := cmd.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	} else if err != nil {
		return 1, fmt.Errorf("cannot run %s: %w", strings.Join(command, " "), err)
	}
	return 0, nil
}

// lastLine passes on all that is written but the last line, which it keeps
// until more comes when it may be the one in which `go run` tells an exit code.
type lastLine struct {
	w    io.Writer
	kept []byte
}

const exitStatus = "exit status "

// Write implements io.Writer.
func (l *lastLine) Write(p []byte) (int, error) {
	text := append(l.kept, p...)
	start := bytes.LastIndexByte(bytes.TrimSuffix(text, []byte("\n")), '\n') + 1
	if tail := text[start:]; !mayTell(tail) {
		start = len(text)
	}
	l.kept = bytes.Clone(text[start:])
	if _, err := l.w.Write(text[:start]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// mayTell reports whether a line begins like one that tells an exit code.
func mayTell(line []byte) bool {
	n := min(len(line), len(exitStatus))
	return string(line[:n]) == exitStatus[:n]
}

// code is the exit code that the last line tells, or 0.
func (l *lastLine) code() int {
	var code int
	if _, err := fmt.Sscanf(string(l.kept), exitStatus+"%d\n", &code); err != nil {
		return 0
	}
	return code
}

// flush passes on the last line after all.
func (l *lastLine) flush() error {
	_, err := l.w.Write(l.kept)
	return err
}
