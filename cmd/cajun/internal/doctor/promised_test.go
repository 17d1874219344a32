package doctor

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
