package command

import (
	"os"
	"strings"
	"testing"
)

func TestDoctor(t *testing.T) {
	t.Chdir("../../../..")
	if code, stdout, stderr := run(t, "doctor"); code != 0 || !strings.HasPrefix(stdout, "nothing wrong found") || stderr != "" {
		t.Errorf("in this repository: exit code %d, %q, %q", code, stdout, stderr)
	}
	t.Chdir(t.TempDir())
	if code, stdout, stderr := run(t, "doctor"); code != 1 || stdout != "" || !strings.Contains(stderr, "there is no go.mod") {
		t.Errorf("in an empty folder: exit code %d, %q, %q", code, stdout, stderr)
	}
	if err := os.WriteFile("go.mod", []byte("module example.com/m\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := run(t, "doctor")
	if code != 1 || stderr != "cajun: found 2 to mend\n" || !strings.HasPrefix(stdout, "go.mod: does not require github.com/cajun-go/cajun, which generated code imports\n  run go get ") {
		t.Errorf("with nothing but a go.mod: exit code %d, %q, %q", code, stdout, stderr)
	}
}
