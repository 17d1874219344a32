package plugin

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
)

// TestRefused compares everything that is said about each file below
// testdata/proto/refused with the .want file beside it.
func TestRefused(t *testing.T) {
	set := descriptors(t)
	for _, name := range sources(t, "refused") {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".proto"), func(t *testing.T) {
			suffix := DefaultPackageSuffix
			if strings.HasSuffix(name, "/same_package.proto") {
				suffix = ""
			}
			resp := run(t, set, suffix, name)
			if len(resp.GetFile()) > 0 {
				t.Errorf("generated %s beside the error", resp.GetFile()[0].GetName())
			}
			got := resp.GetError() + "\n"
			golden := filepath.Join("testdata/proto", strings.TrimSuffix(name, ".proto")+".want")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v; run with -update", err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

// TestRefusedTogether checks that one run reports what is wrong with every
// file, and with files of one package against each other.
func TestRefusedTogether(t *testing.T) {
	got := run(t, descriptors(t), DefaultPackageSuffix, "refused/go_names.proto", "refused/counts.proto", "golden/bank/v1/bank.proto").GetError()
	counts, names := strings.Index(got, "refused/counts.proto:"), strings.Index(got, "refused/go_names.proto:")
	if counts < 0 || names < counts {
		t.Errorf("want the problems of both files, in their order; got\n%s", got)
	}
}

func TestRefusedWithoutSourcePositions(t *testing.T) {
	set := descriptors(t)
	for _, file := range set.GetFile() {
		file.SourceCodeInfo = nil
	}
	const want = "refused/not_an_actor.proto: Ping sets"
	if got := run(t, set, DefaultPackageSuffix, "refused/not_an_actor.proto").GetError(); !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q and so on", got, want)
	}
}

// TestRefusedWithCoarsePositions drives the plugin with the positions that
// protoc gives, which locates an option as a whole.
func TestRefusedWithCoarsePositions(t *testing.T) {
	set := descriptors(t)
	for _, file := range set.GetFile() {
		var coarse []*descriptorpb.SourceCodeInfo_Location
		for _, loc := range file.GetSourceCodeInfo().GetLocation() {
			if p := loc.GetPath(); len(p) < 5 || p[0] != 6 || p[2] != 3 {
				coarse = append(coarse, loc)
			}
		}
		file.SourceCodeInfo.Location = coarse
	}
	const want = "refused/counts.proto:10:10: Counts: mailbox_capacity"
	if got := run(t, set, DefaultPackageSuffix, "refused/counts.proto").GetError(); !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q and so on", got, want)
	}
}

// TestRefusesWhatItDoesNotKnow feeds options of a later version.
func TestRefusesWhatItDoesNotKnow(t *testing.T) {
	later := protowire.AppendVarint(protowire.AppendTag(nil, 1000, protowire.VarintType), 1)
	tests := []struct {
		name   string
		change func(*cajunv1.Actor, *cajunv1.Method)
		want   string
	}{
		{"field of the actor", func(a *cajunv1.Actor, _ *cajunv1.Method) { a.ProtoReflect().SetUnknown(later) },
			"golden/bank/v1/bank.proto:31:10: Account: (cajun.v1.actor) sets a field that this protoc-gen-cajun does not know"},
		{"field of the retry", func(_ *cajunv1.Actor, m *cajunv1.Method) { m.Retry.ProtoReflect().SetUnknown(later) },
			"golden/bank/v1/bank.proto:43:12: Account.Deposit: (cajun.v1.method) sets a field that this protoc-gen-cajun does not know"},
		{"level", func(_ *cajunv1.Actor, m *cajunv1.Method) { m.Delivery = 9 },
			"golden/bank/v1/bank.proto:44:7: Account.Deposit: delivery 9 is a level that this protoc-gen-cajun does not know"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set := descriptors(t)
			account := service(t, set, "golden/bank/v1/bank.proto", "Account")
			actor := proto.GetExtension(account.GetOptions(), cajunv1.E_Actor).(*cajunv1.Actor)
			method := proto.GetExtension(account.GetMethod()[0].GetOptions(), cajunv1.E_Method).(*cajunv1.Method)
			test.change(actor, method)
			if got := run(t, set, DefaultPackageSuffix, "golden/bank/v1/bank.proto").GetError(); !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q, want %q and so on", got, test.want)
			}
		})
	}
}

func service(t *testing.T, set *descriptorpb.FileDescriptorSet, file string, name protoreflect.Name) *descriptorpb.ServiceDescriptorProto {
	t.Helper()
	for _, f := range set.GetFile() {
		for _, s := range f.GetService() {
			if f.GetName() == file && s.GetName() == string(name) {
				return s
			}
		}
	}
	t.Fatalf("no service %s in %s", name, file)
	return nil
}

// TestRefusesPlaces is about Go packages that are right by themselves.
func TestRefusesPlaces(t *testing.T) {
	const source = "golden/bank/v1/bank.proto"
	for parameter, want := range map[string]string{
		"module=example.com/h": source + `:14:1: its Go package "` + module + `/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/bank/v1" is not in the module "example.com/h", ` +
			`which the plugin's option module names: write one such as "example.com/h/gen/golden/bank/v1;bankv1", or another module`,
		"M" + source + "=example.com/b;b,Mgoogle/protobuf/empty.proto=example.com/b/bcajun;other": source + `:14:1: go_package: its actors would be in package bcajun, in the folder of package other (google/protobuf/empty.proto)`,
		"Mcajun/v1/options.proto=example.com/h/gen/cajun/v1":                                      source + `:10:1: cajun/v1/options.proto has the Go package "example.com/h/gen/cajun/v1" here, and Cajun has that of "` + module + `/gen/cajun/v1"`,
	} {
		if got := runWith(t, descriptors(t), DefaultPackageSuffix, parameter, source).GetError(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", parameter, got, want)
		}
	}
}

// TestTakesTheAliasOfAnImportedActor: the old service may stay in its folder, and
// the new one may go on to use its messages.
func TestTakesTheAliasOfAnImportedActor(t *testing.T) {
	const before, now = "golden/upgrade/v0/ledger.proto", "golden/upgrade/v1/ledger.proto"
	set := descriptors(t)
	for _, file := range set.GetFile() {
		if file.GetName() == now {
			file.Dependency = append(file.Dependency, before)
		}
	}
	if resp := run(t, set, DefaultPackageSuffix, now); resp.Error != nil {
		t.Error(resp.GetError())
	}
	// In one run they are compared.
	if got := run(t, set, DefaultPackageSuffix, before, now).GetError(); !strings.Contains(got, "is taken by actor golden.upgrade.v0.Ledger") {
		t.Errorf("got %q", got)
	}
}

// TestRefusesOtherOptionsByAnyPath: where imports begin at the root of a project,
// the options have another path, and declare the same names.
func TestRefusesOtherOptionsByAnyPath(t *testing.T) {
	const source, own, moved = "golden/bank/v1/bank.proto", "cajun/v1/options.proto", "third_party/cajun/v1/options.proto"
	set := descriptors(t)
	for _, file := range set.GetFile() {
		if file.GetName() == own {
			file.Name = proto.String(moved)
		}
		for i, imported := range file.GetDependency() {
			if imported == own {
				file.Dependency[i] = moved
			}
		}
	}
	const want = source + ":10:1: " + moved + ` has the Go package "example.com/h" here`
	if got := runWith(t, set, DefaultPackageSuffix, "M"+moved+"=example.com/h", source).GetError(); !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q and so on", got, want)
	}
}

// TestRefusesWhatTheGoCommandDoes is about names that the compiler takes, and the
// go command does not: on some systems they are those of one file.
func TestRefusesWhatTheGoCommandDoes(t *testing.T) {
	rename := func(to string) *descriptorpb.FileDescriptorSet {
		set := descriptors(t)
		for _, file := range set.GetFile() {
			if file.GetName() == "golden/names/v1/second.proto" {
				file.Name = &to
			}
		}
		return set
	}
	for _, test := range []struct {
		set       *descriptorpb.FileDescriptorSet
		parameter string
		files     []string
		want      string
	}{
		{rename("golden/names/v1/Names.proto"), "", []string{"golden/names/v1/names.proto", "golden/names/v1/Names.proto"},
			"golden/names/v1/Names.proto:1:1: its Go file would be "},
		{rename("golden/names/v1/+x.proto"), "", []string{"golden/names/v1/+x.proto"},
			`golden/names/v1/+x.proto:1:1: Go takes no files that begin with "+", such as +x.cajun.go: rename the proto file`},
		{descriptors(t), "Mgolden/foreign/context/v1/context.proto=example.com/c/v1;a,Mgolden/foreign/context2/v1/context.proto=example.com/C/v1;b", []string{"golden/foreign/v1/foreign.proto"},
			`golden/foreign/v1/foreign.proto:13:1: its actors use the Go packages "example.com/c/v1" and "example.com/C/v1", and the go command takes no two in a program that differ in case alone: write another go_package in one of the two`},
	} {
		if got := runWith(t, test.set, DefaultPackageSuffix, test.parameter, test.files...).GetError(); !strings.HasPrefix(got, test.want) {
			t.Errorf("got %q, want %q and so on", got, test.want)
		}
	}
}

// TestRefusesSuffixes that make a name which means something to Go.
func TestRefusesSuffixes(t *testing.T) {
	const source = "golden/bank/v1/bank.proto"
	for name, suffix := range map[string]string{"ven": "dor", "inter": "nal", "test": "data", "a": "ux", "ma": "in"} {
		want := source + ":14:1: its actors would be in package " + name + suffix + ", "
		got := runWith(t, descriptors(t), suffix, "M"+source+"=example.com/b;"+name, source).GetError()
		if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, ": write another package_suffix") {
			t.Errorf("%s and %s: got %q, want %q", name, suffix, got, want)
		}
	}
}

// asCompiled drives the plugin as a compiler does and returns what it refuses.
func asCompiled(t *testing.T, req *pluginpb.CodeGeneratorRequest) string {
	t.Helper()
	encoded, err := proto.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	var answer bytes.Buffer
	if err := Run(bytes.NewReader(encoded), &answer); err != nil {
		t.Fatal(err)
	}
	resp := new(pluginpb.CodeGeneratorResponse)
	if err := proto.Unmarshal(answer.Bytes(), resp); err != nil {
		t.Fatal(err)
	}
	return resp.GetError()
}

// TestRefusesFilesWithoutGoPackage drives the plugin as a compiler does, as
// protogen itself refuses such files before anything else is read.
func TestRefusesFilesWithoutGoPackage(t *testing.T) {
	const source = "golden/bank/v1/bank.proto"
	for _, test := range []struct {
		name, goPackage, parameter string
		want                       []string
	}{
		{"none", "", "module=example.com/h", []string{`golden/bank/v1/bank.proto:8:1: go_package is missing: write option go_package = "example.com/h/gen/golden/bank/v1;bankv1";`}},
		{"a word", "bankv1", "", []string{`golden/bank/v1/bank.proto:14:1: go_package: "bankv1" is one word and no import path of Go: write option go_package = "example.com/bank/gen/golden/bank/v1;bankv1";`}},
		{"a word and a name", "bank;bankv1", "", []string{`: go_package: "bank" is one word`}},
		{"beside other faults", "", "", []string{": go_package is missing", `: Account: state "Missing" is no message`}},
		{"named for all", "", "M" + source + "=example.com/bank;bankv1", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := descriptors(t)
			for _, file := range set.GetFile() {
				if file.GetName() == source {
					file.Options.GoPackage = nil
					if test.goPackage != "" {
						file.Options.GoPackage = &test.goPackage
					}
				}
			}
			if len(test.want) > 1 {
				proto.GetExtension(service(t, set, source, "Account").GetOptions(), cajunv1.E_Actor).(*cajunv1.Actor).State = "Missing"
			}
			refusal := asCompiled(t, &pluginpb.CodeGeneratorRequest{FileToGenerate: []string{source}, Parameter: &test.parameter, ProtoFile: set.GetFile()})
			if got := strings.Count(refusal, "\n"); got != len(test.want) {
				t.Errorf("%d problems, want %d: %s", got, len(test.want), refusal)
			}
			for _, want := range test.want {
				if !strings.Contains(refusal, want) {
					t.Errorf("got %q, want %q", refusal, want)
				}
			}
		})
	}
}

// TestRefusesTwoNamesOfAPackage: protogen refuses them too, but names no place, and
// nothing else that is wrong.
func TestRefusesTwoNamesOfAPackage(t *testing.T) {
	const first, second = "golden/names/v1/names.proto", "golden/names/v1/second.proto"
	set := descriptors(t)
	for _, file := range set.GetFile() {
		if file.GetName() == second {
			importPath, _, _ := strings.Cut(file.GetOptions().GetGoPackage(), ";")
			file.Options.GoPackage = proto.String(importPath + ";other")
		}
	}
	proto.GetExtension(service(t, set, second, "Second").GetOptions(), cajunv1.E_Actor).(*cajunv1.Actor).State = "Missing"
	refusal := asCompiled(t, &pluginpb.CodeGeneratorRequest{FileToGenerate: []string{first, second}, ProtoFile: set.GetFile()})
	for _, want := range []string{"\n" + second + `:8:1: go_package: the name "other" differs from "namesv1"`, `: Second: state "Missing" is no message`} {
		if !strings.Contains(refusal, want) {
			t.Errorf("got %q, want %q", refusal, want)
		}
	}
}
