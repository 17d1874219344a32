package docs

import (
	"strings"
	"testing"

	"github.com/cajun-go/cajun/internal/usermodule"
)

// TestQuickstart types what the quickstart says, block by block. A block of text
// is what the commands before it print. Only the commands for a published Cajun
// are left out, and this checkout stands for the clone.
func TestQuickstart(t *testing.T) {
	f := usermodule.New(t)
	f.WithBuf()
	printed, typed := "", 0
	for _, b := range blocks(t, read(t, "quickstart.md")) {
		switch b.language + " " + b.mark {
		case "sh published":
			continue
		case "sh clone":
			local := strings.ReplaceAll(b.text, "../cajun", usermodule.Checkout(t))
			if local == b.text {
				t.Errorf("line %d: the clone is not at ../cajun", b.line)
			}
			printed = f.Run(local)
		case "sh ":
			printed = f.Run(b.text)
			typed++
		case "text ":
			if printed != b.text {
				t.Errorf("line %d: the commands print\n%s\nand the document says\n%s", b.line, printed, b.text)
			}
		default:
			if b.language != "go" || !strings.HasSuffix(b.mark, ".go") {
				t.Errorf("line %d: a block of %s %s is neither run nor written: write sh, text, or go and the name of the file", b.line, b.language, b.mark)
				continue
			}
			f.Write(b.mark, b.text)
			f.Run("test -z \"$(gofmt -l " + b.mark + ")\"")
		}
	}
	if typed < 5 {
		t.Errorf("only %d blocks were run", typed)
	}
}
