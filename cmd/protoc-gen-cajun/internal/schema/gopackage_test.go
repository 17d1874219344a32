package schema

import "testing"

// TestImportPaths is about what the go command of Go 1.26 was seen to take, and
// to call malformed.
func TestImportPaths(t *testing.T) {
	for importPath, want := range map[string]bool{
		"example.com/bank/v1": true, "example.com/a~b/a+b": true, "example.com/.hidden/_v1": true, "example.com/internal/v1": true,
		"example.com/A.b-C": true, "hello/gen": true, "example.com/auxiliary/com0/nulls": true,

		"example.com/ünïcode": false, "example.com/a b": false, "example.com/a@v1": false, "example.com/a%b": false, "example.com/a=b": false,
		"example.com//v1": false, "example.com/v1/": false, "/example.com": false, "-x/v1": false, "": false,
		"example.com/dot./v1": false, "example.com/a/../b": false, "example.com/vendor/v1": false,
		"example.com/aux/v1": false, "example.com/COM1": false, "example.com/nul.x": false, "example.com/foo~1/v1": false,
	} {
		if _, got := checkImportPath(importPath); got != want {
			t.Errorf("%q: got %t, want %t", importPath, got, want)
		}
	}
}
