package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWhatMayNotBeRead is passed by, such as the data of a database.
func TestWhatMayNotBeRead(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "data", "x"), "")
	write(t, filepath.Join(dir, "secret.proto"), "")
	write(t, filepath.Join(dir, "z.proto"), "")
	for _, name := range []string{"data", "secret.proto"} {
		if err := os.Chmod(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(filepath.Join(dir, name), 0o700) })
	}
	p := &project{dir: dir}
	if err := p.walk(); err != nil || len(p.protos) != 1 {
		t.Errorf("found %v, %v", p.protos, err)
	}
}

// linked writes a healthy project of which one folder is a symbolic link to
// another place.
func linked(t *testing.T, folder string) (dir, target string) {
	t.Helper()
	dir, target = t.TempDir(), t.TempDir()
	for name, content := range healthy(t) {
		if name, ok := strings.CutPrefix(name, folder+"/"); ok {
			write(t, filepath.Join(target, filepath.FromSlash(name)), content)
		} else {
			write(t, filepath.Join(dir, filepath.FromSlash(name)), content)
		}
	}
	if err := os.Symlink(target, filepath.Join(dir, folder)); err != nil {
		t.Skip(err)
	}
	return dir, target
}

// TestLinkedProtos: buf follows symbolic links, and takes folders from elsewhere.
func TestLinkedProtos(t *testing.T) {
	dir, shared := linked(t, "proto")
	outside, err := filepath.Rel(dir, shared)
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"proto", filepath.ToSlash(outside)} {
		write(t, filepath.Join(dir, "buf.gen.yaml"), strings.ReplaceAll(healthyGen, "directory: proto", "directory: "+folder))
		if report, err := Check(t.Context(), dir); err != nil || len(report.Findings) > 0 {
			t.Errorf("%s: found %q, %v", folder, report.Findings, err)
		}
	}
}

// TestLinkedOptions: buf follows symbolic links.
func TestLinkedOptions(t *testing.T) {
	dir, _ := linked(t, "third_party")
	if report, err := Check(t.Context(), dir); err != nil || len(report.Findings) > 0 {
		t.Errorf("found %q, %v", report.Findings, err)
	}
}
