package journal_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/cajun-go/cajun/journal"
)

// TestHashAcrossVersions: a repeat may reach an owner that knows another version of
// the request.
func TestHashAcrossVersions(t *testing.T) {
	version := func(fields string) *dynamicpb.Message {
		f := new(descriptorpb.FileDescriptorProto)
		if err := prototext.Unmarshal([]byte(`name:"x.proto" syntax:"proto3" message_type:{name:"R" `+fields+`}`), f); err != nil {
			t.Fatal(err)
		}
		d, err := protodesc.NewFile(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		return dynamicpb.NewMessage(d.Messages().Get(0))
	}
	field := func(name, number string) string {
		return `field:{name:"` + name + `" json_name:"` + name + `" number:` + number + ` type:TYPE_STRING label:LABEL_OPTIONAL} `
	}
	before := version(field("a", "1") + field("c", "3"))
	after := version(field("a", "1") + field("b", "2") + field("c", "3"))
	payload := []byte("\x0a\x01A\x12\x01B\x1a\x01C") // a: "A", b: "B", c: "C"
	var hashes [][]byte
	for _, m := range []*dynamicpb.Message{before, after} {
		if err := proto.Unmarshal(payload, m); err != nil {
			t.Fatal(err)
		}
		h, err := journal.RequestHash("Add", m)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, h)
	}
	if !bytes.Equal(hashes[0], hashes[1]) {
		t.Errorf("the same bytes have the hash %x before and %x after the upgrade", hashes[0], hashes[1])
	}
}
