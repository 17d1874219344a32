package corpus_test

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
)

// Words that mean something to Go, to protoc-gen-go or to us, alone or joined.
var (
	words = []string{
		"A", "B", "Foo", "foo", "_", "M", "T", "U", "a", "Kind", "Pid", "Host", "New", "Unimplemented", "FooPid", "fooKind",
		"Foo_A", "is", "case_", "Default_", "E_", "Self", "Call", "On", "Activate", "type", "string", "error", "init", "ctx", "1",
	}
	protoPackages = []string{"", "p", "p.v1", "q.type", "cajun", "google"}
	goPackages    = []string{
		"example.com/p", "example.com/q/v1;qv1", "example.com/context", "example.com/type", "example.com/init", "example.com/p/pcajun",
		"stdlike/time", "example.com/x/cajun;cajun", "example.com/1st", "example.com/U;Up", "example.com/x/v1;qv1",
	}
	badGoPackages = []string{"example.com/p;other", "./rel", "example.com/main", "example.com/b d"}
	fileNames     = []string{"a", "b/c", "Upper", "two words", "dots.in.it", "a_test"}
	badFileNames  = []string{"x_linux", "_u"}
	remarks       = []string{
		" Plain words.\n", " Deprecated: use another.\n\n More.\n", "go:build ignore\n", " +build ignore\n", " */ and /* and `\n", "\n\n",
		" - list\n   - nested\n\n # Heading\n\n\tcode\n", " [Foo]: https://example.com\n", " a\r\n b\x00\uFEFF\xff\n", "line x.go:1\n", "/ slashes\n", "\texport Foo  \n",
		" 1. One\n 2. Two\n", " text\n   indented\n text\n", "\t\t- x\n\n\n\n y\n",
	}
)

// schema is a random set of proto files, made of the choices that data holds.
type schema struct {
	data  []byte
	set   *descriptorpb.FileDescriptorSet
	own   []*descriptorpb.FileDescriptorProto
	taken map[string]bool
	// messages and enums are full names by the file that declares them.
	messages, enums map[string][]string
	line            int32
}

func newSchema(data []byte) *schema {
	s := &schema{data: data, set: new(descriptorpb.FileDescriptorSet), taken: make(map[string]bool),
		messages: make(map[string][]string), enums: make(map[string][]string)}
	for _, known := range []protoreflect.FileDescriptor{
		descriptorpb.File_google_protobuf_descriptor_proto, mustFind("google/protobuf/duration.proto"),
		emptypb.File_google_protobuf_empty_proto, cajunv1.File_cajun_v1_options_proto,
	} {
		s.set.File = append(s.set.File, protodesc.ToFileDescriptorProto(known))
	}
	for range 1 + s.choose(3) {
		s.file()
	}
	return s
}

func mustFind(path string) protoreflect.FileDescriptor {
	file, err := protoregistry.GlobalFiles.FindFileByPath(path)
	if err != nil {
		panic(err)
	}
	return file
}

// choose returns a number below n; always 0 once the data has run out.
func (s *schema) choose(n int) int {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return int(b) % n
}

// oneIn is true in one of n cases.
func (s *schema) oneIn(n int) bool { return s.choose(n) == n-1 }

func pick[T any](s *schema, from []T) T { return from[s.choose(len(from))] }

// mostly picks from good, and now and then from what is to be refused.
func (s *schema) mostly(good, bad []string) string {
	if s.oneIn(25) {
		return pick(s, bad)
	}
	return pick(s, good)
}

// name invents a name that is free in scope.
func (s *schema) name(scope string) string {
	name := pick(s, words)
	for range s.choose(3) {
		name += pick(s, words)
	}
	if name[0] == '1' {
		name = "x" + name
	}
	for s.taken[scope+"."+name] {
		name += pick(s, []string{"1", "_", "X"})
		if len(s.data) == 0 {
			name += fmt.Sprint(len(s.taken))
		}
	}
	s.taken[scope+"."+name] = true
	return name
}

func (s *schema) file() {
	pkg := pick(s, protoPackages)
	f := &descriptorpb.FileDescriptorProto{
		Name:       proto.String(fmt.Sprintf("%s%d.proto", s.mostly(fileNames, badFileNames), len(s.own))),
		Dependency: []string{"cajun/v1/options.proto", "google/protobuf/empty.proto"},
		Options:    &descriptorpb.FileOptions{GoPackage: proto.String(s.mostly(goPackages, badGoPackages))},
	}
	if s.oneIn(3) {
		f.Name = proto.String(fmt.Sprintf("%d/%s.proto", len(s.own), s.mostly(fileNames, badFileNames)))
	}
	if pkg != "" {
		f.Package = proto.String(pkg)
	}
	if s.oneIn(5) {
		f.Options.Deprecated = proto.Bool(true)
	}
	switch s.choose(4) {
	case 0:
		f.Syntax = proto.String("proto3")
	case 1:
		f.Syntax = proto.String("editions")
		f.Edition = descriptorpb.Edition_EDITION_2023.Enum()
	case 2:
		f.Syntax = proto.String("editions")
		f.Edition = descriptorpb.Edition_EDITION_2024.Enum()
	}
	for _, other := range s.own {
		if s.oneIn(2) {
			f.Dependency = append(f.Dependency, other.GetName())
		}
	}
	if !s.oneIn(8) {
		f.SourceCodeInfo = new(descriptorpb.SourceCodeInfo)
	}
	s.locate(f, 12)
	for range s.choose(3) {
		s.enum(f, pkg, &f.EnumType)
	}
	for range 1 + s.choose(3) {
		s.message(f, pkg, &f.MessageType, 0)
	}
	for range 1 + s.choose(3) {
		s.service(f, pkg)
	}
	s.own = append(s.own, f)
	s.set.File = append(s.set.File, f)
}

// locate gives an element a place in the source, perhaps with comments.
func (s *schema) locate(f *descriptorpb.FileDescriptorProto, path ...int32) {
	if f.SourceCodeInfo == nil {
		return
	}
	s.line++
	loc := &descriptorpb.SourceCodeInfo_Location{Path: path, Span: []int32{s.line, int32(s.choose(9)), 80}}
	if s.oneIn(2) {
		loc.LeadingComments = proto.String(pick(s, remarks) + pick(s, remarks))
	}
	if s.oneIn(4) {
		loc.LeadingDetachedComments = []string{pick(s, remarks), pick(s, remarks)}
	}
	f.SourceCodeInfo.Location = append(f.SourceCodeInfo.Location, loc)
}

func (s *schema) enum(f *descriptorpb.FileDescriptorProto, scope string, to *[]*descriptorpb.EnumDescriptorProto) {
	e := &descriptorpb.EnumDescriptorProto{Name: proto.String(s.name(scope))}
	for i := range 1 + s.choose(2) {
		e.Value = append(e.Value, &descriptorpb.EnumValueDescriptorProto{Name: proto.String(s.name(scope)), Number: proto.Int32(int32(i))})
	}
	s.enums[f.GetName()] = append(s.enums[f.GetName()], full(scope, e.GetName()))
	*to = append(*to, e)
}

func (s *schema) message(f *descriptorpb.FileDescriptorProto, scope string, to *[]*descriptorpb.DescriptorProto, depth int) {
	m := &descriptorpb.DescriptorProto{Name: proto.String(s.name(scope))}
	within := full(scope, m.GetName())
	if depth < 2 && s.oneIn(3) {
		s.message(f, within, &m.NestedType, depth+1)
	}
	if s.oneIn(4) {
		s.enum(f, within, &m.EnumType)
	}
	if s.oneIn(4) {
		m.OneofDecl = []*descriptorpb.OneofDescriptorProto{{Name: proto.String(s.name(within))}}
	}
	for i := range s.choose(4) + len(m.OneofDecl) {
		s.field(f, m, within, int32(i+1))
	}
	s.messages[f.GetName()] = append(s.messages[f.GetName()], within)
	*to = append(*to, m)
}

func (s *schema) field(f *descriptorpb.FileDescriptorProto, m *descriptorpb.DescriptorProto, scope string, number int32) {
	types := []descriptorpb.FieldDescriptorProto_Type{
		descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_INT64,
		descriptorpb.FieldDescriptorProto_TYPE_BYTES, descriptorpb.FieldDescriptorProto_TYPE_BOOL,
	}
	field := &descriptorpb.FieldDescriptorProto{
		Name: proto.String(s.name(scope)), Number: proto.Int32(number),
		Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: pick(s, types).Enum(),
	}
	if enums := s.enums[f.GetName()]; len(enums) > 0 && s.oneIn(5) {
		field.Type = descriptorpb.FieldDescriptorProto_TYPE_ENUM.Enum()
		field.TypeName = proto.String("." + pick(s, enums))
	}
	switch {
	case len(m.OneofDecl) > 0 && number <= 2:
		field.OneofIndex = proto.Int32(0)
	case s.oneIn(6):
		field.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	case f.GetSyntax() != "proto3" && field.GetType() == descriptorpb.FieldDescriptorProto_TYPE_STRING && s.oneIn(3):
		field.DefaultValue = proto.String("x")
	}
	fits := field.OneofIndex == nil && number == 1 && field.GetType() == descriptorpb.FieldDescriptorProto_TYPE_STRING
	if fits && s.oneIn(2) || s.oneIn(100) {
		field.Options = new(descriptorpb.FieldOptions)
		proto.SetExtension(field.Options, cajunv1.E_Key, true)
	}
	m.Field = append(m.Field, field)
}

func full(scope, name string) string {
	if scope == "" {
		return name
	}
	return scope + "." + name
}
