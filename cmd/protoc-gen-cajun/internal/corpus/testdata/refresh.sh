#!/bin/sh
# Compiles the protos below this folder into what the tests read, so that they
# need neither buf nor protoc:
#
#   descriptors.binpb   every proto file with its source positions
#   descriptors.sum     of which sources it was made; a test compares
#
# Run it after a change to a proto file. BUF names another buf than the
# project's.
set -eu

testdata=$(cd "$(dirname "$0")" && pwd)
cd "$testdata/../../../../.."
here=cmd/protoc-gen-cajun/internal/corpus/testdata
buf=${BUF:-go tool -modfile=tools/go.mod buf}

paths=$(for entry in $here/proto/*; do printf ' --path %s' "$entry"; done)
# shellcheck disable=SC2086 # the paths are words
$buf build --config $here/buf.yaml $paths -o $here/descriptors.binpb
cd "$testdata/proto"
find . -name '*.proto' | LC_ALL=C sort | while read -r file; do sha256sum "$file"; done >../descriptors.sum
