package render

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/dave/jennifer/jen"

	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/names"
	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/schema"
)

// The packages of the framework that generated code uses.
const (
	modulePath    = "github.com/cajun-go/cajun"
	runtimePath   = modulePath + "/runtime"
	guaranteePath = modulePath + "/guarantee"
)

// The identifiers that generated functions declare.
const (
	localCtx   = "ctx"
	localFrom  = "from"
	localKey   = "key"
	localPid   = "p"
	localReq   = "req"
	localSpawn = "spawn"
)

// declareImports tells out under which name each package is imported, as it
// neither knows the real package names nor checks them against ours.
func declareImports(out *jen.File, f *schema.File) {
	out.ImportName("context", "context")
	out.ImportName("iter", "iter")
	out.ImportName("time", "time")
	out.ImportName(guaranteePath, "guarantee")
	out.ImportAlias(runtimePath, "cajun")
	packages := packagesUsed(f)
	for importPath, alias := range choose(packages, takenNames(f)) {
		if alias == packages[importPath] && alias == path.Base(importPath) {
			// To write it would repeat what the path says.
			out.ImportName(importPath, alias)
		} else {
			out.ImportAlias(importPath, alias)
		}
	}
}

// packagesUsed are the names of the other packages whose messages f uses, by
// import path.
func packagesUsed(f *schema.File) map[string]string {
	packages := make(map[string]string)
	use := func(m schema.Message) { packages[m.Package.Path] = m.Package.Name }
	packages[f.Messages.Path] = f.Messages.Name // for the descriptor
	for _, a := range f.Actors {
		if a.State != nil {
			use(*a.State)
		}
		for _, m := range a.Methods {
			use(m.Request)
			if !m.OneWay {
				use(m.Response)
			}
		}
	}
	delete(packages, f.Package.Path)
	return packages
}

// takenNames are those that no import of f may have.
func takenNames(f *schema.File) map[string]bool {
	taken := map[string]bool{
		// Go keeps these for other things.
		"init": true, "_": true,
		"context": true, "iter": true, "time": true, "guarantee": true, "cajun": true,
		localCtx: true, localFrom: true, localKey: true, localPid: true, localReq: true, localSpawn: true,
	}
	for _, a := range f.Actors {
		var methods []string
		for _, m := range a.Methods {
			methods = append(methods, m.GoName)
		}
		for _, id := range names.Actor(a.GoName).All(methods) {
			taken[id] = true
		}
	}
	return taken
}

// choose gives every package a name that is not taken: its own, in lower case,
// or one with a number. packages are names by import path.
func choose(packages map[string]string, taken map[string]bool) map[string]string {
	chosen := make(map[string]string, len(packages))
	claim := func(path, name string) bool {
		if taken[name] || jen.IsReservedWord(name) {
			return false
		}
		taken[name] = true
		chosen[path] = name
		return true
	}
	var left []string
	for _, path := range slices.Sorted(maps.Keys(packages)) {
		if !claim(path, strings.ToLower(packages[path])) {
			left = append(left, path)
		}
	}
	for _, path := range left {
		name := strings.ToLower(packages[path])
		for n := 2; !claim(path, name+strconv.Itoa(n)); n++ {
		}
	}
	return chosen
}

// groupImports puts a blank line between the standard library and the rest of
// the sorted import block, as people do and the writer cannot.
func groupImports(source []byte) []byte {
	const begin, end = "\nimport (\n", "\n)\n"
	head, rest, ok := strings.Cut(string(source), begin)
	if !ok {
		return source
	}
	block, tail, _ := strings.Cut(rest, end)
	var standard, others []string
	for line := range strings.SplitSeq(block, "\n") {
		// A path without a dot may be that of a module that is called hello.
		if path := strings.TrimSpace(line); path == `"context"` || path == `"iter"` || path == `"time"` {
			standard = append(standard, line)
		} else {
			others = append(others, line)
		}
	}
	if len(standard) > 0 && len(others) > 0 {
		standard = append(standard, "")
	}
	return []byte(head + begin + strings.Join(append(standard, others...), "\n") + end + tail)
}
