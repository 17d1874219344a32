package scaffold

import (
	"go/format"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cajun-go/cajun/cmd/cajun/internal/gocmd"
)

// put writes files below a folder and makes the folders of names that end in /.
func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// listing is every file below a folder with its content.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		all.WriteString(path + "\n")
		if entry.Type().IsRegular() {
			content, err := os.ReadFile(path)
			all.Write(content)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

const gomod = "module example.com/m\n\ngo 1.26\n\nreplace github.com/cajun-go/cajun => ../nowhere\n"

// TestNothingIsOverwritten: whatever is in the way is named, all of it, and the
// folder stays as it was.
func TestNothingIsOverwritten(t *testing.T) {
	for name, tt := range map[string]struct {
		there   map[string]string
		program string
		want    []string // in the way, in order
	}{
		"a proto":       {map[string]string{"proto/counter/v1/counter.proto": "mine"}, ".", []string{"proto/counter/v1/counter.proto"}},
		"settings":      {map[string]string{"buf.yaml": "", "buf.gen.yaml": "mine"}, ".", []string{"buf.gen.yaml", "buf.yaml"}},
		"stale options": {map[string]string{"third_party/cajun/v1/options.proto": "old"}, ".", []string{"third_party/cajun/v1/options.proto"}},
		"a program":     {map[string]string{"main.go": "package main"}, ".", []string{"main.go"}},
		"another program": {map[string]string{"cmd/x/main.go": "package main", "cmd/x/other.go": "package main", "own.go": "package own"}, "cmd/x",
			[]string{"cmd/x/main.go", "cmd/x/other.go (the program needs a folder without other Go files)"}},
		"other Go files": {map[string]string{"own.go": "package own"}, ".", []string{"own.go (the program needs a folder without other Go files)"}},
		"another module's folder": {map[string]string{"tools/go.mod": "module example.com/m/tools\n", "gen/go.mod": "module example.com/m/gen\n"}, "tools/x",
			[]string{"gen/go.mod (the folder is a module of its own)", "tools/go.mod (the folder is a module of its own)"}},
		"a file for the code":     {map[string]string{"gen": "mine"}, ".", []string{"gen (it is a file, and has to be a folder)"}},
		"a file for a folder":     {map[string]string{"proto": "mine"}, ".", []string{"proto (it is a file, and has to be a folder)"}},
		"a folder for a file":     {map[string]string{"buf.yaml/": ""}, ".", []string{"buf.yaml"}},
		"a file for the program":  {map[string]string{"cmd": ""}, "cmd/x", []string{"cmd (it is a file, and has to be a folder)"}},
		"one of each, and others": {map[string]string{"buf.yaml": "mine", "main.go": "mine", "README.md": "mine"}, ".", []string{"buf.yaml", "main.go"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, tt.there)
			put(t, dir, map[string]string{"go.mod": gomod})
			before := listing(t, dir)
			_, err := Do(t.Context(), Plan{Dir: dir, Program: tt.program})
			if err == nil {
				t.Fatal("nothing was refused")
			}
			lines := strings.Split(err.Error(), "\n")
			if !strings.HasPrefix(lines[0], "nothing was written") || !slices.Equal(trimmed(lines[1:len(lines)-1]), tt.want) {
				t.Errorf("in the way are %q, want %q", lines, tt.want)
			}
			if after := listing(t, dir); after != before {
				t.Errorf("the folder is now\n%s", after)
			}
		})
	}
}

// TestSettingsInTheWay: who has settings of buf already is told how to go on.
func TestSettingsInTheWay(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{"go.mod": gomod, "buf.yaml": "version: v2\n"})
	if _, err := Do(t.Context(), Plan{Dir: dir, Program: "."}); err == nil || !strings.Contains(err.Error(), "cajun doctor tells what the settings lack") {
		t.Error(err)
	}
}

func trimmed(lines []string) []string {
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}

// TestADanglingLinkIsInTheWay: writing through it would make a file elsewhere.
func TestADanglingLinkIsInTheWay(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "buf.yaml")); err != nil {
		t.Skip(err)
	}
	if in, err := obstacle(dir, file{"buf.yaml", nil}); in != "buf.yaml" || err != nil {
		t.Errorf("in the way is %q, %v", in, err)
	}
}

func TestWriteTakesBack(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{"b": "mine"})
	put(t, dir, map[string]string{"own/": ""})
	before := listing(t, dir)
	written, err := write(dir, []file{{"a", []byte("a")}, {"new/er/c", nil}, {"own/new/d", nil}, {"b", []byte("b")}})
	if err == nil || len(written) > 0 {
		t.Fatalf("wrote %q, b among them, %v", written, err)
	}
	if after := listing(t, dir); after != before {
		t.Errorf("the folder is now\n%s", after)
	}
}

func TestWhereItRefusesToStart(t *testing.T) {
	root := t.TempDir()
	put(t, root, map[string]string{"go.mod": gomod, "below/": ""})
	for _, tt := range []struct {
		plan Plan
		want string
	}{
		{Plan{Dir: filepath.Join(root, "below"), Program: "."}, "is inside the module of"},
		{Plan{Dir: root, Module: "example.com/other", Program: "."}, "has a go.mod already"},
		{Plan{Dir: root, Program: "/abs"}, "name a folder below this one"},
		{Plan{Dir: root, Program: "cmd/my app"}, `as "my app" cannot be in an import path`},
		{Plan{Dir: root, Program: "cmd/foo."}, `as "foo." cannot be in an import path`},
		{Plan{Dir: root, Program: "testdata/x"}, "Go overlooks folders that are called testdata"},
		{Plan{Dir: root, Program: "_x"}, "Go overlooks folders that are called _x"},
		{Plan{Dir: root, Program: "gen/counter/v1"}, "where the generated code goes"},
		{Plan{Dir: t.TempDir(), Module: "not a path", Version: "v1.0.0", Program: "."}, "Name the module yourself"},
	} {
		before := listing(t, tt.plan.Dir)
		if _, err := Do(t.Context(), tt.plan); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.plan, err, tt.want)
		}
		if after := listing(t, tt.plan.Dir); after != before {
			t.Errorf("%+v: the folder is now\n%s", tt.plan, after)
		}
	}
}

// TestAModuleThatCannotBeStarted: another name helps only where that is at fault.
func TestAModuleThatCannotBeStarted(t *testing.T) {
	t.Setenv("GO111MODULE", "off")
	_, err := Do(t.Context(), Plan{Dir: t.TempDir(), Module: "example.com/hello", Version: "v1.0.0", Program: "."})
	if err == nil || strings.Contains(err.Error(), "Name the module") || !strings.Contains(err.Error(), "GO111MODULE=off") {
		t.Error(err)
	}
}

func TestVersion(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ gomod, own, want string }{
		{"module m\n", "v1.2.3", "v1.2.3"},
		{"module m\nrequire github.com/cajun-go/cajun v1.0.0\n", "v1.2.3", "v1.0.0"},
		{"module m\nreplace github.com/cajun-go/cajun => ../cajun\n", "v1.2.3", "v0.0.0-00010101000000-000000000000"},
		{"module m\nreplace github.com/cajun-go/cajun v1.1.0 => ../cajun\n", "v1.2.3", "v1.1.0"},
	} {
		put(t, dir, map[string]string{"go.mod": tt.gomod})
		module, err := gocmd.Read(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := cajunVersion(module, tt.own); got != tt.want || err != nil {
			t.Errorf("%q: %q, %v, want %q", tt.gomod, got, err, tt.want)
		}
	}
}

func TestGoIsFormatted(t *testing.T) {
	files, err := render("example.com/m", ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if filepath.Ext(f.path) != ".go" {
			continue
		}
		if formatted, err := format.Source(f.content); err != nil || string(formatted) != string(f.content) {
			t.Errorf("%s is not as gofmt has it: %v", f.path, err)
		}
	}
}
