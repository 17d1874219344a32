package command

import (
	"bytes"
	"strings"
	"testing"
)

func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = Run(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

func TestAnswers(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, tt := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"--version"}, 0, "cajun version ", ""},
		{[]string{"--help"}, 0, "init ", ""},
		{[]string{"init", "--help"}, 0, "--program folder", ""},
		{[]string{"generate", "--help"}, 0, "go run github.com/bufbuild/buf/cmd/buf@v", ""},
		{[]string{"generate"}, 1, "", "there is no buf.gen.yaml in this folder"},
		{[]string{"nonsense"}, 2, "", `unknown command "nonsense"`},
		{[]string{"init", "--nonsense"}, 2, "", "unknown flag: --nonsense"},
		{[]string{"init", "a", "b"}, 2, "", "at most 1 arg"},
		{[]string{"init", "--program", "../elsewhere"}, 1, "", "name a folder below this one"},
	} {
		code, stdout, stderr := run(t, tt.args...)
		if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) ||
			(stdout == "") != (tt.stdout == "") || (stderr == "") != (tt.stderr == "") {
			t.Errorf("%q: exit code %d, %q, %q", tt.args, code, stdout, stderr)
		}
	}
}
