package corpus_test

import (
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var vetted = flag.Bool("vetted", false, "have the go command build and vet the corpus, too")

// TestVet has the go command build and vet what is generated, in a module of
// its own that takes the framework from this checkout.
func TestVet(t *testing.T) {
	if !*vetted {
		t.Skip("takes half a minute: run it with -vetted")
	}
	dir := t.TempDir()
	set := descriptors(t)
	for _, test := range corpus {
		if test.refused != nil || test.hidden {
			continue
		}
		files, parameter := sources(t, test.name), test.parameter+",module="+module
		all, err := messages(request(set, parameter, files))
		if err != nil && strings.Contains(err.Error(), "generated file does not match prefix") {
			continue // its import path is outside of the module
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{"cajun", ""} {
			if suffix == "" && test.together != nil {
				continue
			}
			generated, err := actors(request(set, parameter, files), suffix)
			if err != nil {
				t.Fatal(err)
			}
			maps.Copy(all, generated)
		}
		for name, content := range all {
			write(t, filepath.Join(dir, filepath.FromSlash(name)), content)
		}
	}
	root, err := filepath.Abs("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	mod := read(t, filepath.Join(root, "go.mod"))
	mod = strings.Replace(mod, "module github.com/cajun-go/cajun\n", "module "+module+"\n", 1)
	tools := strings.Index(mod, "\ntool (")
	mod = mod[:tools] + "\nrequire github.com/cajun-go/cajun v0.0.0\n\nreplace github.com/cajun-go/cajun => " + root + "\n"
	write(t, filepath.Join(dir, "go.mod"), mod)
	write(t, filepath.Join(dir, "go.sum"), read(t, filepath.Join(root, "go.sum")))
	// Proto methods may be called MarshalJSON and so on.
	cmd := exec.Command("go", "vet", "-mod=mod", "-stdmethods=false", "./...")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
