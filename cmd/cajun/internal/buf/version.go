// Package buf runs buf, in the version that Cajun was tried with.
package buf

// Version is the version of buf that Cajun was tried with. This is the only
// place that names it for users; tests hold tools/go.mod and the docs to it.
const Version = "1.75.0"

// Package is what `go run` takes to run that version.
const Package = "github.com/bufbuild/buf/cmd/buf@v" + Version
