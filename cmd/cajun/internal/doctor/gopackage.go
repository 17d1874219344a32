package doctor

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	cajunproto "github.com/cajun-go/cajun/proto"
)

const goPackage = `option\s+go_package\s*=\s*["']([^"']*)["']`

// goPackage is the import path that a proto file names for its Go code, or "".
func (f protoFile) goPackage() string {
	match := regexp.MustCompile(goPackage).FindStringSubmatch(withoutComments(f.text))
	if match == nil {
		return ""
	}
	importPath, _, _ := strings.Cut(match[1], ";")
	return importPath
}

// goPackages looks whether the Go packages of actors' messages are where their
// code goes. The plugin for actors says so too, but that for messages fails
// first, and names no line.
func (p *project) goPackages() (found []Finding) {
	actors := p.gen.find(generatorCajun)
	if actors == nil || p.elsewhere(actors.Out) || p.gen.Managed.Enabled || actors.renames() {
		return nil
	}
	for _, file := range p.protos {
		if !file.inModule || !file.hasActors() || !p.gen.covers(file.path) {
			continue
		}
		given := file.goPackage()
		place := p.place(*actors, file)
		module, _ := actors.option("module")
		paths, _ := actors.option("paths")
		at, wrong, otherwise := file.at(goPackage), "", ""
		switch {
		case given == "":
			at, wrong = file.at(`package\s+[\w.]+\s*;`), "has no go_package, so no Go code can be generated for it"
		case !strings.ContainsAny(given, "./"):
			wrong = fmt.Sprintf("has the go_package %q, which is one word and no import path of Go", given)
		case module != "" && given != module && !below(given, module):
			wrong = fmt.Sprintf("has the go_package %q, which is not in the module=%s of %s", given, module, genFile)
		case paths == "source_relative" && given != place:
			wrong = fmt.Sprintf("has the go_package %q, but with paths=source_relative in %s its Go code goes into the package %q", given, genFile, place)
			otherwise = fmt.Sprintf(" or give both plugins opt: module=%s in place of paths", p.module.Module.Path)
		default:
			continue
		}
		found = append(found, Finding{at, wrong, fmt.Sprintf("write option go_package = %q;", strings.TrimSuffix(place+";"+packageName(file.importPath), ";")) + otherwise})
	}
	return found
}

// place is an import path for a proto file that fits where a plugin writes.
func (p *project) place(plugin plugin, file protoFile) string {
	folder := filepath.ToSlash(plugin.Out)
	if _, hasModule := plugin.option("module"); hasModule && path.Clean(folder) == "." {
		folder = "gen"
	}
	return path.Join(p.module.Module.Path, folder, path.Dir(file.importPath))
}

// packageName is a name for the Go package of a proto file: the word that its
// folder ends with, and the one before it where that is a version.
func packageName(importPath string) string {
	folder := path.Dir(importPath)
	name := path.Base(folder)
	if regexp.MustCompile(`^v[0-9]`).MatchString(name) {
		name = path.Base(path.Dir(folder)) + name
	}
	return strings.ToLower(regexp.MustCompile(`\W`).ReplaceAllString(name, ""))
}

// imports looks for actors in files that do not import the options, and for
// services in files that do and are not marked.
func (p *project) imports() (found []Finding) {
	const service = `\bservice\s+\w+\s*\{`
	// A public import may pass the options on.
	passed := slices.ContainsFunc(p.protos, func(f protoFile) bool { return strings.Contains(f.text, "import public") })
	for _, file := range p.protos {
		if !file.inModule || !p.gen.covers(file.path) {
			continue
		}
		text := withoutComments(file.text)
		switch _, imports := file.importsOptions(); {
		case imports && !strings.Contains(text, "cajun.v1.") && regexp.MustCompile(service).MatchString(text):
			found = append(found, Finding{file.at(service), fmt.Sprintf("is in a file that imports %s, and is not marked as an actor, so no actor is generated for it", cajunproto.OptionsPath),
				"add option (cajun.v1.actor) = {}; to it, or remove the import"})
		case !imports && !passed && file.hasActors():
			found = append(found, Finding{file.at(`\(\s*\.?cajun\.v1\.actor`), "sets (cajun.v1.actor) and does not import the file that declares it",
				fmt.Sprintf("add import %q;", cajunproto.OptionsPath)})
		}
	}
	return found
}
