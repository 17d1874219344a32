package cajun

import (
	"bytes"
	"compress/gzip"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
)

func TestSchemaHoldsAllThatIsImported(t *testing.T) {
	value, err := encodeSchema(probev1.File_probe_v1_probe_proto)
	if err != nil {
		t.Fatal(err)
	}
	files, main, err := decodeSchema(value)
	if err != nil {
		t.Fatal(err)
	}
	if main.Path() != "probe/v1/probe.proto" {
		t.Errorf("the main file is %s", main.Path())
	}
	for _, path := range []string{"probe/v1/probe.proto", "cajun/v1/options.proto", "google/protobuf/empty.proto", "google/protobuf/descriptor.proto"} {
		if _, err := files.FindFileByPath(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	service := main.Services().ByName("Counter")
	if kind, ok := describeKind(service, "other.Name"); !ok || kind.Name != "other.Name" || kind.Shards != 64 {
		t.Errorf("got %+v, %v", kind, ok)
	}
}

func TestDamagedSchemasAreRefused(t *testing.T) {
	squeeze := func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write(b)
		_ = w.Close()
		return out.Bytes()
	}
	for what, value := range map[string][]byte{
		"nothing":      nil,
		"no gzip":      []byte("schema"),
		"empty":        squeeze(nil),
		"no proto":     squeeze([]byte("\xff\xff\xff")),
		"a large bomb": squeeze(make([]byte, maxPlainSchema+1)),
		"no such file": squeeze([]byte{0x0a, 0x00}),
	} {
		if _, _, err := decodeSchema(value); err == nil {
			t.Errorf("%s was taken for a schema", what)
		}
	}
}

// Requests that are known by their encoding alone come from outside.
func FuzzKeyIn(f *testing.F) {
	f.Add([]byte("\x0a\x01a"))
	f.Add([]byte("\x08\x07"))
	f.Add([]byte("\x08\x00")) // the default, written down
	f.Add([]byte("\x0a\x00"))
	f.Add([]byte("\x0a\x01a\x0a\x01b\x0b"))
	fields := []protoreflect.FieldDescriptor{
		(*probev1.KeyRequest)(nil).ProtoReflect().Descriptor().Fields().ByNumber(1),
		(*probev1.NumberRequest)(nil).ProtoReflect().Descriptor().Fields().ByNumber(1),
		(*probev1.ColorRequest)(nil).ProtoReflect().Descriptor().Fields().ByNumber(1),
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, field := range fields {
			raw := new(cajunv1.Retry) // any other message
			raw.ProtoReflect().SetUnknown(b)
			got, has := keyIn(field, raw)
			typed := dynamicpb.NewMessage(field.ContainingMessage())
			if proto.Unmarshal(b, typed) != nil {
				continue
			}
			if want, set := keyIn(field, typed); got != want || has != set {
				t.Errorf("%s of %x: by the encoding %q, %v; by the type %q, %v", field.FullName(), b, got, has, want, set)
			}
		}
	})
}
