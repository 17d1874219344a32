#!/bin/sh
# Compiles the protos below this folder into what the tests read, so that they
# need neither buf nor protoc:
#
#   descriptors.binpb   every proto file with its source positions
#   descriptors.sum     of which sources it was made; a test compares
#   gen/**/*.pb.go      the Go messages of the golden protos
#
# Run it after a change to a proto file, then the tests with -update. BUF names
# another buf than the project's.
set -eu

testdata=$(cd "$(dirname "$0")" && pwd)
cd "$testdata/../../../../.."
here=cmd/protoc-gen-cajun/internal/plugin/testdata
buf=${BUF:-go tool -modfile=tools/go.mod buf}

$buf build --config $here/buf.yaml --path $here/proto/golden --path $here/proto/refused \
	-o $here/descriptors.binpb
$buf generate --config $here/buf.yaml --template $here/buf.gen.yaml --path $here/proto/golden
cd "$testdata/proto"
find . -name '*.proto' | LC_ALL=C sort | xargs sha256sum >../descriptors.sum
