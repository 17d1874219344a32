package corpus_test

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
)

// imported is what generated code may import beside other generated code.
var imported = []string{
	"github.com/cajun-go/cajun/runtime",
	"github.com/cajun-go/cajun/gen/cajun/v1",
	"google.golang.org/protobuf/types/gofeaturespb",
	"google.golang.org/protobuf/types/known/...",
}

// exports finds the compiled form of those packages and of all that they
// import, by import path. The go command compiles what is not in its cache.
var exports = sync.OnceValues(func() (map[string]string, error) {
	args := []string{"list", "-export", "-deps", "-f", "{{if .Export}}{{.ImportPath}} {{.Export}}{{end}}"}
	if raced() {
		// The tests themselves have been compiled so, hence these packages too.
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, imported...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.Bytes())
	}
	files := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		name, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[name] = file
	}
	return files, nil
})

// raced reports whether the test was built with the race detector.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, setting := range info.Settings {
		if setting.Key == "-race" {
			return setting.Value == "true"
		}
	}
	return false
}

// compiler type-checks generated packages. It is for one goroutine.
type compiler struct{ base types.Importer }

func newCompiler() (*compiler, error) {
	files, err := exports()
	if err != nil {
		return nil, err
	}
	return &compiler{importer.ForCompiler(token.NewFileSet(), "gc", func(name string) (io.ReadCloser, error) {
		file, ok := files[name]
		if !ok {
			return nil, fmt.Errorf("no such package")
		}
		return os.Open(file)
	})}, nil
}

// compile type-checks every package of sources, which maps the path of each
// file, the import path of its package included, to its content. opaque is
// whether the build tag of the opaque API is set. What is within the functions
// of packages that hold nothing of ours is looked at only if thorough.
func (c *compiler) compile(sources map[string]string, opaque, thorough bool) error {
	b := &build{compiler: c, ours: make(map[string]bool), thorough: thorough, fset: token.NewFileSet(), files: make(map[string][]*ast.File), done: make(map[string]*types.Package)}
	for name, source := range sources {
		if strings.Contains(source, "\n//go:build !protoopaque\n") && opaque || strings.HasSuffix(name, "_protoopaque.pb.go") && !opaque {
			continue
		}
		file, err := parser.ParseFile(b.fset, name, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if !compiled(path.Base(name), file.Name.Name) {
			return fmt.Errorf("%s: the go command overlooks it, on some platforms at least", name)
		}
		b.ours[path.Dir(name)] = b.ours[path.Dir(name)] || strings.HasSuffix(name, ".cajun.go")
		b.files[path.Dir(name)] = append(b.files[path.Dir(name)], file)
	}
	for name := range b.files {
		if _, err := b.check(name); err != nil {
			return err
		}
	}
	return nil
}

// compiled reports whether the go command compiles a file, whatever it is
// compiling for.
func compiled(name, pkg string) bool {
	if strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".") || pkg == "documentation" || pkg == "_" {
		return false
	}
	stem, _, _ := strings.Cut(name, ".")
	words := strings.Split(strings.TrimSuffix(stem, "_test"), "_")
	return len(words) < 2 || !slices.Contains([]string{"linux", "windows", "darwin", "amd64", "arm64"}, words[len(words)-1])
}

// build is one run of the compiler.
type build struct {
	*compiler
	fset  *token.FileSet
	files map[string][]*ast.File
	// ours are the packages with files of ours.
	ours     map[string]bool
	thorough bool
	done     map[string]*types.Package
}

// Import implements types.Importer.
func (b *build) Import(name string) (*types.Package, error) {
	if strings.HasPrefix(name, ".") {
		return nil, errors.New("a relative import path, which modules do not allow")
	}
	if _, ours := b.files[name]; !ours {
		return b.base.Import(name)
	}
	pkg, err := b.check(name)
	if err == nil && pkg.Name() == "main" {
		err = errors.New("a program, which cannot be imported")
	}
	return pkg, err
}

// check type-checks one of the packages.
func (b *build) check(name string) (*types.Package, error) {
	if base := path.Base(name); strings.HasPrefix(base, "_") || base == "testdata" {
		return nil, fmt.Errorf("package %s: the go command overlooks its folder", name)
	}
	pkg, seen := b.done[name]
	if seen && pkg == nil {
		return nil, errors.New("import cycle not allowed")
	}
	if seen {
		return pkg, nil
	}
	b.done[name] = nil
	var problems []error
	config := types.Config{Importer: b, IgnoreFuncBodies: !b.ours[name] && !b.thorough, Error: func(err error) { problems = append(problems, err) }}
	pkg, _ = config.Check(name, b.fset, b.files[name], nil)
	if len(problems) > 0 {
		return nil, fmt.Errorf("package %s: %w", name, errors.Join(problems[:min(len(problems), 5)]...))
	}
	b.done[name] = pkg
	return pkg, nil
}
