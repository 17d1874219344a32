package render

import (
	"fmt"
	"go/format"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/schema"
)

func TestDurationIsWrittenInItsLargestUnit(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Nanosecond:               "time.Nanosecond",
		1500 * time.Microsecond:       "1500 * time.Microsecond",
		time.Second + time.Nanosecond: "1000000001 * time.Nanosecond",
		90 * time.Second:              "90 * time.Second",
		time.Minute:                   "time.Minute",
		48 * time.Hour:                "48 * time.Hour",
	} {
		if got := fmt.Sprintf("%#v", duration(d)); got != want {
			t.Errorf("duration(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestCommentLinesNeverBecomeDirectives(t *testing.T) {
	got := commentLines("go:build ignore\n\n plain  \r\n\tcode\nnolint\n\n")
	want := []string{"// go:build ignore", "//", "// plain", "//\tcode", "// nolint"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := commentLines(" \n"); got != nil {
		t.Errorf("an empty comment gave %q", got)
	}
}

// TestCommentsAreAsGofmtHasThem: gofmt takes a line behind code for a heading
// once it has put a blank line there itself, and its printer makes line ends of
// form feeds.
func TestCommentsAreAsGofmtHasThem(t *testing.T) {
	for _, text := range []string{" Like so:\n     code\n And on\n\n More.\n", "     code\n Head\n", " a\fb\n", "\f\vb\n", "    code\nHead\n\n\f# [x]: y"} {
		p := schema.Package{Path: "example.com/p", Name: "p"}
		m := schema.Message{Package: p, Name: "M"}
		actor := &schema.Actor{GoName: "A", Comment: text, Methods: []*schema.Method{{Name: "Get", GoName: "Get", Comment: text, Request: m, Response: m}}}
		source, err := File(&schema.File{Package: p, Messages: p, Descriptor: "File_p", Header: []string{text}, Actors: []*schema.Actor{actor}})
		if err != nil {
			t.Fatal(err)
		}
		want, err := format.Source(source)
		if err != nil || string(source) != string(want) {
			t.Errorf("%q: got %s, %v, and gofmt makes of it %s", text, source, err, want)
		}
	}
}

func TestOwnDeprecationIsOneParagraph(t *testing.T) {
	got := ownDeprecation(" Does things.\n\n Deprecated: use\n other things.\n\n And more.\n")
	want := []string{"// Deprecated: use", "// other things."}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, text := range []string{" Is not Deprecated: at all.\n", " The mark is\n Deprecated: and a reason.\n"} {
		if got := ownDeprecation(text); got != nil {
			t.Errorf("%q: a mention in a sentence gave %q", text, got)
		}
	}
}

func TestWrapKeepsLongWords(t *testing.T) {
	long := "a-word-that-is-longer-than-a-line-may-be-and-has-no-space-in-it-to-break-it-at-all-anywhere"
	got := wrap("short " + long + " short")
	if want := []string{"// short", "// " + long, "// short"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestImportsOfModulesWithoutADotAreNotTheStandardLibrary(t *testing.T) {
	const source = "package p\n\nimport (\n\t\"context\"\n\thellov1 \"hello/gen/v1\"\n\t\"iter\"\n\t\"time\"\n)\n\nvar X int\n"
	const want = "package p\n\nimport (\n\t\"context\"\n\t\"iter\"\n\t\"time\"\n\n\thellov1 \"hello/gen/v1\"\n)\n\nvar X int\n"
	if got := string(groupImports([]byte(source))); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBlankBlocksOfTheHeaderAreLeftOut(t *testing.T) {
	p := schema.Package{Path: "example.com/p", Name: "p"}
	source, err := File(&schema.File{Package: p, Messages: p, Header: []string{"\n", " Licence.\n", " \n"}})
	if want := "// Licence.\n\n// Code generated"; err != nil || !strings.HasPrefix(string(source), want) {
		t.Errorf("got %v, %s, want it to begin with %q", err, source, want)
	}
}

func TestTheExampleOfAStreamHasItsEvents(t *testing.T) {
	p := schema.Package{Path: "example.com/p", Name: "p"}
	m := schema.Message{Package: p, Name: "M"}
	actor := &schema.Actor{GoName: "A", Methods: []*schema.Method{{Name: "Watch", GoName: "Watch", Request: m, Response: m, Streams: true}}}
	source, err := File(&schema.File{Package: p, Messages: p, Descriptor: "File_p", Actors: []*schema.Actor{actor}})
	if want := "//\tevents, err := p.NewAPid(node, key).Watch(ctx, req)\n"; err != nil || !strings.Contains(string(source), want) {
		t.Errorf("got %v, %s, want %q", err, source, want)
	}
}
