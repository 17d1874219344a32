// Package corpus_test generates code for a corpus of legal schemas that are
// hard on generators, and for random ones, and compiles it together with what
// protoc-gen-go makes of the same files.
package corpus_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// module is what the parameter module strips in the tests.
const module = "example.com"

// corpus lists the schemas: a folder or a file below testdata/proto each.
var corpus = []struct {
	// name is the folder or file.
	name string
	// parameter is added to that of the plugins.
	parameter string
	// refused is what the error says that is expected instead of code, and
	// together the same where the actors share the messages' package, if that
	// differs.
	refused, together []string
	// hidden is whether Go overlooks what protoc-gen-go makes of it.
	hidden bool
	// big ones are generated once for each suffix: where files go does not
	// depend on what is in them.
	big bool
}{
	{name: "services"},
	{name: "taken", together: []string{"taken/taken.proto:10:9: Greeter: its Go code would declare Greeter,"}},
	{name: "methods"},
	{name: "keywords"},
	{name: "nested"},
	{name: "nopackage.proto"},
	{name: "foreign"},
	{name: "stdlike"},
	{name: "gopackage/absent.proto", parameter: "Mgopackage/absent.proto=example.com/gopackage/absent"},
	{name: "gopackage/named.proto"},
	{name: "gopackage/init.proto"},
	// A program may hold its own messages and actors.
	{name: "gopackage/main.proto", together: []string{}, refused: []string{"gopackage/main.proto:7:1: go_package: the package would be called main,"}},
	{name: "gopackage/documentation.proto", refused: []string{"gopackage/documentation.proto:7:1: go_package: the package would be called documentation,"}},
	{name: "gopackage/illegal.proto", refused: []string{"gopackage/illegal.proto:7:1: go_package: \"example.com/gopackage/a b//c\" is no import path of Go, which takes no element \"a b\":"}},
	{name: "internalfriend"},
	{name: "internaluser.proto", refused: []string{"internalfriend/secret.proto:5:1: go_package: only packages below \"example.com/internalfriend\" can import \"example.com/internalfriend/internal/secret\", and "}},
	{name: "gopackage/unicode.proto", refused: []string{"gopackage/unicode.proto:7:1: go_package: \"example.com/gopackage/ünïcode\" is no import path of Go, which takes no element \"ünïcode\":"}},
	// The folder of the actors has the name of their package.
	{name: "gopackage/unicodename.proto", together: []string{}, refused: []string{"gopackage/unicodename.proto:7:1: go_package: its actors would be in the package \"example.com/gopackage/unicodename/ünïcode"}},
	{name: "gopackage/device.proto", refused: []string{"gopackage/device.proto:7:1: go_package: \"example.com/gopackage/aux/v1\" is no import path of Go, which takes no element \"aux\":"}},
	{name: "gopackage/keyword.proto", refused: []string{"gopackage/keyword.proto:7:1: go_package: \"type\" cannot be the name of a Go package:"}},
	// In the package of the messages nothing has to import them.
	{name: "gopackage/relative.proto", together: []string{}, refused: []string{"gopackage/relative.proto:7:1: go_package: \"./pb\" is relative,"}},
	{name: "gopackage/relativeuser.proto", refused: []string{"gopackage/relative.proto:7:1: go_package: \"./pb\" is relative,"}},
	{name: "gopackage/Odd name-1.x.proto"},
	{name: "syntax"},
	{name: "comments/comments.proto"},
	{name: "comments/crlf.proto"},
	{name: "comments/header.proto", hidden: true},
	{name: "deprecated"},
	{name: "large", big: true},
	{name: "inherit"},
	{name: "statecycle", refused: []string{"statecycle/actor.proto:12:30: Actor: state \"statecycle.state.State\" is declared in a file that this one does not import:"}},
	{name: "cycle", refused: []string{"cycle/a1.proto:6:1: Go packages cannot import each other in a circle:"}},
	{name: "twice", refused: []string{"twice/b/same.proto:1:1: its Go file would be example.com/twice/"}},
	{name: "hidden/hidden.proto", together: []string{
		"hidden/hidden.proto:10:9: IsM: its Go code would declare isM_Choice, as that of message M (hidden/hidden.proto:33:9) does:",
		"hidden/hidden.proto:16:9: Case: its Go code would declare case_M_Choice, as that of message M",
		"hidden/hidden.proto:22:9: Default_M_Text: its Go code would declare Default_M_Text, as that of message M",
		"hidden/hidden.proto:28:9: E_M_More: its Go code would declare E_M_More, as that of extension more (hidden/hidden.proto:36:21) does:",
	}},
	{name: "hidden/prefix.proto", together: []string{
		"hidden/prefix.proto:12:9: Colour_RED: its Go code would declare Colour_RED, as that of enum Colour (hidden/prefix.proto:25:6) does:",
		"hidden/prefix.proto:18:9: Colour_COLOUR_RED: its Go code would declare Colour_COLOUR_RED, as that of enum Colour",
	}},
	{name: "platform/server_windows.proto", refused: []string{"platform/server_windows.proto:1:1: Go compiles server_windows.cajun.go only on the platform"}},
	{name: "platform/client_linux_test.proto", refused: []string{"platform/client_linux_test.proto:1:1: Go compiles client_linux_test.cajun.go only on the platform"}},
	{name: "platform/_hidden.proto", refused: []string{"platform/_hidden.proto:1:1: Go ignores files that begin with"}},
}

// TestCorpus takes the schemas apart over as many goroutines as there are
// processors, each with a compiler of its own.
func TestCorpus(t *testing.T) {
	compilers := make(chan *compiler, runtime.GOMAXPROCS(0))
	for range cap(compilers) {
		c, err := newCompiler()
		if err != nil {
			t.Fatal(err)
		}
		compilers <- c
	}
	for _, test := range corpus {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := <-compilers
			defer func() { compilers <- c }()
			// protogen changes descriptors, so every schema has its own.
			s := subject{t, descriptors(t), sources(t, test.name), test.parameter, test.big}
			together := test.together
			if together == nil {
				together = test.refused
			}
			// One build serves both suffixes, whose packages are apart.
			apart := s.generate("cajun", test.refused)
			maps.Copy(apart, s.generate("_actors", test.refused))
			s.compile(c, apart)
			s.compile(c, s.generate("", together))
		})
	}
}

// subject is one schema that is being tested.
type subject struct {
	*testing.T
	set       *descriptorpb.FileDescriptorSet
	files     []string
	parameter string
	big       bool
}

// generate generates the actors. It returns none if they are refused, as
// expected.
func (s subject) generate(suffix string, refused []string) map[string]string {
	s.Helper()
	generated, err := actors(request(s.set, s.parameter, s.files), suffix)
	for _, text := range refused {
		if err == nil || !strings.Contains(err.Error(), text) {
			s.Errorf("suffix %q: got %v, want an error with %q", suffix, err, text)
		}
	}
	if len(refused) > 0 {
		return map[string]string{}
	}
	if err == nil {
		err = formatted(generated)
	}
	if err != nil {
		s.Fatalf("suffix %q: %v", suffix, err)
	}
	if !s.big {
		s.everyPlace(suffix, generated)
	}
	return generated
}

// everyPlace generates the same with every parameter that says where files go.
func (s subject) everyPlace(suffix string, generated map[string]string) {
	s.Helper()
	run := func(parameter string) (map[string]string, error) {
		return actors(request(s.set, s.parameter+parameter, s.files), suffix)
	}
	stripped, err := run(",module=" + module)
	if err == nil {
		err = samePlaces(generated, stripped, func(name string) string { return strings.TrimPrefix(name, module+"/") })
	}
	if err != nil && !outside(generated) {
		s.Errorf("suffix %q: module: %v", suffix, err)
	}
	relative, err := run(",paths=source_relative")
	if err != nil || !slices.Equal(slices.Sorted(maps.Values(generated)), slices.Sorted(maps.Values(relative))) {
		s.Errorf("suffix %q: paths=source_relative changes more than the names: %v", suffix, err)
	}
	if _, err = run(",paths=source_relative,module=" + module); !errors.Is(err, errIllegal) {
		s.Errorf("suffix %q: paths=source_relative with module: got %v, want an error", suffix, err)
	}
}

// compile compiles generated actors with their messages, whose code has either
// API. The hybrid one is two, of which a build tag chooses.
func (s subject) compile(c *compiler, generated map[string]string) {
	s.Helper()
	if len(generated) == 0 {
		return
	}
	for _, level := range []string{"API_OPEN", "API_HYBRID"} {
		// The framework's own options have the open API.
		parameter := s.parameter + ",apilevelMcajun/v1/options.proto=API_OPEN,default_api_level=" + level
		all, err := messages(request(s.set, parameter, s.files))
		if err != nil {
			s.Fatal(err)
		}
		maps.Copy(all, generated)
		for _, opaque := range []bool{false, true} {
			if opaque && level == "API_OPEN" {
				continue
			}
			if err := c.compile(all, opaque, false); err != nil {
				s.Errorf("%s, opaque %t: %v", level, opaque, err)
			}
		}
	}
}

// outside reports whether one of the files is in no folder below module.
func outside(files map[string]string) bool {
	for name := range files {
		if !strings.HasPrefix(name, module+"/") {
			return true
		}
	}
	return false
}

// samePlaces checks that two runs have written the same files, whose names
// rename maps.
func samePlaces(from, to map[string]string, rename func(string) string) error {
	want := make(map[string]string)
	for name, content := range from {
		want[rename(name)] = content
	}
	if !maps.Equal(want, to) {
		return fmt.Errorf("got %q, want %q", slices.Sorted(maps.Keys(to)), slices.Sorted(maps.Keys(want)))
	}
	return nil
}

// descriptors reads what refresh.sh compiled.
func descriptors(t testing.TB) *descriptorpb.FileDescriptorSet {
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

// sources lists the proto files below testdata/proto/name as protos name them.
func sources(t testing.TB, name string) []string {
	t.Helper()
	var files []string
	err := fs.WalkDir(os.DirFS("testdata/proto"), name, func(name string, d fs.DirEntry, err error) error {
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

func TestEverySourceIsInTheCorpus(t *testing.T) {
	var sums strings.Builder
	for _, name := range sources(t, ".") {
		b, err := os.ReadFile(filepath.Join("testdata/proto", name))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&sums, "%x  ./%s\n", sha256.Sum256(b), name)
		listed := false
		for _, test := range corpus {
			listed = listed || name == test.name || strings.HasPrefix(name, test.name+"/")
		}
		if !listed {
			t.Errorf("%s: no entry of the corpus covers it", name)
		}
	}
	want, err := os.ReadFile("testdata/descriptors.sum")
	if err != nil {
		t.Fatal(err)
	}
	if sums.String() != string(want) {
		t.Error("a proto file below testdata has changed: run testdata/refresh.sh")
	}
}
