package doctor

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const generateAgain = "run buf generate, or go tool cajun generate"

// stale looks for generated code that is not that of its proto file. The times
// of files say nothing after a git checkout, so it compares what the two declare.
// A changed type of a field is not seen.
func (p *project) stale() (found []Finding) {
	bySource := map[string]map[string]generatedFile{generatorGo: {}, generatorCajun: {}}
	for _, g := range p.generated {
		if !strings.HasSuffix(g.path, "_protoopaque.pb.go") {
			bySource[g.generator][g.source] = g
		}
	}
	for _, file := range p.protos {
		if !file.inModule || !p.gen.covers(file.path) {
			continue
		}
		if _, ok := bySource[generatorCajun][file.importPath]; !ok && file.hasActors() && !p.overlooked(file) {
			found = append(found, Finding{file.path, "declares actors, and no code is generated for them", generateAgain})
			continue
		}
		if g, ok := bySource[generatorGo][file.importPath]; ok {
			found = append(found, compare(file, g)...)
		}
	}
	if !p.gen.onlyFolders() || len(p.workspace.Deps) > 0 {
		return found // generated code may have its proto file elsewhere
	}
	for _, g := range p.generated {
		// Any file will do that could be imported so: not all have to be in buf.yaml.
		has := slices.ContainsFunc(p.protos, func(f protoFile) bool { return strings.HasSuffix("/"+f.path, "/"+g.source) })
		if g.generator == generatorCajun && !has && !p.linked(g.source) {
			found = append(found, Finding{g.path, fmt.Sprintf("was generated from %s, which is gone", g.source), "delete it, and the code of the messages with it, or bring the proto file back"})
		}
	}
	return found
}

// overlooked reports whether the code of a file's actors is where it should be,
// though no part of the module that is looked at: in one of its own, perhaps.
func (p *project) overlooked(file protoFile) bool {
	actors := p.gen.find(generatorCajun)
	if actors == nil {
		return false
	}
	folder, name := path.Clean(filepath.ToSlash(actors.Out)), strings.TrimSuffix(path.Base(file.importPath), ".proto")+".cajun.go"
	module, _ := actors.option("module")
	if module != "" && below(file.goPackage(), module) {
		folder = path.Join(folder, strings.TrimPrefix(file.goPackage(), module))
	} else {
		folder = path.Join(folder, path.Dir(file.importPath)) // paths=source_relative
	}
	for _, pattern := range []string{"", "*"} {
		if there, err := filepath.Glob(filepath.Join(p.dir, filepath.FromSlash(folder), pattern, name)); err == nil && len(there) > 0 {
			return true
		}
	}
	return false
}

// linked reports whether buf finds a proto file where we do not look: behind a
// symbolic link, outside of the project or in a module of Go within it.
func (p *project) linked(importPath string) bool {
	var folders []string
	for _, m := range p.workspace.Modules {
		folders = append(folders, m.Path)
	}
	if len(folders) == 0 {
		folders = []string{"."}
	}
	for _, in := range p.gen.Inputs {
		folders = append(folders, in.Directory)
	}
	return slices.ContainsFunc(folders, func(folder string) bool {
		_, err := os.Stat(filepath.Join(p.dir, filepath.FromSlash(folder), filepath.FromSlash(importPath)))
		return err == nil
	})
}

// compare tells what a proto file and its generated code declare differently.
func compare(file protoFile, g generatedFile) []Finding {
	now, understood := declared(file.text)
	then := descriptor(g.text)
	if !understood || then == nil {
		return nil
	}
	wrong := differences(now, declaredIn(then))
	if promises, understood := promised(file.text); wrong == "" && understood {
		wrong = differences(promises, promisedIn(then))
	}
	if wrong == "" {
		return nil
	}
	return []Finding{{g.path, fmt.Sprintf("is not that of %s: it %s", file.path, wrong), generateAgain}}
}

// differences says what generated code lacks, and has too much; "" for none.
func differences(now, before map[string]int) string {
	var wrong []string
	if added := surplus(now, before); len(added) > 0 {
		wrong = append(wrong, "lacks "+strings.Join(added, ", "))
	}
	if removed := surplus(before, now); len(removed) > 0 {
		wrong = append(wrong, "still has "+strings.Join(removed, ", "))
	}
	return strings.Join(wrong, " and ")
}

// surplus lists what a has more often than b, a few of it.
func surplus(a, b map[string]int) []string {
	const few = 5
	var names []string
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if a[name] > b[name] {
			names = append(names, name)
		}
	}
	if len(names) > few {
		names = append(names[:few], fmt.Sprintf("%d more", len(names)-few))
	}
	return names
}
