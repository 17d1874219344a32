package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cajun-go/cajun/cmd/cajun/internal/gocmd"
	cajunproto "github.com/cajun-go/cajun/proto"
)

const genFile = "buf.gen.yaml"

// settings looks at buf.gen.yaml.
func (p *project) settings() []Finding {
	switch {
	case !p.hasGen:
		return []Finding{{genFile, "is not there, so nothing can be generated", "write one as docs/quickstart.md shows, or let cajun init write it"}}
	case p.gen.Version != "v2":
		return []Finding{{genFile, fmt.Sprintf("has version %q, which does not know all settings that actors need", p.gen.Version), "run buf config migrate"}}
	}
	var found []Finding
	for _, name := range []string{generatorGo, generatorCajun} {
		if p.gen.find(name) == nil && !p.gen.hidden() {
			found = append(found, Finding{genFile, "does not run " + name, fmt.Sprintf("add to plugins\n%s", p.pluginLines(name))})
		}
	}
	return slices.Concat(found, p.places(), p.inputs(), p.managed())
}

// pluginLines are the lines of a plugin in buf.gen.yaml.
func (p *project) pluginLines(name string) string {
	return fmt.Sprintf("    - local: [\"go\", \"tool\", %q]\n      out: .\n      opt: module=%s", name, p.module.Module.Path)
}

// places looks at where the plugins write, which must be where Go looks for it.
func (p *project) places() (found []Finding) {
	messages, actors := p.gen.find(generatorGo), p.gen.find(generatorCajun)
	for _, plugin := range []*plugin{messages, actors} {
		if plugin == nil || p.elsewhere(plugin.Out) {
			continue
		}
		want := path.Join(p.module.Module.Path, filepath.ToSlash(plugin.Out))
		module, hasModule := plugin.option("module")
		_, hasPaths := plugin.option("paths")
		switch {
		case hasModule && module != want:
			found = append(found, Finding{genFile, fmt.Sprintf("%s has module=%s, but what it writes to %q is in %s", plugin.name(), module, plugin.Out, want),
				"write opt: module=" + want})
		case !hasModule && !hasPaths:
			found = append(found, Finding{genFile, fmt.Sprintf("%s is not told the module, so its files go into folders named like whole import paths", plugin.name()),
				"write opt: module=" + want})
		}
	}
	if messages == nil || actors == nil {
		return found
	}
	placed := func(p *plugin) string {
		paths, _ := p.option("paths")
		return path.Clean(filepath.ToSlash(p.Out)) + " " + paths
	}
	if placed(messages) != placed(actors) {
		found = append(found, Finding{genFile, generatorGo + " and " + generatorCajun + " write to different places, but actors' code is in a folder beneath that of their messages",
			"give both the same out and opt"})
	}
	return found
}

// elsewhere reports whether a folder is outside of the module.
func (p *project) elsewhere(out string) bool {
	out = filepath.FromSlash(path.Clean(filepath.ToSlash(out)))
	if !filepath.IsLocal(out) {
		return true
	}
	for ; out != "."; out = filepath.Dir(out) {
		if _, err := os.Stat(filepath.Join(p.dir, out, "go.mod")); !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

// inputs looks for what is generated and should not be: the code of the
// options comes with Cajun.
func (p *project) inputs() (found []Finding) {
	if p.own() {
		return nil
	}
	for _, file := range p.protos {
		if isOptions(file.importPath) && file.inModule && p.gen.covers(file.path) {
			found = append(found, Finding{genFile, fmt.Sprintf("generates code for %s too, whose Go code comes with Cajun", file.path),
				"write inputs that leave it out, such as inputs: [{directory: proto}]"})
		}
	}
	for _, plugin := range p.gen.Plugins {
		if plugin.name() == generatorGo && plugin.IncludeImports {
			found = append(found, Finding{genFile, generatorGo + " has include_imports, so that the options are generated too, whose Go code comes with Cajun",
				"remove include_imports, and list what else you need in inputs"})
		}
	}
	return found
}

// managed looks at managed mode, which may give the options another Go package.
func (p *project) managed() []Finding {
	if !p.gen.Managed.Enabled || p.own() {
		return nil
	}
	concerns := func(rule managedRule) bool {
		return rule.Module == "" && (rule.Path == "" || below(cajunproto.OptionsPath, rule.Path))
	}
	exempt := func(option string) bool {
		return slices.ContainsFunc(p.gen.Managed.Disable, func(rule managedRule) bool {
			return concerns(rule) && strings.HasPrefix(option, rule.FileOption) // go_package is both
		})
	}
	var last managedRule // which is the one that counts
	for _, rule := range p.gen.Managed.Override {
		if concerns(rule) && strings.HasPrefix(rule.FileOption, "go_package") && !exempt(rule.FileOption) {
			last = rule
		}
	}
	own, _, _ := strings.Cut(fmt.Sprint(last.Value), ";")
	if last.FileOption == "" || last.FileOption == "go_package" && own == gocmd.Cajun+"/gen/"+path.Dir(cajunproto.OptionsPath) {
		return nil
	}
	return []Finding{{genFile, fmt.Sprintf("managed mode gives %s another Go package, and a second copy of its Go code registers the same names again: such a program panics at its start",
		cajunproto.OptionsPath), fmt.Sprintf("add to managed\n    disable:\n      - file_option: %s\n        path: cajun", last.FileOption)}}
}
