package schema

import (
	"go/build"
	"go/token"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
)

// outputPackage is where the actors of file are generated.
func (r *reader) outputPackage(file *protogen.File) Package {
	p := r.packages[file.GoImportPath]
	if r.suffix == "" {
		return p
	}
	// protogen puts an underscore before a name that is a keyword or begins
	// with a digit, but the go command overlooks folders that begin with one.
	name := strings.TrimLeft(p.Name, "_") + r.suffix
	if !unicode.IsLetter([]rune(name)[0]) {
		name = "x" + name
	}
	return Package{Path: path.Join(p.Path, name), Name: name}
}

// checkPackages refuses files whose messages are in a package that Go cannot
// import, or whose actors would be in a file that Go does not compile.
func (r *reader) checkPackages() {
	outputs := make(map[string]*protogen.File)
	for _, file := range r.gen.Files {
		if !file.Generate || !hasActors(file) {
			continue
		}
		r.checkPlace(file)
		r.checkOptions(file)
		for _, used := range r.filesUsed(file) {
			r.checkPackage(used, r.outputPackage(file))
		}
		r.checkCase(file)
		r.checkFolder(file)
		r.checkSuffixed(file)
		output := r.output(file)
		if other, ok := outputs[strings.ToLower(output)]; ok {
			r.problems.add(file.Desc, nil, "its Go file would be %s, as that of %s is: rename one of the two proto files, or give them different go_package options",
				output, other.Desc.Path())
		}
		outputs[strings.ToLower(output)] = file // on some systems that is the same file
		r.checkFileName(file, path.Base(output))
	}
}

// checkCase refuses files whose actors need packages that the go command does not
// take together, as on some systems their folders would be one.
func (r *reader) checkCase(file *protogen.File) {
	paths := make(map[string]protogen.GoImportPath)
	for _, used := range r.filesUsed(file) {
		folded := strings.ToLower(string(used.GoImportPath))
		if other, ok := paths[folded]; ok && other != used.GoImportPath {
			r.problems.add(file.Desc, goPackage, "its actors use the Go packages %q and %q, and the go command takes no two in a program that differ in case alone: write another go_package in one of the two",
				string(other), string(used.GoImportPath))
			return
		}
		paths[folded] = used.GoImportPath
	}
}

// checkSuffixed refuses files whose actors would be in a package of their own
// that Go cannot import. Its folder has its name, so that the name has to be an
// element of import paths too, which takes fewer letters.
func (r *reader) checkSuffixed(file *protogen.File) {
	output := r.outputPackage(file)
	switch {
	case r.suffix == "":
	case reservedPackage(output.Name) != "":
		r.problems.add(file.Desc, goPackage, "its actors would be in package %s, %s: write another package_suffix", output.Name, reservedPackage(output.Name))
	case reservedElement.MatchString(output.Name) || output.Name == "internal" || output.Name == "testdata":
		r.problems.add(file.Desc, goPackage, "its actors would be in package %s, whose folder means something else to Go: write another package_suffix", output.Name)
	case token.IsIdentifier(output.Name) && !plainElement.MatchString(output.Name) && plainElement.MatchString(path.Base(string(file.GoImportPath))):
		r.problems.add(file.Desc, goPackage, "go_package: its actors would be in the package %q, which is no import path of Go: write a name of letters from a to z and digits behind the semicolon, such as \"%s;bankv1\"",
			output.Path, file.GoImportPath)
	}
}

// checkPlace refuses files whose code would be outside of the module that the
// plugin is told, which protogen does with the name of the Go file alone.
func (r *reader) checkPlace(file *protogen.File) {
	module, importPath := parameter(r.gen.Request, "module"), string(file.GoImportPath)
	if module != "" && importPath != module && !strings.HasPrefix(importPath, module+"/") {
		r.problems.add(file.Desc, goPackage, "its Go package %q is not in the module %q, which the plugin's option module names: write one such as %q, or another module",
			importPath, module, r.exampleGoPackage(file))
	}
}

// checkOptions refuses files that import our options as another Go package than
// the framework's own. A program cannot have both.
func (r *reader) checkOptions(file *protogen.File) {
	want, _, _ := strings.Cut(cajunv1.File_cajun_v1_options_proto.Options().(*descriptorpb.FileOptions).GetGoPackage(), ";")
	i := slices.IndexFunc(r.gen.Files, declaresOptions)
	if i < 0 || string(r.gen.Files[i].GoImportPath) == want {
		return
	}
	options := r.gen.Files[i]
	var at protoreflect.SourcePath
	for i := range file.Desc.Imports().Len() {
		if file.Desc.Imports().Get(i).Path() == options.Desc.Path() {
			at = protoreflect.SourcePath{pathDependency, int32(i)}
		}
	}
	r.problems.add(file.Desc, at, "%s has the Go package %q here, and Cajun has that of %q: a program with both panics at its start. "+
		"Where managed mode of buf.gen.yaml changes it, add to its disable: {file_option: go_package, path: cajun}",
		options.Desc.Path(), string(options.GoImportPath), want)
}

// declaresOptions reports whether a file is our options, whatever its path.
func declaresOptions(file *protogen.File) bool {
	return slices.ContainsFunc(file.Extensions, func(x *protogen.Extension) bool {
		return x.Desc.FullName() == cajunv1.E_Actor.TypeDescriptor().FullName()
	})
}

// goPackage is the source path of a file's option go_package.
var goPackage = protoreflect.SourcePath{pathFileOptions, pathGoPackage}

// filesUsed lists the files whose messages the actors of file use.
func (r *reader) filesUsed(file *protogen.File) []*protogen.File {
	used := []*protogen.File{file}
	for _, service := range file.Services {
		options := actorOptions(service)
		if options == nil {
			continue
		}
		for _, method := range service.Methods {
			used = append(used, r.declaring(method.Input), r.declaring(method.Output))
		}
		if state, ok := r.messages[protoreflect.FullName(options.GetState())]; ok {
			used = append(used, r.declaring(state))
		}
	}
	return used
}

func (r *reader) declaring(m *protogen.Message) *protogen.File {
	return r.gen.FilesByPath[m.Desc.ParentFile().Path()]
}

// checkFolder refuses files whose actors would be in the folder of another Go
// package.
func (r *reader) checkFolder(file *protogen.File) {
	output := r.outputPackage(file)
	for _, other := range r.gen.Files {
		if string(other.GoImportPath) == output.Path && string(other.GoPackageName) != output.Name {
			r.problems.add(file.Desc, goPackage, "go_package: its actors would be in package %s, in the folder of package %s (%s): write another go_package in one of the two",
				output.Name, other.GoPackageName, other.Desc.Path())
			return
		}
	}
}

// checkPackage refuses the Go package of file if it is none, or if that of the
// actors has to import it and cannot.
func (r *reader) checkPackage(file *protogen.File, actors Package) {
	importPath, name := string(file.GoImportPath), string(file.GoPackageName)
	imported := importPath != actors.Path
	refuse := func(format string, args ...any) {
		subject, at := "go_package", goPackage
		if written, _, _ := strings.Cut(file.Proto.GetOptions().GetGoPackage(), ";"); written != importPath {
			subject, at = "the plugin's parameter M"+file.Desc.Path(), nil
		}
		r.problems.add(file.Desc, at, subject+": "+format, args...)
	}
	const such = `"example.com/bank/gen/bank/v1"`
	fault, importable := checkImportPath(importPath)
	root, internal := confined(importPath)
	switch {
	case isRelative(importPath) && imported:
		refuse("%q is relative, so that the package of the actors cannot import the messages: write the import path as other Go code does, such as "+such+
			", and set the plugins' option module or paths for where the files go", importPath)
		return
	case !isRelative(importPath) && !importable:
		refuse("%q is no import path of Go, which takes no element %q: write one such as "+such, importPath, fault)
		return
	case internal && actors.Path != root && !strings.HasPrefix(actors.Path, root+"/"):
		refuse("only packages below %q can import %q, and %q uses its messages: move these proto files, or one of the two Go packages", root, importPath, actors.Path)
	case !token.IsIdentifier(name):
		refuse("%q cannot be the name of a Go package: write a name of letters and digits behind the semicolon, such as \"%s;bankv1\"", name, importPath)
	case name == "main" && !imported:
	case reservedPackage(name) != "":
		refuse("the package would be called %s, %s: write another name behind a semicolon, such as \"%s;%spb\"",
			name, reservedPackage(name), importPath, strings.Trim(name, "_"))
	}
}

// confined returns the path below which packages can import a path that has an
// element internal, and whether it has one.
func confined(importPath string) (root string, ok bool) {
	elements := strings.Split(importPath, "/")
	for i, element := range slices.Backward(elements) {
		if element == "internal" {
			return strings.Join(elements[:i], "/"), true
		}
	}
	return "", false
}

// reservedPackage says why no package of messages or actors can have a name
// that Go allows otherwise, or is empty.
func reservedPackage(name string) string {
	switch {
	case name == "main":
		return "which is a program that nothing can import"
	case name == "documentation":
		return "whose files the go command ignores"
	case name == "_":
		return "which is no name"
	case token.IsKeyword(name):
		return "which is a keyword of Go"
	}
	return ""
}

func isRelative(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return first == "." || first == ".."
}

// plainElement matches the elements of import paths that the go command takes
// in a module.
var plainElement = regexp.MustCompile(`^[A-Za-z0-9_~.+-]*[A-Za-z0-9_~+-]$`)

// reservedElement matches those that it refuses all the same: the folder of
// vendored packages and, on every platform, names of devices and shortened
// names on Windows.
var reservedElement = regexp.MustCompile(`^vendor$|^(?i:con|prn|aux|nul|com[1-9]|lpt[1-9]|[^.]*~[0-9]+)(\.|$)`)

// checkImportPath returns the element for which the go command does not take a
// path in an import.
func checkImportPath(importPath string) (fault string, ok bool) {
	for i, element := range strings.Split(importPath, "/") {
		if !plainElement.MatchString(element) || reservedElement.MatchString(element) || i == 0 && element[0] == '-' {
			return element, false
		}
	}
	return "", true
}

// output is the path of the Go file for the actors of file.
func (r *reader) output(file *protogen.File) string {
	dir, base := path.Split(file.GeneratedFilenamePrefix)
	if r.suffix != "" {
		dir = path.Join(dir, r.outputPackage(file).Name)
	}
	return path.Join(dir, base+".cajun.go")
}

// checkFileName refuses proto files after which Go would not compile, or only
// on some platforms, what is generated for them.
func (r *reader) checkFileName(file *protogen.File, output string) {
	if output[0] == '_' || output[0] == '.' {
		r.problems.add(file.Desc, nil, "Go ignores files that begin with %q, such as %s: rename the proto file", output[:1], output)
		return
	}
	if safe := output[0] >= utf8.RuneSelf || regexp.MustCompile(`^[0-9A-Za-z]`).MatchString(output); !safe {
		r.problems.add(file.Desc, nil, "Go takes no files that begin with %q, such as %s: rename the proto file", output[:1], output)
		return
	}
	nowhere := build.Context{GOOS: "nowhere", GOARCH: "nothing", OpenFile: func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("package p\n")), nil
	}}
	if everywhere, err := nowhere.MatchFile("", output); err == nil && !everywhere {
		r.problems.add(file.Desc, nil, "Go compiles %s only on the platform that its name ends with: rename the proto file, for example to %s",
			output, strings.Replace(output, ".cajun.go", "_actors.proto", 1))
	}
}

func hasActors(file *protogen.File) bool {
	for _, service := range file.Services {
		if actorOptions(service) != nil {
			return true
		}
	}
	return false
}
