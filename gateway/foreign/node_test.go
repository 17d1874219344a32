package foreign

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// javascript is the folder of the clients in JavaScript. The test ends if what they
// need is not there.
func javascript(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata", "js"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		missing(t, "run npm ci --ignore-scripts in gateway/foreign/testdata/js: %v", err)
	}
	return dir
}

// TestNode runs testdata/js/scenario.js with all transports of Connect for Node.
func TestNode(t *testing.T) {
	node := program(t, "node", "nodejs")
	script := filepath.Join(javascript(t), "node.js")
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		out, err := run(t, node, script, base)
		if err != nil || strings.Count(out, "ok ") != 6 {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
