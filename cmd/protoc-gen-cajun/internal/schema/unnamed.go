package schema

import (
	"go/token"
	"path"
	"regexp"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// unnamed begins the import paths of files whose Go package nobody has named.
const unnamed = "unnamed.invalid/"

// renamed begins the import paths of files that call their Go package otherwise
// than one before them does. The name that it has there follows.
const renamed = "renamed.invalid/"

// version matches the last word of a proto package that says its version.
var version = regexp.MustCompile(`^v[0-9]+\w*$`)

// NamePackages gives an import path to those files of req that have none, or a
// bare word in its place, and one of its own to those that give their package a
// second name. protogen would refuse req, without saying where; Read refuses these
// files beside all else that is wrong.
func NamePackages(req *pluginpb.CodeGeneratorRequest) {
	names := make(map[string]string)
	for _, file := range req.GetProtoFile() {
		importPath, name, named := strings.Cut(file.GetOptions().GetGoPackage(), ";")
		if by, _, _ := strings.Cut(parameter(req, "M"+file.GetName()), ";"); by != "" {
			continue
		}
		if strings.ContainsAny(importPath, "./") {
			own := name
			if !named {
				own = path.Base(importPath)
			}
			first, ok := names[importPath]
			if !ok && token.IsIdentifier(own) {
				names[importPath] = own
			}
			if !ok || own == first || !token.IsIdentifier(own) {
				continue // protogen makes a name of what is none
			}
			importPath, name, named = renamed+first, own, true
		} else {
			importPath = unnamed + importPath
		}
		if named {
			importPath += ";" + name
		}
		if file.Options == nil {
			file.Options = new(descriptorpb.FileOptions)
		}
		file.Options.GoPackage = &importPath
	}
}

// parameter returns what the plugin was given for one of its options.
func parameter(req *pluginpb.CodeGeneratorRequest, name string) string {
	value := ""
	for option := range strings.SplitSeq(req.GetParameter(), ",") {
		if given, ok := strings.CutPrefix(option, name+"="); ok {
			value = given
		}
	}
	return value
}

// refuseUnnamed refuses the files that NamePackages has given an import path,
// and reports whether there are any.
func (r *reader) refuseUnnamed() bool {
	found := false
	for _, file := range r.gen.Files {
		if first, ok := strings.CutPrefix(string(file.GoImportPath), renamed); ok {
			found = true
			r.problems.add(file.Desc, goPackage, "go_package: the name %q differs from %q, which another proto file gives the same Go package: write one name in both", file.GoPackageName, first)
			continue
		}
		word, ok := strings.CutPrefix(string(file.GoImportPath), unnamed)
		if !ok {
			continue
		}
		found = true
		if word == "" {
			r.problems.add(file.Desc, protoreflect.SourcePath{pathPackage}, "go_package is missing: write option go_package = %q;", r.exampleGoPackage(file))
		} else {
			r.problems.add(file.Desc, goPackage, "go_package: %q is one word and no import path of Go: write option go_package = %q;", word, r.exampleGoPackage(file))
		}
	}
	return found
}

// exampleGoPackage is a go_package for file below the module, if the plugin is
// told that.
func (r *reader) exampleGoPackage(file *protogen.File) string {
	module := parameter(r.gen.Request, "module")
	if module == "" {
		module = "example.com/bank"
	}
	example := path.Join(module, "gen", path.Dir(file.Desc.Path()))
	// bank.v1 is called bankv1, as v1 alone says little.
	name := file.Desc.Package()
	if word := string(name.Name()); version.MatchString(word) {
		return example + ";" + strings.ToLower(string(name.Parent().Name())+word)
	}
	return example
}
