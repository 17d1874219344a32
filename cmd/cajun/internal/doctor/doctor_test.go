package doctor

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const checkout = "../../../.."

const (
	healthyMod = `module example.com/hello

go 1.26

require (
	github.com/cajun-go/cajun v0.0.0
	google.golang.org/protobuf v1.36.12
)

replace github.com/cajun-go/cajun => CHECKOUT

tool (
	github.com/cajun-go/cajun/cmd/protoc-gen-cajun
	google.golang.org/protobuf/cmd/protoc-gen-go
)
`
	healthyGen = `version: v2
plugins:
  - local: ["go", "tool", "protoc-gen-go"]
    out: .
    opt: module=example.com/hello
  - local: ["go", "tool", "protoc-gen-cajun"]
    out: .
    opt: module=example.com/hello
inputs: [{directory: proto}]
`
	healthyBuf = "version: v2\nmodules: [{path: proto}, {path: third_party}]\n"

	greeterProto = "proto/greeter/v1/greeter.proto"
	greeterGo    = "gen/greeter/v1/greeter.pb.go"
	greeterCajun = "gen/greeter/v1/greeterv1cajun/greeter.cajun.go"
	optionsCopy  = "third_party/cajun/v1/options.proto"
)

// healthy is a project in which nothing is wrong, made of what the examples
// generate, so that it is never out of date.
func healthy(t *testing.T) map[string]string {
	t.Helper()
	root, err := filepath.Abs(checkout)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"go.mod": strings.ReplaceAll(healthyMod, "CHECKOUT", filepath.ToSlash(root)), "buf.gen.yaml": healthyGen, "buf.yaml": healthyBuf}
	for name, from := range map[string]string{
		greeterProto: "examples/" + greeterProto,
		greeterGo:    "examples/" + greeterGo,
		greeterCajun: "examples/" + greeterCajun,
		optionsCopy:  "proto/cajun/v1/options.proto",
	} {
		content, err := os.ReadFile(filepath.Join(checkout, from))
		if err != nil {
			t.Fatal(err)
		}
		// The examples are in the framework's own module.
		files[name] = strings.ReplaceAll(string(content), "\"github.com/cajun-go/cajun/examples/", "\"example.com/hello/")
	}
	return files
}

// edit changes a project. It fails the test when there is nothing to change.
type edit func(t *testing.T, files map[string]string)

func replace(name, old, new string) edit {
	return func(t *testing.T, files map[string]string) {
		t.Helper()
		if !strings.Contains(files[name], old) {
			t.Fatalf("%s has no %q to change", name, old)
		}
		files[name] = strings.ReplaceAll(files[name], old, new)
	}
}

func add(name, content string) edit {
	return func(_ *testing.T, files map[string]string) { files[name] += content }
}

func remove(names ...string) edit {
	return func(_ *testing.T, files map[string]string) {
		for _, name := range names {
			delete(files, name)
		}
	}
}

// rename moves a file, or copies it when the other name begins with +.
func rename(from, to string) edit {
	return func(_ *testing.T, files map[string]string) {
		files[strings.TrimPrefix(to, "+")] = files[from]
		if to[0] != '+' {
			delete(files, from)
		}
	}
}

// check writes a project and looks at it.
func check(t *testing.T, files map[string]string) []Finding {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		write(t, filepath.Join(dir, filepath.FromSlash(name)), content)
	}
	report, err := Check(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if relative, _ := filepath.Rel(dir, path); err == nil && !entry.IsDir() {
			content, _ := os.ReadFile(path)
			if files[filepath.ToSlash(relative)] != string(content) {
				t.Errorf("%s was changed, or made", relative)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return report.Findings
}

// fromRoot has buf take the whole project for one module, so that all imports
// begin at its root.
func fromRoot(t *testing.T, files map[string]string) {
	t.Helper()
	replace("buf.yaml", "{path: proto}, {path: third_party}", "{path: .}")(t, files)
	replace("buf.gen.yaml", "directory: proto", "directory: ., paths: [proto]")(t, files)
	replace(greeterProto, "\"cajun/v1/options.proto\"", "\"third_party/cajun/v1/options.proto\"")(t, files)
	replace(greeterGo, "// source: ", "// source: proto/")(t, files)
	replace(greeterCajun, "// source: ", "// source: proto/")(t, files)
}

// finds are the cases in which something is wrong: each makes one mistake in a
// healthy project, and has to give one finding.
var finds = map[string]struct {
	edits []edit
	where string
	wrong string // a part of it
	do    string // a part of it
}{
	"no buf.gen.yaml":     {[]edit{remove("buf.gen.yaml")}, "buf.gen.yaml", "is not there", "cajun init"},
	"an old buf.gen.yaml": {[]edit{replace("buf.gen.yaml", "v2", "v1")}, "buf.gen.yaml", `version "v1"`, "buf config migrate"},
	"an old buf.gen.yaml that overrides": {[]edit{replace("buf.gen.yaml", "v2", "v1"), add("buf.gen.yaml", "managed: {enabled: true, override: {GO_PACKAGE: {a.proto: x}}}\n")},
		"buf.gen.yaml", `version "v1"`, "buf config migrate"},
	"no plugin of ours": {[]edit{replace("buf.gen.yaml", "protoc-gen-cajun", "protoc-gen-other")},
		"buf.gen.yaml", "does not run protoc-gen-cajun", `local: ["go", "tool", "protoc-gen-cajun"]`},
	"no plugin for messages": {[]edit{replace("buf.gen.yaml", "protoc-gen-go", "protoc-gen-other")}, "buf.gen.yaml", "does not run protoc-gen-go", "module=example.com/hello"},
	"another module": {[]edit{replace("go.mod", "module example.com/hello", "module example.com/other"),
		replace("buf.gen.yaml", "\"protoc-gen-go\"]\n    out: .\n    opt: module=example.com/hello", "\"protoc-gen-go\"]\n    out: .\n    opt: module=example.com/other")},
		"buf.gen.yaml", "module=example.com/hello, but", "opt: module=example.com/other"},
	"no module": {[]edit{replace("buf.gen.yaml", "\"protoc-gen-go\"]\n    out: .\n    opt: module=example.com/hello", "\"protoc-gen-go\"]\n    out: .")},
		"buf.gen.yaml", "whole import paths", "opt: module=example.com/hello"},
	"places apart": {[]edit{replace("buf.gen.yaml", "\"protoc-gen-go\"]\n    out: .\n    opt: module=example.com/hello", "\"protoc-gen-go\"]\n    out: gen\n    opt: paths=source_relative")},
		"buf.gen.yaml", "write to different places", "the same out and opt"},
	"no inputs":            {[]edit{replace("buf.gen.yaml", "inputs: [{directory: proto}]", "")}, "buf.gen.yaml", "generates code for " + optionsCopy, "inputs: [{directory: proto}]"},
	"inputs with too much": {[]edit{replace("buf.gen.yaml", "directory: proto", "directory: .")}, "buf.gen.yaml", "generates code for " + optionsCopy, "inputs: [{directory: proto}]"},
	"imports included": {[]edit{replace("buf.gen.yaml", "\"protoc-gen-go\"]", "\"protoc-gen-go\"]\n    include_imports: true")},
		"buf.gen.yaml", "include_imports", "remove include_imports"},
	"managed mode": {[]edit{add("buf.gen.yaml", "managed: {enabled: true, override: [{file_option: go_package_prefix, value: example.com/hello/gen}]}\n")},
		"buf.gen.yaml", "panics at its start", "file_option: go_package_prefix\n        path: cajun"},
	"managed mode, something else disabled": {[]edit{add("buf.gen.yaml", "managed: {enabled: true, override: [{file_option: go_package, value: x}], disable: [{file_option: go_package_prefix, path: cajun}, {file_option: go_package, path: other}]}\n")},
		"buf.gen.yaml", "managed mode", "file_option: go_package\n"},

	"no runtime":         {[]edit{replace("go.mod", "github.com/cajun-go/cajun v0.0.0", "")}, "go.mod", "does not require", "go get github.com/cajun-go/cajun@latest"},
	"no tool":            {[]edit{replace("go.mod", "\tgithub.com/cajun-go/cajun/cmd/protoc-gen-cajun\n", "")}, "go.mod", "has no tool", "go get -tool github.com/cajun-go/cajun/cmd/protoc-gen-cajun"},
	"plugin not on PATH": {[]edit{replace("buf.gen.yaml", `["go", "tool", "protoc-gen-cajun"]`, "./nowhere/protoc-gen-cajun")}, "buf.gen.yaml", "not on the PATH", "go get -tool"},
	"plugin of another version": {[]edit{
		replace("buf.gen.yaml", `["go", "tool", "protoc-gen-cajun"]`, `["go", "run", "github.com/cajun-go/cajun/cmd/protoc-gen-cajun@v0.2.0"]`),
		replace("go.mod", "cajun v0.0.0", "cajun v0.1.0"), replace("go.mod", "replace ", "// replace ")},
		"buf.gen.yaml", "v0.2.0, but go.mod has Cajun v0.1.0", "go get -tool"},
	"newer messages":        {[]edit{replace(greeterGo, "protoc-gen-go v1.", "protoc-gen-go v2.")}, greeterGo, "the older google.golang.org/protobuf v1.", "go get google.golang.org/protobuf@v2."},
	"code for another time": {[]edit{replace(greeterCajun, "GeneratedV1", "GeneratedV99")}, greeterCajun, "needs GeneratedV99, and there is GeneratedV1", "run buf generate again"},

	"old options":  {[]edit{add(optionsCopy, "// old\n")}, optionsCopy, "is not that of the Cajun in go.mod", "protoc-gen-cajun -options third_party,"},
	"no options":   {[]edit{remove(optionsCopy)}, greeterProto, "which is nowhere in this project", "-options third_party"},
	"options lost": {[]edit{replace("buf.yaml", ", {path: third_party}", "")}, "buf.yaml", "does not have the folder third_party as a module", "add - path: third_party"},
	"options in the proto folder": {[]edit{rename(optionsCopy, "proto/cajun/v1/options.proto")},
		"buf.gen.yaml", "generates code for proto/cajun/v1/options.proto", "inputs"},
	"inputs with too much, from the root": {[]edit{fromRoot, replace("buf.gen.yaml", ", paths: [proto]", "")}, "buf.gen.yaml", "generates code for " + optionsCopy, "inputs"},
	"options generated from the root": {[]edit{fromRoot, add("gen/cajun/v1/options.pb.go", "// Code generated by protoc-gen-go. DO NOT EDIT.\n// source: third_party/cajun/v1/options.proto\n\npackage cajunv1\n")},
		"gen/cajun/v1/options.pb.go", "as Cajun's own copy does", "delete it"},
	"two options": {[]edit{rename(optionsCopy, "+vendored/cajun/v1/options.proto"), replace("buf.yaml", "{path: proto}", "{path: proto}, {path: vendored}")},
		"vendored/cajun/v1/options.proto", "a second copy", "delete one"},
	"options generated": {[]edit{add("gen/cajun/v1/options.pb.go", "// Code generated by protoc-gen-go. DO NOT EDIT.\n// source: cajun/v1/options.proto\n\npackage cajunv1\n")},
		"gen/cajun/v1/options.pb.go", "as Cajun's own copy does", "delete it"},
	"messages twice": {[]edit{rename(greeterGo, "+old/greeter.pb.go")}, "old/greeter.pb.go", "as " + greeterGo + " does", "delete the one"},

	"no go_package": {[]edit{replace(greeterProto, "option go_package", "// option go_package")}, greeterProto + ":3:1", "has no go_package", `option go_package = "example.com/hello/gen/greeter/v1;greeterv1";`},
	"a word for a go_package": {[]edit{replace(greeterProto, "\"example.com/hello/gen/greeter/v1;", "\"greeterv1;")},
		greeterProto + ":8:1", `"greeterv1", which is one word`, `option go_package = "example.com/hello/gen/greeter/v1;greeterv1";`},
	"a go_package elsewhere": {[]edit{replace(greeterProto, "\"example.com/hello/", "\"example.com/other/")},
		greeterProto + ":8:1", "is not in the module=example.com/hello of buf.gen.yaml", `option go_package = "example.com/hello/gen/greeter/v1;greeterv1";`},
	"a go_package that is not where its file is": {[]edit{replace("buf.gen.yaml", "opt: module=example.com/hello", "opt: paths=source_relative")},
		greeterProto + ":8:1", `goes into the package "example.com/hello/greeter/v1"`, `option go_package = "example.com/hello/greeter/v1;greeterv1"; or give both plugins opt: module=example.com/hello`},
	"no import": {[]edit{replace(greeterProto, "import \"cajun/v1/options.proto\";", "")}, greeterProto + ":13:10", "does not import", `add import "cajun/v1/options.proto"`},

	"no mark": {[]edit{add("proto/a.proto", "import \"cajun/v1/options.proto\";\nservice S {\n rpc A(B) returns (C);\n}\n")},
		"proto/a.proto:2:1", "is not marked as an actor", "add option (cajun.v1.actor) = {};"},

	"never generated, and an option named from the root": {[]edit{remove(greeterGo, greeterCajun), replace(greeterProto, "(cajun.v1.actor)", "(.cajun.v1.actor)")}, greeterProto, "no code is generated", "run buf generate"},
	"never generated": {[]edit{remove(greeterGo, greeterCajun)}, greeterProto, "no code is generated", "run buf generate"},
	"a new method":    {[]edit{replace(greeterProto, "service Greeter {", "service Greeter {\n rpc Again(TallyRequest) returns (TallyResponse);")}, greeterGo, "lacks rpc Again", "run buf generate"},
	"a new body":      {[]edit{replace(greeterProto, "service Greeter {", "service Greeter {\n rpc Again(TallyRequest) returns (TallyResponse) {}")}, greeterGo, "lacks rpc Again", "run buf generate"},
	"a message less":  {[]edit{replace(greeterProto, "message TallyRequest {}", "")}, greeterGo, "still has message TallyRequest", "run buf generate"},
	"a field moved":   {[]edit{replace(greeterProto, "uint64 at_most_once = 1;", "uint64 at_most_once = 0x11;")}, greeterGo, "lacks field at_most_once = 17 and still has field at_most_once = 1", "run buf generate"},
	"a new enum":      {[]edit{add(greeterProto, "enum E { E_NONE = 0; E_MINUS = -1; }\n")}, greeterGo, "lacks enum E, field E_MINUS = -1, field E_NONE = 0", "run buf generate"},
	"another level": {[]edit{replace(greeterProto, "{one_way: true}", "{one_way: true, delivery: DELIVERY_EXACTLY_ONCE}")}, greeterGo,
		"lacks delivery:DELIVERY_EXACTLY_ONCE of Greeter.Wave", "run buf generate"},
	"another state": {[]edit{replace(greeterProto, "state: \"", "state: \"x.")}, greeterGo, "lacks state:\"x.", "run buf generate"},
	"a setting more": {[]edit{replace(greeterProto, "option (cajun.v1.actor)", "option (.cajun.v1.actor).idle_timeout = {seconds: 5}; option (cajun.v1.actor).idle_timeout.nanos = 7;\n option (cajun.v1.actor)")}, greeterGo,
		"lacks idle_timeout:{seconds:5 nanos:7} of Greeter", "run buf generate"},
	"effects now":          {[]edit{replace(greeterProto, "    option idempotency_level = NO_SIDE_EFFECTS;\n", "")}, greeterGo, "still has idempotency_level:NO_SIDE_EFFECTS of Greeter.Tally", "run buf generate"},
	"a stream now":         {[]edit{replace(greeterProto, "returns (TallyResponse)", "returns (stream .examples.TallyResponse)")}, greeterGo, "(TallyRequest) returns (stream TallyResponse) and still has rpc Greeter.", "run buf generate"},
	"a key now":            {[]edit{replace(greeterProto, "uint64 at_most_once = 1;", "uint64 at_most_once = 1 [deprecated = true, (cajun.v1.key) = true];")}, greeterGo, "lacks (cajun.v1.key) of field at_most_once = 1", "run buf generate"},
	"a field called group": {[]edit{replace(greeterProto, "message TallyRequest {}", "message TallyRequest { repeated string group = 1; }")}, greeterGo, "lacks field group = 1", "run buf generate"},
	"no proto any more": {[]edit{remove(greeterProto)}, greeterCajun, "was generated from greeter/v1/greeter.proto, which is gone",
		"bring the proto file back"},
}

func TestFinds(t *testing.T) {
	for name, tt := range finds {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it waits for the go command
			files := healthy(t)
			for _, e := range tt.edits {
				e(t, files)
			}
			found := check(t, files)
			if len(found) != 1 || found[0].Where != tt.where || !strings.Contains(found[0].Wrong, tt.wrong) || !strings.Contains(found[0].Do, tt.do) {
				t.Errorf("found %q\nwant %s: … %s …\n  … %s …", found, tt.where, tt.wrong, tt.do)
			}
		})
	}
}

// TestLeavesAlone: what is unusual and not wrong is no finding.
func TestLeavesAlone(t *testing.T) {
	relative := []edit{replace("buf.gen.yaml", "    out: .\n    opt: module=example.com/hello", "    out: gen\n    opt: [paths=source_relative]")}
	for name, edits := range map[string][]edit{
		"a healthy project":      nil,
		"imports from the root":  {fromRoot},
		"a plugin in a shell":    {replace("buf.gen.yaml", `["go", "tool", "protoc-gen-go"]`, `["sh", "-c", "exec go tool protoc-gen-go"]`)},
		"a plugin in a wrapper":  {replace("buf.gen.yaml", `["go", "tool", "protoc-gen-go"]`, "./messages.sh")},
		"paths=source_relative":  relative,
		"a folder in the module": {replace("buf.gen.yaml", "    out: .\n    opt: module=example.com/hello", "    out: gen\n    opt: module=example.com/hello/gen,x=y")},
		"paths left out":         {replace("buf.gen.yaml", "directory: proto", "directory: ., exclude_paths: [third_party]")},
		"managed mode":           {add("buf.gen.yaml", "managed: {enabled: true}\n")},
		"managed mode, with our options exempt": {add("buf.gen.yaml",
			"managed: {enabled: true, override: [{file_option: go_package_prefix, value: x}], disable: [{file_option: go_package_prefix, path: cajun}]}\n")},
		"packages named by a plugin's option": {replace(greeterProto, "option go_package", "// option go_package"),
			replace("buf.gen.yaml", "opt: module=example.com/hello", "opt: [module=example.com/hello, Mgreeter/v1/greeter.proto=example.com/hello/gen/greeter/v1]")},
		"packages named by managed mode": {replace(greeterProto, "option go_package", "// option go_package"), add("buf.gen.yaml", "managed: {enabled: true}\n")},
		"options that come with another import": {replace(greeterProto, "cajun/v1/options.proto", "greeter/v1/all.proto"),
			add("proto/greeter/v1/all.proto", "syntax = \"proto3\"; import public \"cajun/v1/options.proto\";")},
		"options for messages alone":   {add("proto/a.proto", "import \"cajun/v1/options.proto\";\nservice S {}\nmessage M { string a = 1 [(cajun.v1.key) = true]; }\n")},
		"managed mode elsewhere":       {add("buf.gen.yaml", "managed: {enabled: true, override: [{file_option: go_package_prefix, path: greeter, value: x}]}\n")},
		"managed mode switched off":    {add("buf.gen.yaml", "managed: {override: [{file_option: go_package_prefix, value: x}]}\n")},
		"a remote plugin":              {replace("buf.gen.yaml", `local: ["go", "tool", "protoc-gen-go"]`, "remote: buf.build/protocolbuffers/go:v1.36.12"), replace("go.mod", "\tgoogle.golang.org/protobuf/cmd/protoc-gen-go\n", "")},
		"tools in a go.mod apart":      {replace("buf.gen.yaml", `"tool", "protoc`, `"tool", "-modfile=tools/go.mod", "protoc`), replace("go.mod", "\tgithub.com/cajun-go/cajun/cmd/protoc-gen-cajun\n", "")},
		"options with CRLF":            {replace(optionsCopy, "\n", "\r\n")},
		"comments changed":             {replace(greeterProto, "service Greeter {", "// message Lost { int64 a = 1; }\n/* rpc Lost(A) returns (B); */\nservice Greeter {")},
		"options of all kinds":         {replace(greeterProto, "message TallyRequest {}", "message TallyRequest {\n  option deprecated = true;\n  option (x) = {a: [{b: 1}] c {d = 3;}};\n  reserved 7 to 9;\n  reserved \"message M {\";\n}")},
		"another module's files":       {add("other/go.mod", "module other\n"), rename(greeterGo, "+other/greeter.pb.go")},
		"files of tests":               {rename(greeterGo, "+testdata/greeter.pb.go"), rename(optionsCopy, "+x/testdata/cajun/v1/options.proto")},
		"a proto file outside buf":     {add("elsewhere/a.proto", "service S { option (cajun.v1.actor) = {}; }")},
		"a proto file that is not fed": {replace("buf.yaml", "{path: proto}", "{path: proto}, {path: more}"), add("more/a.proto", "service S { option (cajun.v1.actor) = {}; }")},
		"a folder that buf leaves out": {replace("buf.yaml", "{path: proto}", "{path: proto, excludes: [proto/old]}"), add("proto/old/a.proto", "service S { option (cajun.v1.actor) = {}; }")},
		"a folder that buf leaves in":  {replace("buf.yaml", "{path: proto}", "{path: proto, includes: [proto/greeter]}"), add("proto/old/a.proto", "service S { option (cajun.v1.actor) = {}; }")},
		"no buf.yaml": {remove("buf.yaml"), rename(optionsCopy, "proto/cajun/v1/options.proto"),
			replace("buf.gen.yaml", "directory: proto", "directory: proto, exclude_paths: [proto/cajun]")},
		"managed mode, with the right package for our options": {add("buf.gen.yaml",
			"managed: {enabled: true, override: [{file_option: go_package_prefix, value: x}, {file_option: go_package, path: cajun, value: github.com/cajun-go/cajun/gen/cajun/v1;cajunv1}]}\n")},
		"generated code in a module of its own": {add("gen/go.mod", "module example.com/hello/gen\n"),
			replace("buf.gen.yaml", "    out: .\n    opt: module=example.com/hello", "    out: gen\n    opt: module=example.com/hello/gen")},
		"generated code in a module that a plugin need not know": {add("gen/go.mod", "module example.com/hello/gen\n")},
		"generated code in a folder that Go overlooks": {rename(greeterGo, "testdata/greeter/v1/greeter.pb.go"), rename(greeterCajun, "testdata/greeter/v1/greeterv1cajun/greeter.cajun.go"),
			replace("buf.gen.yaml", "    out: .\n    opt: module=example.com/hello", "    out: testdata\n    opt: [paths=source_relative]"),
			replace(greeterProto, "example.com/hello/gen/", "example.com/hello/testdata/")},
		"proto files in a module of their own": {add("proto/go.mod", "module example.com/hello/proto\n")},
		"a licence that names a source": {replace(greeterGo, "// Code generated by", "// Code generated by x. DO NOT EDIT.\n// source: https://example.com/x\n\n// Code generated by"),
			replace(greeterCajun, "// Code generated by", "// source: https://example.com/x\n\n// Code generated by")},
		"a package that says it is generated": {replace(greeterGo, "\npackage greeterv1", "\n// Code generated by x. DO NOT EDIT.\npackage greeterv1")},
		"a workspace of version 1":            {remove("buf.yaml"), add("buf.work.yaml", "version: v1\ndirectories: [proto, third_party]\n")},
		"a plain service":                     {add("proto/a.proto", "service S { rpc A(B) returns (C); } // (cajun.v1.actor)")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it waits for the go command
			files := healthy(t)
			for _, e := range edits {
				e(t, files)
			}
			if found := check(t, files); len(found) > 0 {
				t.Errorf("found %q", found)
			}
		})
	}
}

// TestInstalledPlugin: a plugin on the PATH is asked for its version.
func TestInstalledPlugin(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("there is no sh to make a plugin of")
	}
	bin := t.TempDir()
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	for says, want := range map[string]int{"v0.1.0": 0, "v0.2.0": 1, "(devel)": 0} {
		if err := os.WriteFile(filepath.Join(bin, "protoc-gen-cajun"), []byte("#!/bin/sh\necho protoc-gen-cajun '"+says+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		files := healthy(t)
		replace("buf.gen.yaml", `["go", "tool", "protoc-gen-cajun"]`, "protoc-gen-cajun")(t, files)
		replace("go.mod", "cajun v0.0.0", "cajun v0.1.0")(t, files)
		replace("go.mod", "replace ", "// replace ")(t, files)
		if found := check(t, files); len(found) != want || want > 0 && !strings.Contains(found[0].Wrong, "runs protoc-gen-cajun v0.2.0, but go.mod has Cajun v0.1.0") {
			t.Errorf("a plugin that says %s: found %q", says, found)
		}
	}
}

// TestOurselves: Cajun's own repository is such a project, and a large one.
func TestOurselves(t *testing.T) {
	report, err := Check(t.Context(), checkout)
	if err != nil || len(report.Findings) > 0 || report.Protos < 5 || report.Generated < 5 {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestWorkspace: a module that is beside those of its workspace has no tools.
func TestWorkspace(t *testing.T) {
	root := t.TempDir()
	t.Setenv("GOWORK", filepath.Join(root, "go.work"))
	for uses, want := range map[string]int{"./other": 1, "./this": 0, "./other\nuse ./this": 0} {
		for _, name := range []string{"this", "other"} {
			if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, name, "go.mod"), []byte("module "+name+"\n\ngo 1.26\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(root, "go.work"), []byte("go 1.26\n\nuse "+uses+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		p := &project{dir: filepath.Join(root, "this")}
		if found := p.workspaces(t.Context()); len(found) != want || want > 0 && found[0].Do != "run go work use ." {
			t.Errorf("use %s: found %q", uses, found)
		}
	}
}

func TestCannotLook(t *testing.T) {
	if _, err := Check(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "there is no go.mod") {
		t.Error(err)
	}
	for _, name := range []string{"buf.gen.yaml", "buf.yaml"} {
		dir := t.TempDir()
		for file, content := range map[string]string{"go.mod": "module m\n", name: "plugins: {"} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Check(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "cannot read "+name) {
			t.Error(err)
		}
	}
}

// TestDeclared holds the reading of sources against descriptors, over the proto
// files of the plugin's goldens, which have all that is legal.
func TestDeclared(t *testing.T) {
	root := filepath.Join(checkout, "cmd", "protoc-gen-cajun", "internal", "plugin", "testdata")
	compared := 0
	err := filepath.WalkDir(filepath.Join(root, "gen"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".pb.go") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		g, ok := readGenerated(path, string(content))
		if !ok {
			t.Errorf("%s is not taken for generated code", path)
		}
		source, err := os.ReadFile(filepath.Join(root, "proto", filepath.FromSlash(g.source)))
		if err != nil {
			return err
		}
		if then := descriptor(g.text); then == nil || len(declaredIn(then)) == 0 {
			t.Errorf("%s: no descriptor found", path)
		}
		if found := compare(protoFile{path: g.source, text: string(source)}, g); len(found) > 0 {
			t.Error(found)
		}
		compared++
		return nil
	})
	if err != nil || compared < 5 {
		t.Errorf("compared %d files, %v", compared, err)
	}
}

func TestDeclaredIsNoParser(t *testing.T) {
	if _, ok := declared("message M { optional group G = 1 {} }"); ok {
		t.Error("groups are not understood, but it says so")
	}
	names, ok := declared(`export message M { map<string, int32> counts = 3 [deprecated = true, (x) = {a: [1]}]; oneof o { a.b.C c = 4; } }`)
	want := []string{"field c = 4", "field counts = 3", "message M"}
	if got := surplus(names, nil); !ok || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, ok, want)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
