package buf

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestOneVersion: what users run is what this repository is checked with.
func TestOneVersion(t *testing.T) {
	for file, pattern := range map[string]string{
		"../../../../tools/go.mod":       `github\.com/bufbuild/buf v(\S+)`,
		"../../../../README.md":          `bufbuild/buf/cmd/buf@v(\S+)`,
		"../../../../docs/quickstart.md": `with buf (\d\S+\d)`,
	} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(pattern).FindAllSubmatch(content, -1)
		if len(found) == 0 {
			t.Errorf("%s names no version of buf", file)
		}
		for _, match := range found {
			if string(match[1]) != Version {
				t.Errorf("%s has buf %s, and this package %s: make them equal", file, match[1], Version)
			}
		}
	}
}

// fake puts commands of this name on the PATH, and nothing else.
func fake(t *testing.T, scripts map[string]string) {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh to make a fake of")
	}
	bin := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!"+sh+"\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
}

// TestRun: which buf is run, and that it is heard and not changed.
func TestRun(t *testing.T) {
	const otherwise = "if [ \"$1\" = --version ]; then echo %s; else echo buf \"$@\"; echo oops >&2; exit 100; fi\n"
	ours, theirs := strings.Replace(otherwise, "%s", Version, 1), strings.Replace(otherwise, "%s", "1.0.0", 1)
	const viaGo = "echo go \"$@\"; echo oops >&2; echo exit status 100 >&2; exit 1\n"
	ran := "go run " + Package + " generate --flag\n"
	for name, tt := range map[string]struct {
		scripts        map[string]string
		code           int
		stdout, stderr string
	}{
		"installed":                 {map[string]string{"buf": ours, "go": viaGo}, 100, "buf generate --flag\n", "oops\n"},
		"installed, no Go":          {map[string]string{"buf": ours}, 100, "buf generate --flag\n", "oops\n"},
		"installed in another":      {map[string]string{"buf": theirs, "go": viaGo}, 100, ran, "oops\n"},
		"installed and broken":      {map[string]string{"buf": "exit 3\n", "go": viaGo}, 100, ran, "oops\n"},
		"not installed":             {map[string]string{"go": viaGo}, 100, ran, "oops\n"},
		"all well":                  {map[string]string{"go": "echo go \"$@\"; echo exit status 7 >&2\n"}, 0, ran, "exit status 7\n"},
		"cannot be had":             {map[string]string{"go": "echo go \"$@\"; echo no network >&2; exit 1\n"}, 1, ran, "no network\n"},
		"output with no line's end": {map[string]string{"go": "echo go \"$@\"; printf exit >&2; exit 1\n"}, 1, ran, "exit"},
	} {
		t.Run(name, func(t *testing.T) {
			fake(t, tt.scripts)
			var stdout, stderr bytes.Buffer
			code, err := Run(t.Context(), t.TempDir(), []string{"generate", "--flag"}, &stdout, &stderr)
			if code != tt.code || err != nil || stdout.String() != tt.stdout || stderr.String() != tt.stderr {
				t.Errorf("exit code %d, %v, %q, %q", code, err, &stdout, &stderr)
			}
		})
	}
}

func TestNeither(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if code, err := Run(t.Context(), ".", nil, io.Discard, io.Discard); code == 0 || err == nil || !strings.Contains(err.Error(), "install Go") {
		t.Errorf("exit code %d, %v", code, err)
	}
}

// TestLastLine: however the output is cut, it arrives, and at once unless it
// may be the line of the exit code.
func TestLastLine(t *testing.T) {
	const text = "a\nexit status 2\nexit strategy\nb\nexit status 100\n"
	for size := 1; size <= len(text); size++ {
		var out bytes.Buffer
		l := &lastLine{w: &out}
		for chunk := range slices.Chunk([]byte(text), size) {
			if n, err := l.Write(chunk); n != len(chunk) || err != nil {
				t.Fatal(n, err)
			}
		}
		if want := strings.TrimSuffix(text, "exit status 100\n"); out.String() != want || l.code() != 100 {
			t.Errorf("in pieces of %d: %q, exit code %d", size, &out, l.code())
		}
	}
	var out bytes.Buffer
	l := &lastLine{w: &out}
	if l.Write([]byte("pulling")); out.String() != "pulling" {
		t.Errorf("of a line that has begun, %q was passed on", &out)
	}
}
