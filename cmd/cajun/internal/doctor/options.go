package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	cajunproto "github.com/cajun-go/cajun/proto"
)

// options looks at the copy of the options proto that actors' files import.
func (p *project) options() []Finding {
	if p.own() {
		return nil
	}
	var copies, strays []protoFile
	imported := ""
	for _, file := range p.protos {
		switch properly, _ := file.importsOptions(); {
		case file.importPath == cajunproto.OptionsPath && file.inModule:
			copies = append(copies, file)
		case isOptions(file.path):
			strays = append(strays, file)
		case imported == "" && properly:
			imported = file.path
		}
	}
	switch {
	case len(copies) > 1:
		return []Finding{{copies[1].path, fmt.Sprintf("is a second copy of %s, beside %s, and buf refuses that", cajunproto.OptionsPath, copies[0].path), "delete one of the two"}}
	case len(copies) == 1:
		return p.staleOptions(copies[0])
	case imported == "" || len(p.workspace.Deps) > 0 || p.linked(cajunproto.OptionsPath):
		return nil
	case len(strays) > 0:
		root := strings.TrimSuffix(strays[0].path, "/"+cajunproto.OptionsPath)
		return []Finding{{"buf.yaml", fmt.Sprintf("does not have the folder %s as a module, so that %s cannot import %s", root, imported, cajunproto.OptionsPath),
			"add - path: " + root + " to modules"}}
	}
	return []Finding{{imported, fmt.Sprintf("imports %s, which is nowhere in this project", cajunproto.OptionsPath),
		"run go tool " + generatorCajun + " -options third_party, and add - path: third_party to the modules of buf.yaml"}}
}

// staleOptions compares a copy of the options with those of the Cajun that
// go.mod selects.
func (p *project) staleOptions(file protoFile) []Finding {
	if p.source == "" {
		return nil
	}
	want, err := os.ReadFile(filepath.Join(p.source, "proto", filepath.FromSlash(cajunproto.OptionsPath)))
	if err != nil || unix(string(want)) == unix(file.text) {
		return nil
	}
	root := strings.TrimSuffix(strings.TrimSuffix(file.path, cajunproto.OptionsPath), "/")
	if root == "" {
		root = "."
	}
	return []Finding{{file.path, "is not that of the Cajun in go.mod", "run go tool " + generatorCajun + " -options " + root + ", and generate again"}}
}

// unix is a text without the carriage returns that git may have put in.
func unix(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// registeredTwice looks for Go code that is there twice. Two copies in one
// program register the same file, which panics at its start.
func (p *project) registeredTwice() (found []Finding) {
	first := map[string]string{}
	for _, g := range p.generated {
		if g.generator != generatorGo || strings.HasSuffix(g.path, "_protoopaque.pb.go") { // the other half of a hybrid API
			continue
		}
		switch other, again := first[g.source], isOptions(g.source) && !p.own(); {
		case again:
			found = append(found, Finding{g.path, fmt.Sprintf("registers %s, as Cajun's own copy does: a program with both panics at its start", g.source),
				fmt.Sprintf("delete it, and write inputs into %s that leave the options out, such as inputs: [{directory: proto}]", genFile)})
		case other != "":
			found = append(found, Finding{g.path, fmt.Sprintf("registers %s, as %s does: a program with both panics at its start", g.source, other),
				"delete the one that buf generate does not write any more"})
		default:
			first[g.source] = g.path
		}
	}
	return found
}
