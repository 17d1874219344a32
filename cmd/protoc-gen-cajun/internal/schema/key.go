package schema

import (
	"slices"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
)

// keyField returns the number of the field of request that is marked to hold
// the actor's key, or 0.
func (r *reader) keyField(request *protogen.Message) int32 {
	var keys []*protogen.Field
	for _, field := range request.Fields {
		if isKey(field) {
			keys = append(keys, field)
		}
	}
	if len(keys) == 0 {
		return 0
	}
	for _, field := range keys[1:] {
		r.refuseKey(field, "%s already marks %s as the actor's key, and an actor has one key: mark a single field",
			request.Desc.Name(), keys[0].Desc.Name())
	}
	for _, field := range keys {
		if what := unfitForKey(field.Desc); what != "" {
			r.refuseKey(field, "%s cannot hold an actor's key: mark a singular string, integer or enum field instead", what)
		}
	}
	return int32(keys[0].Desc.Number())
}

// refuseKeyExtensions refuses keys among the extensions of a file that declares
// actors: the runtime looks for a key only among a request's own fields.
func (r *reader) refuseKeyExtensions(file *protogen.File) {
	check := func(extensions []*protogen.Extension) {
		for _, x := range extensions {
			if isKey(x) {
				r.refuseKey(x, "an extension cannot hold an actor's key: mark a field that the request declares itself")
			}
		}
	}
	var walk func([]*protogen.Message)
	walk = func(messages []*protogen.Message) {
		for _, m := range messages {
			check(m.Extensions)
			walk(m.Messages)
		}
	}
	check(file.Extensions)
	walk(file.Messages)
}

func isKey(field *protogen.Field) bool {
	return proto.GetExtension(field.Desc.Options(), cajunv1.E_Key).(bool)
}

// refuseKey notes a problem at the (cajun.v1.key) option of field. A message
// that several methods take is refused once, as equal problems are dropped.
func (r *reader) refuseKey(field *protogen.Field, format string, args ...any) {
	option := protoreflect.SourcePath{pathFieldOptions, int32(cajunv1.E_Key.TypeDescriptor().Number())}
	subject := string(field.Desc.Name())
	if field.Parent != nil {
		subject = string(field.Parent.Desc.Name()) + "." + subject
	}
	r.problems.add(field.Desc.ParentFile(), slices.Concat(field.Location.Path, option), subject+": "+format, args...)
}

// unfitForKey names what keeps the key out of field, or is empty.
func unfitForKey(field protoreflect.FieldDescriptor) string {
	switch {
	case field.IsMap():
		return "a map field"
	case field.IsList():
		return "a repeated field"
	case field.ContainingOneof() != nil && !field.ContainingOneof().IsSynthetic():
		// Filling it in would clear another member.
		return "a member of a oneof"
	}
	switch kind := field.Kind(); kind {
	case protoreflect.StringKind, protoreflect.EnumKind,
		protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind,
		protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind,
		protoreflect.Uint32Kind, protoreflect.Fixed32Kind,
		protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return ""
	default:
		return "a " + kind.String() + " field"
	}
}
