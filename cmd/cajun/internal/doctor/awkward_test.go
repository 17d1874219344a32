package doctor

import (
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

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
