package command

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cajun-go/cajun/internal/usermodule"
)

// cajun builds the command into a folder for the user's PATH.
func cajun(t *testing.T, f *usermodule.Folder) {
	t.Helper()
	bin := t.TempDir()
	f.WithPath(bin)
	f.Run("go -C '" + usermodule.Checkout(t) + "' build -buildvcs=false -o '" + bin + "/' ./cmd/cajun")
}

// TestInitInAnExistingModule is a user who has a module in a workspace, with Go
// files in its root. The quickstart's test does the same in an empty folder.
func TestInitInAnExistingModule(t *testing.T) {
	f := usermodule.New(t)
	f.WithBuf()
	cajun(t, f)
	f.Write("own.go", "// Package own is the user's.\npackage own\n")
	f.Run("go mod init example.com/own && go mod edit -replace=github.com/cajun-go/cajun=" + usermodule.Checkout(t))
	f.Set("GOWORK", "")
	f.Run("go work init .")

	before := f.Run("cat go.mod; ls")
	if out, err := f.Try("cajun init"); err == nil || !strings.Contains(out, "own.go (the program needs a folder without other Go files)") {
		t.Errorf("init beside other Go files: %v, %s", err, out)
	}
	if after := f.Run("cat go.mod; ls"); after != before {
		t.Errorf("init refused, and changed the module to\n%s", after)
	}
	// Without a network, all that the module needs is in the module cache.
	f.Set("GOPROXY", "off")
	f.Set("GONOSUMDB", "*")
	out := f.Run("cajun init --program cmd/counter")
	if !strings.HasSuffix(out, "\nNext:\n  go tool cajun generate # or buf generate, if you have buf\n  go test ./... && go run ./cmd/counter\n") {
		t.Errorf("init says\n%s", out)
	}
	if out := f.Run("cajun init --program cmd/counter"); strings.Contains(out, "wrote") {
		t.Errorf("a second init says\n%s", out)
	}
	f.Run("buf lint && buf format --diff --exit-code && cajun generate && cajun doctor && go test ./...")
	f.Run("sed -i.bak /go_package/d proto/counter/v1/counter.proto")
	if out, err := f.Try("cajun generate"); err == nil || !strings.Contains(out, "\nproto/counter/v1/counter.proto:3:1: has no go_package") {
		t.Errorf("cajun generate without a go_package: %v, %s", err, out)
	}
	f.Run("rm proto/counter/v1/counter.proto.bak")
	f.Write("proto/counter/v1/counter.proto", "syntax error")
	out, err := f.Try("cajun generate")
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 100 || !strings.HasPrefix(out, "proto/counter/v1/counter.proto:1:") {
		t.Errorf("cajun generate: %v, %s", err, out)
	}
	if got, want := f.Run("go run ./cmd/counter"), "apples: 1\npears: 1\napples: 2\n"; got != want {
		t.Errorf("the program prints\n%s\nwant\n%s", got, want)
	}
}

// TestInitInAVendoredModule types what init says: tidy and vendor want generated
// code, and that wants tools.
func TestInitInAVendoredModule(t *testing.T) {
	f := usermodule.New(t)
	f.WithBuf()
	cajun(t, f)
	f.Write("own.go", "package own\n\nimport _ \"connectrpc.com/connect/v2\"\n")
	f.Run("go mod init example.com/own && go mod edit -replace=github.com/cajun-go/cajun=" + usermodule.Checkout(t))
	f.Run("go mod tidy && go mod vendor")
	_, next, ok := strings.Cut(f.Run("cajun init --program cmd/counter"), "\nNext:\n")
	if !ok || !strings.Contains(next, "go mod vendor") {
		t.Fatalf("init says\n%s", next)
	}
	// To test and run it too would compile all vendored packages for nothing.
	generate, _, _ := strings.Cut(next, "  go test")
	f.Run(generate + "test -f vendor/github.com/cajun-go/cajun/cajuntest/cluster.go")
}

// TestInitBesideAWorkspace types what init says where go.work does not know the
// module, and where it has an older version of Go than the files need. The
// go.mod files are as old as they may be.
func TestInitBesideAWorkspace(t *testing.T) {
	f := usermodule.New(t)
	cajun(t, f)
	f.Set("GOPROXY", "off")
	f.Set("GONOSUMDB", "*")
	f.Set("GOWORK", "")
	f.Write("go.work", "go 1.20\n\nuse ./known\n")
	// The first one skips the test where the module cache has too little.
	run := f.Run
	for _, name := range []string{"known", "unknown"} {
		gomod := "module example.com/" + name + "\n\nreplace github.com/cajun-go/cajun => " + usermodule.Checkout(t) + "\n"
		if name == "known" {
			gomod += "\ngo 1.20\n"
		}
		f.Write(name+"/go.mod", gomod)
		_, next, _ := strings.Cut(run("cd "+name+" && cajun init"), "\nNext:\n")
		use, _, ok := strings.Cut(next, "  go tool")
		if !ok || !strings.Contains(use, "go work use .") {
			t.Errorf("init in a module that is %s says\n%s", name, next)
		}
		f.Run(use + "go tool protoc-gen-cajun -version && cd ..")
		run = func(script string) string {
			out, err := f.Try(script)
			if err != nil {
				t.Fatalf("%v, %s", err, out)
			}
			return out
		}
	}
	if out := f.Run("cd known && cajun init"); strings.Contains(out, "go work") {
		t.Errorf("a second init says\n%s", out)
	}
}

// TestInitWithoutVersion: this test is built from source, and the folder names
// no Cajun.
func TestInitWithoutVersion(t *testing.T) {
	t.Chdir(t.TempDir())
	if ownVersion() != "" {
		t.Skip("this build has a version")
	}
	code, stdout, stderr := run(t, "init", "example.com/hello")
	if code != 1 || stdout != "" || !strings.Contains(stderr, "go mod edit -replace=github.com/cajun-go/cajun=../cajun") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) > 0 {
		t.Errorf("it left %v, %v", entries, err)
	}
}
