package buf

import (
	"os"
	"regexp"
	"testing"
)

// TestOneVersion: what users run is what this repository is checked with.
func TestOneVersion(t *testing.T) {
	for file, pattern := range map[string]string{
		"../../../../tools/go.mod": `github\.com/bufbuild/buf v(\S+)`,
		"../../../../README.md":    `bufbuild/buf/cmd/buf@v(\S+)`,
	} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(pattern).FindAllSubmatch(content, -1)
		if len(found) == 0 {
			t.Errorf("%s names no version of buf", file)
		}
		for _, match := range found {
			if string(match[1]) != Version {
				t.Errorf("%s has buf %s, and this package %s: make them equal", file, match[1], Version)
			}
		}
	}
}
