package schema

import (
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
)

// declareMessages takes the identifiers that protoc-gen-go makes of file.
func declareMessages(taken map[string]declaration, file *protogen.File) {
	declareEnums(taken, file, file.Enums)
	declareExtensions(taken, file, file.Extensions)
	var walk func([]*protogen.Message)
	walk = func(messages []*protogen.Message) {
		for _, m := range messages {
			d := declaration{"message " + string(m.Desc.Name()), file, name(m.Location.Path)}
			taken[m.GoIdent.GoName] = d
			taken[m.GoIdent.GoName+"_builder"] = d
			declareFields(taken, d, m)
			declareEnums(taken, file, m.Enums)
			declareExtensions(taken, file, m.Extensions)
			walk(m.Messages)
		}
	}
	walk(file.Messages)
}

// declareFields takes what fields add to the identifiers of their message,
// whichever API its code has.
func declareFields(taken map[string]declaration, d declaration, m *protogen.Message) {
	for _, field := range m.Fields {
		if field.Desc.HasDefault() {
			taken["Default_"+m.GoIdent.GoName+"_"+field.GoName] = d
		}
		if field.Oneof != nil {
			// The opaque API declares the same in lower case.
			taken[field.GoIdent.GoName] = d
			taken[strings.ToLower(field.GoIdent.GoName[:1])+field.GoIdent.GoName[1:]] = d
		}
	}
	for _, oneof := range m.Oneofs {
		taken["is"+oneof.GoIdent.GoName] = d
		taken["case_"+m.GoIdent.GoName+"_"+oneof.GoName] = d
	}
}

func declareExtensions(taken map[string]declaration, file *protogen.File, extensions []*protogen.Extension) {
	for _, x := range extensions {
		taken["E_"+x.GoIdent.GoName] = declaration{"extension " + string(x.Desc.Name()), file, name(x.Location.Path)}
	}
}

func declareEnums(taken map[string]declaration, file *protogen.File, enums []*protogen.Enum) {
	for _, enum := range enums {
		d := declaration{"enum " + string(enum.Desc.Name()), file, name(enum.Location.Path)}
		taken[enum.GoIdent.GoName] = d
		taken[enum.GoIdent.GoName+"_name"] = d
		taken[enum.GoIdent.GoName+"_value"] = d
		for _, value := range enum.Values {
			taken[value.GoIdent.GoName] = d
			// Empty unless the enum keeps a name with its prefix beside it.
			taken[value.PrefixedAlias.GoName] = d
		}
	}
}
