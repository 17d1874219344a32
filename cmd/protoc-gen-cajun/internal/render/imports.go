package render

import (
	"fmt"
	"maps"
	"slices"
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
	out.ImportName("time", "time")
	out.ImportName(guaranteePath, "guarantee")
	out.ImportAlias(runtimePath, "cajun")
	for path, alias := range aliases(f) {
		out.ImportAlias(path, alias)
	}
}

// aliases names the packages of the messages that f uses. A package keeps its
// own name unless that is taken.
func aliases(f *schema.File) map[string]string {
	packages := make(map[string]string)
	taken := map[string]bool{
		// Go keeps these for other things.
		"init": true, "_": true,
		"context": true, "time": true, "guarantee": true, "cajun": true,
		localCtx: true, localFrom: true, localKey: true, localPid: true, localReq: true, localSpawn: true,
	}
	for _, a := range f.Actors {
		if a.State != nil {
			packages[a.State.Package.Path] = a.State.Package.Name
		}
		var methods []string
		for _, m := range a.Methods {
			methods = append(methods, m.GoName)
			packages[m.Request.Package.Path] = m.Request.Package.Name
			if !m.OneWay {
				packages[m.Response.Package.Path] = m.Response.Package.Name
			}
		}
		for _, id := range names.Actor(a.GoName).All(methods) {
			taken[id] = true
		}
	}
	delete(packages, f.Package.Path)
	chosen := make(map[string]string, len(packages))
	for _, path := range slices.Sorted(maps.Keys(packages)) {
		name := strings.ToLower(packages[path])
		alias := name
		for n := 2; taken[alias] || jen.IsReservedWord(alias); n++ {
			alias = fmt.Sprintf("%s_%d", name, n)
		}
		taken[alias] = true
		chosen[path] = alias
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
		_, path, _ := strings.Cut(line, `"`)
		if domain, _, _ := strings.Cut(path, "/"); strings.Contains(domain, ".") {
			others = append(others, line)
		} else {
			standard = append(standard, line)
		}
	}
	if len(standard) > 0 && len(others) > 0 {
		standard = append(standard, "")
	}
	return []byte(head + begin + strings.Join(append(standard, others...), "\n") + end + tail)
}
