package doctor

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// TestPromisedTakesAnything cuts a proto file short and mixes it up.
func TestPromisedTakesAnything(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(checkout, "examples", greeterProto))
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(content) + " rpc ; { } ( ) [ ] option = (cajun.v1.actor) (cajun.v1.key) , . .a -")
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		mixed := make([]string, random.IntN(20))
		for i := range mixed {
			mixed[i] = words[random.IntN(len(words))]
		}
		promised(strings.Join(mixed, " "))
	}
	for i := range content {
		promised(string(content[:i]))
	}
	if said, ok := promised(`service S { option (v1.actor) = {}; }`); ok {
		t.Errorf("a shorter name of our option is not understood, but it says so: %v", said)
	}
}

// TestOwnCodeIsUpToDate compares the generated code of this checkout, which is that
// of its proto files, the generator's most awkward ones among them.
func TestOwnCodeIsUpToDate(t *testing.T) {
	protos := map[string][]protoFile{}
	var generated []generatedFile
	err := filepath.WalkDir(checkout, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if !strings.HasSuffix(name, ".proto") && !strings.HasSuffix(name, ".pb.go") {
			return nil
		}
		content, err := os.ReadFile(name)
		text := strings.ReplaceAll(string(content), "\r\n", "\n")
		if g, ok := readGenerated(name, text); ok && strings.HasSuffix(name, ".pb.go") && !strings.HasSuffix(name, "_protoopaque.pb.go") {
			generated = append(generated, g)
		}
		if strings.HasSuffix(name, ".proto") {
			protos[entry.Name()] = append(protos[entry.Name()], protoFile{path: filepath.ToSlash(name), text: text})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, g := range generated {
		for _, file := range protos[filepath.Base(g.source)] {
			if !strings.HasSuffix(file.path, "/"+g.source) || strings.Contains(file.path, "/testdata/") != strings.Contains(filepath.ToSlash(g.path), "/testdata/") {
				continue
			}
			compared++
			for _, finding := range compare(file, g) {
				t.Error(finding)
			}
		}
	}
	if compared < 20 {
		t.Errorf("only %d files were compared", compared)
	}
}

// TestAwkwardSourcesAreUnderstood compares the proto files of the generator's corpus
// with what the compiler has made of them: what is not understood is to be said so.
func TestAwkwardSourcesAreUnderstood(t *testing.T) {
	corpus := filepath.Join(checkout, "cmd", "protoc-gen-cajun", "internal", "corpus", "testdata")
	content, err := os.ReadFile(filepath.Join(corpus, "descriptors.binpb"))
	if err != nil {
		t.Fatal(err)
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(content, set); err != nil {
		t.Fatal(err)
	}
	understood := 0
	for _, file := range set.GetFile() {
		source, err := os.ReadFile(filepath.Join(corpus, "proto", filepath.FromSlash(file.GetName())))
		if err != nil {
			continue // it is not of the corpus
		}
		if names, ok := declared(string(source)); ok {
			if wrong := differences(names, declaredIn(file)); wrong != "" {
				t.Errorf("%s: the code %s", file.GetName(), wrong)
			}
		}
		if said, ok := promised(string(source)); ok {
			understood++
			if wrong := differences(said, promisedIn(file)); wrong != "" {
				t.Errorf("%s: the code %s", file.GetName(), wrong)
			}
		}
	}
	if understood < 60 {
		t.Errorf("only %d files are understood", understood)
	}
}
