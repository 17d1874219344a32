package cajun

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
	"github.com/cajun-go/cajun/link/memlink"
	"github.com/cajun-go/cajun/metadata/memmeta"
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

// large is a file whose schema no compression makes small enough.
func large(t *testing.T) protoreflect.FileDescriptor {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(probev1.File_probe_v1_probe_proto)
	file.Name = proto.String("large.proto")
	file.Package = proto.String("large")
	for _, m := range file.MessageType {
		for _, f := range m.Field {
			if f.TypeName != nil {
				f.TypeName = proto.String(strings.Replace(f.GetTypeName(), ".probe.v1.", ".large.", 1))
			}
		}
	}
	for _, s := range file.Service {
		for _, m := range s.Method {
			m.InputType = proto.String(strings.Replace(m.GetInputType(), ".probe.v1.", ".large.", 1))
			m.OutputType = proto.String(strings.Replace(m.GetOutputType(), ".probe.v1.", ".large.", 1))
		}
	}
	for range 80_000 {
		file.MessageType = append(file.MessageType, &descriptorpb.DescriptorProto{Name: proto.String("M" + rand.Text())})
	}
	made, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// A schema that the store would not take keeps no node from starting, and is
// warned of.
func TestLargeSchemasAreNotPublished(t *testing.T) {
	file := large(t)
	kind := &Kind{Name: "large.Echo", Schema: &file}
	var log bytes.Buffer
	store := memmeta.New()
	defer store.Close()
	node, err := Start(t.Context(), WithMetadata(store), WithTransport(memlink.NewNetwork().Transport()), WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
		Host(kind, func(*Self) (int, error) { return 0, nil }))
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	if _, found, err := store.Get(t.Context(), node.space.Schema(node.ID(), "large.Echo")); found || err != nil {
		t.Errorf("a schema over the limit was written: %v, %v", found, err)
	}
	if _, err := node.Kind(t.Context(), "large.Echo"); err != nil {
		t.Errorf("the node itself does not know the kind: %v", err)
	}
	node.Close() // it writes no more
	if text := log.String(); !strings.Contains(text, "too large to be published") || !strings.Contains(text, "large.Echo") {
		t.Errorf("nobody is warned: %s", text)
	}
}
