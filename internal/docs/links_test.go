package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLinks: what the documents link to in this repository is there.
func TestLinks(t *testing.T) {
	root := filepath.Join("..", "..")
	documents, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	link := regexp.MustCompile(`\]\(([^)#]+)(?:#[^)]*)?\)`)
	for _, document := range append(documents, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md")) {
		content, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllStringSubmatch(string(content), -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			found++
			if _, err := os.Stat(filepath.Join(filepath.Dir(document), filepath.FromSlash(match[1]))); err != nil {
				t.Errorf("%s links to %s: %v", document, match[1], err)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d links found", found)
	}
}

// TestOurSide: what coming-from.md shows of Cajun is what cajun init writes.
func TestOurSide(t *testing.T) {
	templates, err := filepath.Glob(filepath.Join("..", "..", "cmd", "cajun", "internal", "scaffold", "templates", "*.go.tmpl"))
	if err != nil || len(templates) == 0 {
		t.Fatalf("the templates of cajun init are gone: %v", err)
	}
	var written strings.Builder
	for _, name := range templates {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		written.Write(content)
	}
	for line := range strings.Lines(blocks(t, read(t, "coming-from.md"))[0].text) {
		if !strings.Contains(written.String(), line) {
			t.Errorf("cajun init does not write %q", line)
		}
	}
}
