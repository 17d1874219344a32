// Package cajunproto holds the proto file that users of the framework import,
// for tools that put it into users' import paths.
package cajunproto

import _ "embed"

// OptionsPath is the path under which proto files import the options.
const OptionsPath = "cajun/v1/options.proto"

//go:embed cajun/v1/options.proto
var options string

// Options returns the source of the options.
func Options() string { return options }
