package doctor

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// lexeme is a comment, a string, a word or a sign of a proto file.
const lexeme = `(?s)//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[\w.]+|\S`

// withoutComments returns the source of a proto file with blanks in the place of
// its comments, so that all else is where it was.
func withoutComments(source string) string {
	return regexp.MustCompile(lexeme).ReplaceAllStringFunc(source, func(s string) string {
		if strings.HasPrefix(s, "//") || strings.HasPrefix(s, "/*") {
			return regexp.MustCompile(`[^\n]`).ReplaceAllString(s, " ")
		}
		return s
	})
}

// declared counts the names that the source of a proto file declares: "message
// M", "rpc R", and "field f = 1", which also stands for the values of enums.
// It is no parser, and ok is false for what it does not understand.
func declared(source string) (names map[string]int, ok bool) {
	names = map[string]int{}
	var statement []string
	inOptions := 0 // how many brackets are open in [...] and after the word option
	ended := func() {
		if name := field(statement); name != "" {
			names[name]++
		}
		statement = nil
	}
	for _, t := range regexp.MustCompile(lexeme).FindAllString(withoutComments(source), -1) {
		option := len(statement) > 0 && statement[0] == "option"
		switch {
		case t == "group" && labels(statement):
			return nil, false // declares a message and a field in one
		case inOptions > 0 || t == "[" || option && t == "{":
			inOptions += strings.Count("[{", t) - strings.Count("]}", t)
		case t == ";" || t == "}":
			if name := block(statement); name != "" { // an rpc without a body
				names[name]++
			}
			ended()
		case t == "{":
			if name := block(statement); name != "" {
				names[name]++
			}
			statement = nil
		default:
			statement = append(statement, t)
		}
	}
	return names, inOptions == 0
}

// labels reports whether a type may follow: else the next word is a name.
func labels(statement []string) bool {
	return len(statement) == 0 || len(statement) == 1 && slices.Contains([]string{"optional", "required", "repeated"}, statement[0])
}

// block is the declaration that begins a statement, or "".
func block(statement []string) string {
	for len(statement) > 0 && (statement[0] == "export" || statement[0] == "local") {
		statement = statement[1:]
	}
	if len(statement) < 2 {
		return ""
	}
	switch keyword := statement[0]; keyword {
	case "message", "enum", "service":
		if len(statement) == 2 {
			return keyword + " " + statement[1]
		}
	case "rpc":
		if len(statement) > 2 && statement[2] == "(" {
			return "rpc " + statement[1]
		}
	}
	return ""
}

// field is the field or the enum's value that a statement declares, or "".
func field(statement []string) string {
	n := len(statement)
	if n < 3 || statement[0] == "option" || statement[0] == "syntax" || statement[0] == "edition" {
		return ""
	}
	sign := ""
	if statement[n-2] == "-" {
		sign, statement = "-", append(statement[:n-2:n-2], statement[n-1])
		n--
	}
	if n < 3 || statement[n-2] != "=" {
		return ""
	}
	number, err := strconv.ParseInt(sign+statement[n-1], 0, 64)
	if err != nil {
		return ""
	}
	return fieldName(statement[n-3], number)
}

func fieldName(name string, number int64) string { return fmt.Sprintf("field %s = %d", name, number) }

// declaredIn counts the same names of a descriptor.
func declaredIn(file *descriptorpb.FileDescriptorProto) map[string]int {
	names := map[string]int{}
	fields := func(all []*descriptorpb.FieldDescriptorProto) {
		for _, f := range all {
			names[fieldName(f.GetName(), int64(f.GetNumber()))]++
		}
	}
	enums := func(all []*descriptorpb.EnumDescriptorProto) {
		for _, e := range all {
			names["enum "+e.GetName()]++
			for _, v := range e.GetValue() {
				names[fieldName(v.GetName(), int64(v.GetNumber()))]++
			}
		}
	}
	var messages func([]*descriptorpb.DescriptorProto)
	messages = func(all []*descriptorpb.DescriptorProto) {
		for _, m := range all {
			if m.GetOptions().GetMapEntry() {
				continue
			}
			names["message "+m.GetName()]++
			fields(m.GetField())
			fields(m.GetExtension())
			enums(m.GetEnumType())
			messages(m.GetNestedType())
		}
	}
	messages(file.GetMessageType())
	enums(file.GetEnumType())
	fields(file.GetExtension())
	for _, s := range file.GetService() {
		names["service "+s.GetName()]++
		for _, m := range s.GetMethod() {
			names["rpc "+m.GetName()]++
		}
	}
	return names
}

// descriptor returns the descriptor that generated code carries, or nil.
func descriptor(source string) *descriptorpb.FileDescriptorProto {
	parsed, err := parser.ParseFile(token.NewFileSet(), "", source, parser.SkipObjectResolution)
	if err != nil {
		return nil
	}
	for _, d := range parsed.Decls {
		constants, ok := d.(*ast.GenDecl)
		if !ok || constants.Tok != token.CONST {
			continue
		}
		for _, spec := range constants.Specs {
			value, ok := spec.(*ast.ValueSpec)
			if !ok || len(value.Values) != 1 || !strings.HasSuffix(value.Names[0].Name, "_rawDesc") {
				continue
			}
			var raw strings.Builder
			file := new(descriptorpb.FileDescriptorProto)
			if !concatenate(value.Values[0], &raw) || proto.Unmarshal([]byte(raw.String()), file) != nil {
				return nil
			}
			return file
		}
	}
	return nil
}

// concatenate evaluates a sum of strings.
func concatenate(e ast.Expr, into *strings.Builder) bool {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return e.Op == token.ADD && concatenate(e.X, into) && concatenate(e.Y, into)
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		into.WriteString(text)
		return err == nil
	}
	return false
}
