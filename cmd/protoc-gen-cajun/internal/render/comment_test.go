package render

import (
	"slices"
	"testing"
)

// TestCommentsHoldNothingThatGoRefuses covers what compilers of protos let
// pass in comments and Go does not, or takes for more than a comment.
func TestCommentsHoldNothingThatGoRefuses(t *testing.T) {
	for text, want := range map[string][]string{
		" a\x00b\n":              {"// a\uFFFDb"},
		" a\uFEFFb\n":            {"// ab"},
		" a\xffb\n":              {"// a\uFFFDb"},
		" a\r\n b\r c\n":         {"// a", "// b", "// c"},
		" +build ignore\n x\n":   {"// (+build ignore)", "// x"},
		"\t+build ignore":        {"// (+build ignore)"},
		" */ /* ` \u2028 \\ %d":  {"// */ /* ` \u2028 \\ %d"},
		"* Two stars.\n On.\n":   {"// Two stars.", "// On."},
		"*\n On its own.\n":      {"// On its own."},
		" * An item.\n":          {"// * An item."},
		"/ three slashes\n\n/\n": {"// / three slashes", "//", "// /"},
	} {
		if got := commentLines(text); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
