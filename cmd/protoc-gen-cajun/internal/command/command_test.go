package command

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func run(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = Run(args, &out, &err)
	return code, out.String(), err.String()
}

func TestOptionsAreTheProjects(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "third_party")
	for range 2 { // an update writes over the old ones
		if code, stdout, stderr := run("-options", dir); code != 0 || stdout+stderr != "" {
			t.Fatalf("exit code %d, %q, %q", code, stdout, stderr)
		}
	}
	got, err := os.ReadFile(filepath.Join(dir, "cajun", "v1", "options.proto"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../../../proto/cajun/v1/options.proto")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the options that are written are not proto/cajun/v1/options.proto")
	}
}

func TestOptionsCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := run("-options", file); code != 1 || !strings.Contains(stderr, "cannot make the folder") {
		t.Errorf("into a file: exit code %d, %q", code, stderr)
	}
}

func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"-version"}, 0, "protoc-gen-cajun ", ""},
		{[]string{"--version"}, 0, "protoc-gen-cajun ", ""},
		{[]string{"-help"}, 0, "-options folder", ""},
		{[]string{"-options"}, 2, "", "flag needs an argument"},
		{[]string{"-options="}, 2, "", "-options folder"},
		{[]string{"-nonsense"}, 2, "", "-nonsense"},
		{[]string{"bank.proto"}, 2, "", `"bank.proto" is no flag`},
	} {
		code, stdout, stderr := run(tt.args...)
		if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) ||
			(stdout == "") != (tt.stdout == "") || (stderr == "") != (tt.stderr == "") {
			t.Errorf("%q: exit code %d, %q, %q", tt.args, code, stdout, stderr)
		}
	}
}

// TestByHand: the null device stands for a terminal, which tests have none of.
func TestByHand(t *testing.T) {
	device, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if !ByHand(device) || ByHand(r) {
		t.Errorf("a device %t, a pipe %t", ByHand(device), ByHand(r))
	}
}
