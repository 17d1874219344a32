// Package layout holds the rules of who may import whom. It has no code.
package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cajun-go/cajun"

// rules say for each folder which others its packages may import, their own
// subfolders aside. Arrows point down only: a folder may name what stands above
// it in this list, never what stands below.
var rules = []struct {
	folder  string
	imports []string
}{
	{"proto", nil},
	{"gen", nil},
	{"guarantee", nil},
	{"internal/etcdonce", nil},
	{"internal/bubble", nil},
	{"metadata", []string{"internal/etcdonce", "internal/bubble"}},
	{"state", []string{"guarantee", "internal/etcdonce"}},
	{"link", []string{"guarantee", "gen"}},
	{"member", []string{"metadata", "gen"}},
	{"placement", []string{"member", "metadata", "state", "gen"}},
	{"leader", []string{"member", "placement", "metadata"}},
	{"journal", []string{"guarantee", "state", "gen"}},
	{"runtime", []string{"guarantee", "metadata", "state", "link", "link/connectlink", "member", "placement", "leader", "journal", "gen"}},
	{"gateway", []string{"runtime", "guarantee", "gen"}},
	{"cajunetcd", []string{"runtime", "metadata", "metadata/etcdmeta", "state", "state/etcdstate"}},
	{"cajuntest", []string{"runtime", "metadata", "metadata/memmeta", "state", "state/memstate", "link", "link/memlink"}},
	{"cmd/protoc-gen-cajun", []string{"proto", "gen", "guarantee", "runtime"}},
	{"cmd/cajun", []string{"proto", "gen"}},
	{"examples", []string{"gen", "runtime", "gateway", "guarantee", "cajunetcd", "cajuntest", "member", "metadata", "metadata/embedetcd"}},
	{"crashtest", []string{"gen", "runtime", "link", "link/connectlink", "metadata", "metadata/etcdmeta", "placement", "state", "state/etcdstate", "runtime/internal/gen", "guarantee", "member", "cajunetcd", "metadata/embedetcd", "examples/gen"}},
	{"internal/usermodule", nil},
	{"internal/docs", nil},
	{"internal/layout", nil},
}

// pkg is what `go list -json` tells of a package.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// within reports whether a package is the folder or below it.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// folderOf returns the most specific folder of rules that holds a package.
func folderOf(path string) int {
	best := -1
	for i, r := range rules {
		if within(path, r.folder) && (best < 0 || len(r.folder) > len(rules[best].folder)) {
			best = i
		}
	}
	return best
}

func TestArrowsPointDown(t *testing.T) {
	for _, p := range list(t, "./...") {
		path := strings.TrimPrefix(p.ImportPath, module+"/")
		i := folderOf(path)
		if i < 0 {
			t.Errorf("%s is in no folder that the rules know: add it to them, and to the table in docs/architecture.md", path)
			continue
		}
		for _, imported := range p.Imports {
			target, ours := strings.CutPrefix(imported, module+"/")
			if !ours || within(target, rules[i].folder) {
				continue
			}
			if !slices.ContainsFunc(rules[i].imports, func(allowed string) bool { return permits(allowed, target) }) {
				t.Errorf("%s imports %s, which the rules for %s do not allow", path, target, rules[i].folder)
			}
		}
	}
}

// permits reports whether a rule that names a folder covers a package: gen
// covers all that is generated, every other name only itself.
func permits(allowed, target string) bool {
	if allowed == "gen" || strings.HasSuffix(allowed, "/gen") {
		return within(target, allowed)
	}
	return target == allowed
}

// TestCoreLinksNoEtcd: who brings stores of their own pays for no etcd.
func TestCoreLinksNoEtcd(t *testing.T) {
	for _, p := range list(t, "./runtime", "./gateway", "./cajuntest", "./gen/...") {
		for _, dep := range p.Deps {
			if strings.HasPrefix(dep, "go.etcd.io/") {
				t.Errorf("%s depends on %s", p.ImportPath, dep)
			}
		}
	}
}

// TestClientsLinkNoServer: who talks to an etcd does not embed one.
func TestClientsLinkNoServer(t *testing.T) {
	for _, p := range list(t, "-test", "./cajunetcd", "./metadata/etcdmeta", "./state/etcdstate") {
		for _, dep := range p.Deps {
			if strings.HasPrefix(dep, "go.etcd.io/etcd/server/") {
				t.Errorf("%s depends on %s", p.ImportPath, dep)
			}
		}
	}
}

// TestBubblesSpareTheRaceDetector: a test that starts a bubble by itself crashes
// the race detector now and then. Package bubble says why.
func TestBubblesSpareTheRaceDetector(t *testing.T) {
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		direct := []byte("synctest." + "Test(t")
		if folder := filepath.Base(filepath.Dir(path)); folder != "bubble" && bytes.Contains(source, direct) {
			t.Errorf("%s: call bubble.Test in place of %s", path, direct)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
