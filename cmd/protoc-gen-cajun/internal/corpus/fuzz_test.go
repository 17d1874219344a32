package corpus_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
)

// seeds is how many random schemas an ordinary run of the tests tries.
const seeds = 40

// fuzzCompiler is shared, as a process runs one input at a time.
var fuzzCompiler = sync.OnceValues(newCompiler)

// said is what a line of an error looks like.
var said = regexp.MustCompile(`^[^:]+\.proto(:\d+:\d+)?: .+|^package_suffix `)

// FuzzGenerate builds schemas from random choices. The plugin either refuses
// one in proper words, or writes Go that is formatted and compiles. To fuzz
// for long, set -fuzzminimizetime=10x, as inputs take milliseconds.
func FuzzGenerate(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range seeds {
		data := make([]byte, 60+random.IntN(300))
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 2000 {
			return // more of the same adds nothing but time
		}
		s := newSchema(data)
		var files []string
		for _, file := range s.own {
			files = append(files, file.GetName())
		}
		suffix := s.mostly([]string{"cajun", "", "_actors", "v1"}, []string{"Bad", "-"})
		level := pick(s, []string{"API_OPEN", "API_OPAQUE", "API_HYBRID"})
		generated, err := actors(request(s.set, "", files), suffix)
		if errors.Is(err, errIllegal) {
			return
		}
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !said.MatchString(line) {
					t.Errorf("an error without a place: %q", line)
				}
			}
			return
		}
		if err := formatted(generated); err != nil {
			t.Fatal(err)
		}
		compileRandom(t, s, files, generated, ",apilevelMcajun/v1/options.proto=API_OPEN,default_api_level="+level)
	})
}

// compileRandom compiles generated actors with their messages. Schemas whose
// messages do not compile alone are left to protoc-gen-go.
func compileRandom(t *testing.T, s *schema, files []string, generated map[string]string, parameter string) {
	if len(generated) == 0 {
		return
	}
	c, err := fuzzCompiler()
	if err != nil {
		t.Fatal(err)
	}
	alone, err := messages(request(s.set, parameter, files))
	if err != nil {
		return
	}
	all := maps.Clone(alone)
	maps.Copy(all, generated)
	if err := c.compile(all, false, false); err != nil && c.compile(alone, false, true) == nil {
		var source strings.Builder
		for _, file := range s.own {
			source.WriteString(prototext.Format(file))
		}
		t.Fatalf("%v\n%s", err, source.String())
	}
}
