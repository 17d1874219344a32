// Package scaffold writes a first project: an actor in proto and in Go, its
// test, a program that calls it, and the settings that buf needs.
package scaffold

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	goversion "go/version"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/cajun-go/cajun/cmd/cajun/internal/gocmd"
)

// Plan is what is asked for.
type Plan struct {
	// Dir is the folder of the project.
	Dir string
	// Module is the path of a module that is to be started. When it is empty,
	// the module of the folder is used, or one called example.com/<folder>.
	Module string
	// Program is the folder of the program below the module's root.
	Program string
	// Version is the version of Cajun for a module that names none; empty when it
	// is not known.
	Version string
}

// Done is what was done.
type Done struct {
	Module  string
	Started bool // the module is new
	// Vendored says that the module has a folder of vendored packages, which
	// lacks those that are needed now.
	Vendored bool
	// Unused says that the folder is in a workspace that does not take the
	// module, or not with the version of Go that the files need.
	Unused  bool
	Program string
	Files   []string
}

// Do writes the project and has go.mod require what it needs. It overwrites
// nothing: when a file is in the way, it writes none. When the files are
// written and go.mod could not be changed, Done has the files beside the error.
func Do(ctx context.Context, plan Plan) (Done, error) {
	program, err := programFolder(plan.Program)
	if err != nil {
		return Done{}, err
	}
	done := Done{Program: program}
	exists, err := hasModule(ctx, plan)
	if err != nil {
		return done, err
	}
	var module gocmd.Module
	if exists {
		if module, err = gocmd.Read(ctx, plan.Dir); err != nil {
			return done, err
		}
		done.Module = module.Module.Path
	} else if done.Module, err = newModulePath(plan); err != nil {
		return done, err
	}
	version, err := cajunVersion(module, plan.Version)
	if err != nil {
		return done, err
	}
	files, err := render(done.Module, program)
	if err != nil {
		return done, err
	}
	if err := refuseObstacles(plan.Dir, files, program); err != nil {
		return done, err
	}
	if !exists {
		if _, err := gocmd.Run(ctx, plan.Dir, "mod", "init", done.Module); err != nil {
			if !strings.Contains(err.Error(), "module path") {
				return done, err
			}
			return done, fmt.Errorf("%w\nName the module yourself: cajun init example.com/hello", err)
		}
		done.Started = true
	}
	if done.Files, err = write(plan.Dir, files); err != nil {
		if done.Started {
			os.Remove(filepath.Join(plan.Dir, "go.mod"))
			done.Started = false
		}
		return done, err
	}
	if _, err := os.Stat(filepath.Join(plan.Dir, "vendor", "modules.txt")); err == nil {
		done.Vendored = true
	}
	if err := require(ctx, plan.Dir, module, version); err != nil {
		return done, err
	}
	gowork, _ := gocmd.Unused(ctx, plan.Dir)
	done.Unused = gowork != ""
	return done, nil
}

// programFolder cleans the folder of the program, which must be in the module,
// and where ./... finds it.
func programFolder(folder string) (string, error) {
	clean := path.Clean(filepath.ToSlash(folder))
	refuse := func(why string) (string, error) {
		return "", fmt.Errorf("the program cannot be in %q%s: name a folder below this one, such as cmd/counter", folder, why)
	}
	switch {
	case !filepath.IsLocal(filepath.FromSlash(clean)):
		return refuse("")
	case clean == ".":
		return clean, nil
	}
	for word := range strings.SplitSeq(clean, "/") {
		switch {
		case strings.ContainsAny(word[:1], "._-") || word == "testdata" || word == "vendor":
			return refuse(", as Go overlooks folders that are called " + word)
		case !folderName.MatchString(word):
			return refuse(fmt.Sprintf(", as %q cannot be in an import path of Go", word))
		}
	}
	if first, _, _ := strings.Cut(clean, "/"); first == generatedFolder {
		return refuse(", where the generated code goes")
	}
	return clean, nil
}

// folderName matches what import paths of Go may consist of.
var folderName = regexp.MustCompile(`^[\w.~+-]*[\w~+-]$`)

// hasModule reports whether the folder is the root of a module. It may be
// inside of one only when a module of its own is asked for.
func hasModule(ctx context.Context, plan Plan) (bool, error) {
	out, err := gocmd.Run(ctx, plan.Dir, "env", "GOMOD")
	if err != nil {
		return false, err
	}
	gomod := strings.TrimSpace(string(out))
	inside := gomod != "" && gomod != os.DevNull
	_, err = os.Stat(filepath.Join(plan.Dir, "go.mod"))
	switch {
	case err == nil && plan.Module != "":
		return false, errors.New("this folder has a go.mod already: run cajun init without the path of a module")
	case err == nil:
		return true, nil
	case inside && plan.Module == "":
		return false, fmt.Errorf("this folder is inside the module of %s: run cajun init in the module's root, with --program for another folder, or name a new module for this folder: cajun init example.com/hello", gomod)
	}
	return false, nil
}

// newModulePath is the path of a module that is to be started.
func newModulePath(plan Plan) (string, error) {
	if plan.Module != "" {
		return plan.Module, nil
	}
	dir, err := filepath.Abs(plan.Dir)
	if err != nil {
		return "", err
	}
	return "example.com/" + filepath.Base(dir), nil
}

// cajunVersion is the version of Cajun that go.mod has to require: the one that
// it names already, or else that of this command.
func cajunVersion(module gocmd.Module, own string) (string, error) {
	if required := module.Required(gocmd.Cajun); required != "" {
		return required, nil
	}
	if replaced, ok := module.Replaced(gocmd.Cajun); ok {
		// A replacement of all versions fits any; this is the one that Go itself
		// would write.
		return cmp.Or(replaced, "v0.0.0-00010101000000-000000000000"), nil
	}
	if own != "" {
		return own, nil
	}
	return "", fmt.Errorf("this cajun was built from source, so it does not know which version of Cajun your module should have: "+
		"start the module, and point it to the source\n  go mod init example.com/hello\n  go mod edit -replace=%s=../cajun\nand run cajun init again", gocmd.Cajun)
}

func refuseObstacles(dir string, files []file, program string) error {
	found, err := obstacles(dir, files, program)
	if err != nil {
		return fmt.Errorf("cannot look at what is there: %w", err)
	}
	if len(found) == 0 {
		return nil
	}
	do := "Move them, or choose another folder for the program (--program cmd/counter), or an empty folder for all"
	if slices.Contains(found, "buf.yaml") || slices.Contains(found, "buf.gen.yaml") {
		do = "A project with settings of buf needs no init: write a proto file with an actor, and cajun doctor tells what the settings lack. Or choose an empty folder for all"
	}
	return fmt.Errorf("nothing was written, as these are in the way:\n  %s\n%s", strings.Join(found, "\n  "), do)
}

// require has go.mod and go.sum name the tools, and every module that the
// program and its test will import from, directly or not. They are listed here
// because go.mod has to have them before the first build, and `go mod tidy`
// cannot help: it would look for the packages that are not generated yet. All is
// in the versions that Cajun requires, or newer ones that the module has already.
// So nothing is looked up, and without a network the module cache is enough.
func require(ctx context.Context, dir string, module gocmd.Module, version string) error {
	run := func(args ...string) (string, error) {
		// In a workspace, go.mod would not be changed.
		out, err := gocmd.RunAlone(ctx, dir, args...)
		if err != nil {
			err = fmt.Errorf("the files are written, but go.mod does not require what they need: %w\nWhen that is solved, run cajun init again", err)
		}
		return string(out), err
	}
	edit := []string{"mod", "edit", "-require=" + gocmd.Cajun + "@" + version}
	if module.Module.Path != "" && goversion.Compare("go"+module.Go, pruned) < 0 {
		// It is raised to Cajun's own in the end. Below this one, the go command would
		// want the go.mod files of modules that nobody needs.
		edit = append(edit, "-go="+strings.TrimPrefix(pruned, "go"))
	}
	for _, tool := range tools() {
		edit = append(edit, "-tool="+tool)
	}
	if _, err := run(edit...); err != nil {
		return err
	}
	list := []string{"list", "-mod=mod", "-deps", "-f", "{{with .Module}}{{if not .Main}}-require={{.Path}}@{{.Version}}{{end}}{{end}}", "tool"}
	modules, err := run(append(list, imports()...)...)
	if err != nil {
		return err
	}
	needed := strings.Fields(modules)
	slices.Sort(needed)
	_, err = run(append([]string{"mod", "edit"}, slices.Compact(needed)...)...)
	return err
}

// pruned is the first version of Go in which go.mod names all that is needed.
const pruned = "go1.17"

// tools are the packages that `go tool` is to find.
func tools() []string {
	return []string{gocmd.Cajun + "/cmd/cajun", gocmd.Cajun + "/cmd/protoc-gen-cajun", "google.golang.org/protobuf/cmd/protoc-gen-go"}
}

// imports are the packages that the project imports, its own aside.
func imports() []string {
	return []string{
		gocmd.Cajun + "/runtime", gocmd.Cajun + "/cajuntest", gocmd.Cajun + "/metadata/memmeta", gocmd.Cajun + "/state/memstate",
		"connectrpc.com/connect/v2", "google.golang.org/protobuf/proto",
	}
}
