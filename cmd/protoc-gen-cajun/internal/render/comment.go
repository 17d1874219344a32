package render

import (
	"go/build/constraint"
	"strings"

	"github.com/dave/jennifer/jen"
)

// width is how long a comment line becomes, slashes included.
const width = 79

// comment writes the paragraphs that are not empty, with a blank line between
// them. Each is lines with their slashes.
func comment(g *jen.Group, paragraphs ...[]string) {
	first := true
	for _, lines := range paragraphs {
		if len(lines) == 0 {
			continue
		}
		if !first {
			g.Comment("//")
		}
		first = false
		for _, line := range lines {
			g.Comment(line)
		}
	}
}

// deprecated is the paragraph by which Go tools know what is deprecated; none
// when the author's own comment has one, or nothing is deprecated.
func deprecated(is bool, source, own string) []string {
	if !is || hasDeprecation(own) {
		return nil
	}
	return wrap("Deprecated: declared so in " + source + ".")
}

// ownDeprecation is the author's paragraph about the deprecation, for the
// declarations that do not repeat the whole comment.
func ownDeprecation(own string) []string {
	var lines []string
	before := "//"
	for _, line := range commentLines(own) {
		begins := before == "//"
		before = line
		switch {
		case begins && strings.HasPrefix(line, "// Deprecated: "):
			lines = []string{line}
		case lines != nil && line == "//":
			return lines
		case lines != nil:
			lines = append(lines, line)
		}
	}
	return lines
}

func hasDeprecation(own string) bool { return ownDeprecation(own) != nil }

// unspeakable replaces what Go allows nowhere in a source file, not even in a
// comment, and what would end a line, to gofmt's printer too.
var unspeakable = strings.NewReplacer("\x00", "\uFFFD", "\uFEFF", "", "\r\n", "\n", "\r", "\n", "\f", " ", "\v", " ")

// commentLines turns a proto comment into Go comment lines. Every line gets a
// space after the slashes, so that none can become a directive to Go tools.
func commentLines(text string) []string {
	text = unspeakable.Replace(strings.ToValidUTF8(text, "\uFFFD"))
	text = strings.TrimRight(text, " \t\n")
	if strings.HasPrefix(text, "* ") || strings.HasPrefix(text, "*\n") {
		// The second star of a block that begins with two.
		text = strings.TrimPrefix(text[1:], "\n")
	}
	if text == "" {
		return nil
	}
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(line, " \t")
		if line != "" && line[0] != ' ' && line[0] != '\t' {
			line = " " + line
		}
		if line = "//" + line; constraint.IsPlusBuild(line) {
			// gofmt makes a directive of it in spite of the space.
			line = "// (" + strings.TrimSpace(line[2:]) + ")"
		}
		lines = append(lines, line)
	}
	return lines
}

// wrap breaks text into comment lines at spaces.
func wrap(text string) []string {
	var lines []string
	line := "//"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > width && line != "//" {
			lines = append(lines, line)
			line = "//"
		}
		line += " " + word
	}
	return append(lines, line)
}
