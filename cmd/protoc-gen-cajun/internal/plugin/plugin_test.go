package plugin

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

var update = flag.Bool("update", false, "write the golden files anew")

// module is the prefix that the tests have protogen strip, so that outputs are
// relative to the root of the module.
const module = "github.com/cajun-go/cajun"

// root is the root of the module, seen from here.
const root = "../../../.."

// descriptors reads what refresh.sh compiled.
func descriptors(t *testing.T) *descriptorpb.FileDescriptorSet {
	t.Helper()
	b, err := os.ReadFile("testdata/descriptors.binpb")
	if err != nil {
		t.Fatal(err)
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(b, set); err != nil {
		t.Fatal(err)
	}
	return set
}

// run is one run of the plugin as protoc drives it.
func run(t *testing.T, set *descriptorpb.FileDescriptorSet, suffix string, files ...string) *pluginpb.CodeGeneratorResponse {
	t.Helper()
	return runWith(t, set, suffix, "module="+module, files...)
}

func runWith(t *testing.T, set *descriptorpb.FileDescriptorSet, suffix, parameter string, files ...string) *pluginpb.CodeGeneratorResponse {
	t.Helper()
	gen, err := protogen.Options{}.New(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: files,
		Parameter:      proto.String(parameter),
		ProtoFile:      set.GetFile(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := Generate(gen, suffix); err != nil {
		gen.Error(err)
	}
	return gen.Response()
}

// sources lists the proto files below testdata/proto/dir as protos name them.
func sources(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := fs.WalkDir(os.DirFS("testdata/proto"), dir, func(name string, d fs.DirEntry, err error) error {
		if path.Ext(name) == ".proto" {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestDescriptorsAreThoseOfTheSources(t *testing.T) {
	var sums strings.Builder
	for _, name := range sources(t, ".") {
		b, err := os.ReadFile(filepath.Join("testdata/proto", name))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&sums, "%x  ./%s\n", sha256.Sum256(b), name)
	}
	want, err := os.ReadFile("testdata/descriptors.sum")
	if err != nil {
		t.Fatal(err)
	}
	if sums.String() != string(want) {
		t.Error("a proto file below testdata has changed: run testdata/refresh.sh")
	}
}

// golden lists the files that are generated apart from their messages, those
// that take the names of actors of the former as aliases, and those that are
// generated beside their messages. Each list is one run, as buf runs a plugin
// for each folder.
func golden(t *testing.T) (separate, later, same []string) {
	t.Helper()
	for _, name := range sources(t, "golden") {
		switch {
		case strings.HasPrefix(name, "golden/samepackage/"):
			same = append(same, name)
		case strings.HasPrefix(name, "golden/upgrade/v1/"):
			later = append(later, name)
		default:
			separate = append(separate, name)
		}
	}
	return separate, later, same
}

func TestGolden(t *testing.T) {
	set := descriptors(t)
	separate, later, same := golden(t)
	generated := make(map[string]string)
	for _, resp := range []*pluginpb.CodeGeneratorResponse{
		run(t, set, DefaultPackageSuffix, separate...),
		run(t, set, DefaultPackageSuffix, later...),
		run(t, set, "", same...),
	} {
		if resp.Error != nil {
			t.Fatal(resp.GetError())
		}
		for _, file := range resp.GetFile() {
			generated[file.GetName()] = file.GetContent()
		}
	}
	for name, content := range generated {
		golden := filepath.Join(root, name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(golden, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Errorf("%v; run with -update", err)
			continue
		}
		if content != string(want) {
			t.Errorf("%s: the output differs from the golden file; run with -update and read the difference", name)
		}
	}
	// What is not generated any more must not stay.
	err := filepath.WalkDir("testdata/gen", func(name string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(name, ".cajun.go") {
			if full := path.Join("cmd/protoc-gen-cajun/internal/plugin", filepath.ToSlash(name)); generated[full] == "" {
				t.Errorf("%s: nothing generates this file", full)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPackageDocRepeatsNothing: Go joins what the files of a package say of it.
func TestPackageDocRepeatsNothing(t *testing.T) {
	said := make(map[string]string)
	separate, _, _ := golden(t)
	for _, file := range run(t, descriptors(t), DefaultPackageSuffix, separate...).GetFile() {
		parsed, err := parser.ParseFile(token.NewFileSet(), "", file.GetContent(), parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		for paragraph := range strings.SplitSeq(parsed.Doc.Text(), "\n\n") {
			key := path.Dir(file.GetName()) + ": " + paragraph
			if other, again := said[key]; again {
				t.Errorf("%s says what %s says already: %q", file.GetName(), other, paragraph)
			}
			said[key] = file.GetName()
		}
	}
}

// TestOutputNames checks where files go, for the options that all Go plugins
// have and for our own.
func TestOutputNames(t *testing.T) {
	const gen = "cmd/protoc-gen-cajun/internal/plugin/testdata/gen/"
	tests := []struct{ name, parameter, suffix, file, want string }{
		{"module", "module=" + module, "cajun", "golden/bank/v1/bank.proto", gen + "bank/v1/bankv1cajun/bank.cajun.go"},
		{"import path", "", "cajun", "golden/bank/v1/bank.proto", module + "/" + gen + "bank/v1/bankv1cajun/bank.cajun.go"},
		{"source relative", "paths=source_relative", "cajun", "golden/bank/v1/bank.proto", "golden/bank/v1/bankv1cajun/bank.cajun.go"},
		{"other suffix", "paths=source_relative", "_actors", "golden/bank/v1/bank.proto", "golden/bank/v1/bankv1_actors/bank.cajun.go"},
		{"same package", "paths=source_relative", "", "golden/bank/v1/bank.proto", "golden/bank/v1/bank.cajun.go"},
		{"import path by option", "paths=source_relative,Mgolden/bank/v1/bank.proto=example.com/b;other", "cajun",
			"golden/bank/v1/bank.proto", "golden/bank/v1/othercajun/bank.cajun.go"},
		{"no actors", "", "cajun", "golden/quiet/v1/quiet.proto", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			resp := runWith(t, descriptors(t), test.suffix, test.parameter, test.file)
			if resp.Error != nil {
				t.Fatal(resp.GetError())
			}
			got := ""
			for _, file := range resp.GetFile() {
				got += file.GetName()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestPackageSuffixMustBeGo(t *testing.T) {
	const want = `package_suffix "-x/y" cannot be part of a Go package name: use lower-case letters and digits`
	if got := run(t, descriptors(t), "-x/y", "golden/bank/v1/bank.proto").GetError(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParameters(t *testing.T) {
	parameters := Parameters{PackageSuffix: DefaultPackageSuffix}
	if err := parameters.Set("package_suffix", ""); err != nil || parameters.PackageSuffix != "" {
		t.Errorf("got %+v, %v; want an empty suffix", parameters, err)
	}
	const want = `unknown option "pakcage_suffix": write package_suffix, or one that all Go plugins take: paths, module, M, default_api_level`
	if err := parameters.Set("pakcage_suffix", "x"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestDeclaresFeatures(t *testing.T) {
	for _, file := range []string{"golden/bank/v1/bank.proto", "refused/keys.proto"} {
		resp := run(t, descriptors(t), DefaultPackageSuffix, file)
		const features = uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL | pluginpb.CodeGeneratorResponse_FEATURE_SUPPORTS_EDITIONS)
		if got := resp.GetSupportedFeatures(); got != features {
			t.Errorf("%s: features %b, want %b", file, got, features)
		}
		if got, want := resp.GetMinimumEdition(), int32(descriptorpb.Edition_EDITION_PROTO2); got != want {
			t.Errorf("%s: minimum edition %d, want %d", file, got, want)
		}
		if got, want := resp.GetMaximumEdition(), int32(descriptorpb.Edition_EDITION_2024); got != want {
			t.Errorf("%s: maximum edition %d, want %d", file, got, want)
		}
	}
}

// TestIsDeterministicAndFormatted also runs the files in other company, which
// must not change what is written for each.
func TestIsDeterministicAndFormatted(t *testing.T) {
	set := descriptors(t)
	all := make(map[string]string)
	files, _, _ := golden(t)
	for _, file := range run(t, set, DefaultPackageSuffix, files...).GetFile() {
		all[file.GetName()] = file.GetContent()
	}
	slices.Reverse(files)
	for _, source := range files {
		for _, file := range run(t, set, DefaultPackageSuffix, source).GetFile() {
			if file.GetContent() != all[file.GetName()] {
				t.Errorf("%s: the output depends on what else is generated", file.GetName())
			}
			formatted, err := format.Source([]byte(file.GetContent()))
			if err != nil {
				t.Fatal(err)
			}
			if file.GetContent() != string(formatted) {
				t.Errorf("%s: the output is not as gofmt writes it", file.GetName())
			}
		}
	}
}
