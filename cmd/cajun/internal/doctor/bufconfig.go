package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// generation is what we need to know of buf.gen.yaml.
type generation struct {
	Version string
	Managed struct {
		Enabled           bool
		Override, Disable managedRules
	}
	Plugins []plugin
	Inputs  []input
}

// managedRule changes an option of proto files, or exempts them from that.
type managedRule struct {
	FileOption string `yaml:"file_option"`
	Path       string
	Module     string
	Value      any
}

// managedRules is a list of rules. What version 1 of buf.gen.yaml has in its
// place, a map, is left out, as the version is what is wrong then.
type managedRules []managedRule

// UnmarshalYAML implements yaml.Unmarshaler.
func (r *managedRules) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.MappingNode {
		return nil
	}
	return node.Decode((*[]managedRule)(r))
}

type plugin struct {
	Local          words
	Remote         string
	Out            string
	Opt            words
	IncludeImports bool `yaml:"include_imports"`
}

type input struct {
	Directory    string
	Paths        []string
	ExcludePaths []string `yaml:"exclude_paths"`
}

// workspace is what we need to know of buf.yaml.
type workspace struct {
	Modules []module
	Deps    []string
}

// readWorkspace reads buf.yaml, or what stands in for it: buf.work.yaml of version
// 1, and without that each input is a module.
func (p *project) readWorkspace() error {
	if found, err := readYAML(p.dir, "buf.yaml", &p.workspace); found || err != nil {
		return err
	}
	var work struct{ Directories []string }
	found, err := readYAML(p.dir, "buf.work.yaml", &work)
	for _, in := range p.gen.Inputs {
		if !found && in.Directory != "" {
			work.Directories = append(work.Directories, in.Directory)
		}
	}
	for _, folder := range work.Directories {
		p.workspace.Modules = append(p.workspace.Modules, module{Path: folder})
	}
	return err
}

// module is a folder of proto files. What it includes and excludes are folders
// of the project.
type module struct {
	Path               string
	Includes, Excludes []string
}

// holds reports whether a file of the project belongs to a module.
func (m module) holds(file string) bool {
	in := func(folder string) bool { return below(file, folder) }
	return in(m.Path) && !slices.ContainsFunc(m.Excludes, in) && (len(m.Includes) == 0 || slices.ContainsFunc(m.Includes, in))
}

// words is a list that may be written as a single word.
type words []string

// UnmarshalYAML implements yaml.Unmarshaler.
func (w *words) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*w = words{node.Value}
		return nil
	}
	return node.Decode((*[]string)(w))
}

// readYAML reads a file of a folder, and reports whether it is there.
func readYAML(dir, name string, into any) (bool, error) {
	content, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		return true, fmt.Errorf("cannot read %s: %w", name, err)
	}
	return true, nil
}

// name is the name of the program that a plugin is, such as protoc-gen-go, or ""
// when a wrapper hides it.
func (p plugin) name() string {
	switch remote, _, _ := strings.Cut(p.Remote, ":"); remote {
	case "":
	case "buf.build/protocolbuffers/go":
		return generatorGo
	default:
		return remote
	}
	for _, word := range p.Local {
		// It may be part of a script.
		if name := regexp.MustCompile(`\bprotoc-gen-[\w-]+`).FindString(path.Base(filepath.ToSlash(word))); name != "" {
			return name
		}
	}
	return ""
}

// option returns an option of a plugin.
func (p plugin) option(name string) (string, bool) {
	for _, list := range p.Opt {
		for option := range strings.SplitSeq(list, ",") {
			if key, value, _ := strings.Cut(option, "="); key == name {
				return value, true
			}
		}
	}
	return "", false
}

// renames reports whether a plugin is told other Go packages than proto files
// name.
func (p plugin) renames() bool {
	for _, list := range p.Opt {
		for option := range strings.SplitSeq(list, ",") {
			if strings.HasPrefix(option, "M") {
				return true
			}
		}
	}
	return false
}

// hidden reports whether a program does not tell which plugin it is.
func (g *generation) hidden() bool {
	return slices.ContainsFunc(g.Plugins, func(p plugin) bool { return len(p.Local) > 0 && p.name() == "" })
}

// find returns the plugin of this name, or nil.
func (g *generation) find(name string) *plugin {
	for i := range g.Plugins {
		if g.Plugins[i].name() == name {
			return &g.Plugins[i]
		}
	}
	return nil
}

// covers reports whether code is generated for a file below the project.
func (g *generation) covers(file string) bool {
	if g == nil || len(g.Inputs) == 0 {
		return true
	}
	for _, in := range g.Inputs {
		if in.covers(file) {
			return true
		}
	}
	return false
}

func (in input) covers(file string) bool {
	if in.Directory == "" || !below(file, in.Directory) {
		return false
	}
	for _, excluded := range in.ExcludePaths {
		if below(file, excluded) {
			return false
		}
	}
	for _, p := range in.Paths {
		if below(file, p) {
			return true
		}
	}
	return len(in.Paths) == 0
}

// onlyFolders reports whether all that is generated comes from this project.
func (g *generation) onlyFolders() bool {
	for _, in := range g.Inputs {
		if in.Directory == "" {
			return false
		}
	}
	return true
}

// importPath is the path under which proto files import a file, and whether a
// module of buf.yaml holds it.
func (w *workspace) importPath(file string) (string, bool) {
	if len(w.Modules) == 0 {
		return file, true
	}
	found, ok := file, false
	for _, m := range w.Modules {
		switch {
		case !m.holds(file):
		case path.Clean(m.Path) == ".":
			ok = true
		default:
			return strings.TrimPrefix(file, path.Clean(m.Path)+"/"), true
		}
	}
	return found, ok
}

// below reports whether a file is a folder or in it; both begin at the project.
func below(file, folder string) bool {
	folder = path.Clean(filepath.ToSlash(folder))
	return folder == "." || file == folder || strings.HasPrefix(file, folder+"/")
}
