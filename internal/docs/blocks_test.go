// Package docs holds the documents to what is true. It has no code.
package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// block is a fenced block of a document.
type block struct {
	line     int
	language string
	mark     string // what follows the language
	text     string
}

// read returns a document of the folder docs.
func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// blocks returns the fenced blocks of a document.
func blocks(t *testing.T, document string) (all []block) {
	t.Helper()
	open := false
	line := 0
	for text := range strings.Lines(document) {
		line++
		fence, isFence := strings.CutPrefix(text, "```")
		switch {
		case isFence && !open:
			language, mark, _ := strings.Cut(strings.TrimSpace(fence), " ")
			all = append(all, block{line: line, language: language, mark: mark})
			open = true
		case isFence:
			open = false
		case open:
			all[len(all)-1].text += text
		}
	}
	if open {
		t.Fatalf("line %d: the block is never closed", all[len(all)-1].line)
	}
	return all
}
