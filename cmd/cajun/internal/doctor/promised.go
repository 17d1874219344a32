package doctor

import (
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
)

const readsOnly = "idempotency_level:NO_SIDE_EFFECTS"

// promises counts what a file says of its actors beside names: the types of
// methods, and our options.
type promises map[string]int

func (p promises) rpc(name string, request, response []string) {
	p["rpc "+name+"("+strings.Join(request, " ")+") returns ("+strings.Join(response, " ")+")"]++
}

func (p promises) actor(service string) { p["option (cajun.v1.actor) of "+service]++ }

func (p promises) key(field string) { p["(cajun.v1.key) of "+field]++ }

// options counts every field of an actor's or method's options by itself.
func (p promises) options(of string, m proto.Message) {
	m.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		one := m.ProtoReflect().New()
		one.Set(field, v)
		// How many blanks it writes is left to chance.
		p[strings.Join(strings.Fields(prototext.MarshalOptions{}.Format(one.Interface())), " ")+" of "+of]++
		return true
	})
}

// promised reads the source of a proto file. Like declared it is no parser, and
// ok is false for what it does not understand.
func promised(source string) (said promises, ok bool) {
	r := promiseReader{said: promises{}, options: map[string]proto.Message{}, ok: true}
	var statement []string
	brackets := 0 // how many are open in [...] and after the word option
	for _, t := range regexp.MustCompile(lexeme).FindAllString(withoutComments(source), -1) {
		option := len(statement) > 0 && statement[0] == "option"
		switch {
		case brackets > 0 || t == "[" || option && t == "{":
			brackets += strings.Count("[{", t) - strings.Count("]}", t)
			statement = append(statement, t)
		case t == "{":
			r.open(statement)
			statement = nil
		case t == "}":
			r.close()
			statement = nil
		case t == ";":
			r.statement(statement)
			statement = nil
		default:
			statement = append(statement, t)
		}
	}
	for of, m := range r.options {
		if _, is := m.(*cajunv1.Actor); is {
			r.said.actor(of)
		}
		r.said.options(of, m)
	}
	return r.said, r.ok && brackets == 0
}

// promiseReader reads a proto file statement by statement.
type promiseReader struct {
	said promises
	// blocks are those that are open, outermost first, as block names them.
	blocks []string
	// options are those of every actor and method.
	options map[string]proto.Message
	ok      bool
}

// within returns the name of the innermost block if it is of a kind, or "".
func (r *promiseReader) within(kind string) string {
	if len(r.blocks) == 0 {
		return ""
	}
	name, _ := strings.CutPrefix(r.blocks[len(r.blocks)-1], kind+" ")
	if name == r.blocks[len(r.blocks)-1] {
		return ""
	}
	if kind == "rpc" && len(r.blocks) > 1 {
		return strings.TrimPrefix(r.blocks[len(r.blocks)-2], "service ") + "." + name
	}
	return name
}

func (r *promiseReader) open(statement []string) {
	r.blocks = append(r.blocks, block(statement))
	r.rpc(statement, r.within("rpc"))
}

func (r *promiseReader) close() {
	if len(r.blocks) == 0 {
		r.ok = false
		return
	}
	r.blocks = r.blocks[:len(r.blocks)-1]
}

func (r *promiseReader) statement(statement []string) {
	switch {
	case len(statement) == 0:
	case statement[0] == "option":
		r.option(statement)
	case statement[0] == "rpc" && r.within("service") != "":
		r.rpc(statement, r.within("service")+"."+statement[min(1, len(statement)-1)])
	default:
		i := slices.Index(statement, "[")
		if i >= 0 && regexp.MustCompile(`\( \.?cajun\.v1\.key \) = true\b`).MatchString(strings.Join(statement[i:], " ")) {
			r.said.key(field(statement[:i]))
		} else if i >= 0 && slices.ContainsFunc(statement[i:], func(t string) bool { return strings.HasSuffix(t, "key") }) {
			r.ok = false // it may be ours by another name, or ours and not true
		}
	}
}

// rpc reads "rpc Name ( stream Request ) returns ( Response )".
func (r *promiseReader) rpc(statement []string, name string) {
	if name == "" {
		return
	}
	types := func(from int) ([]string, int) {
		to := from + slices.Index(append(statement[min(from, len(statement)):len(statement):len(statement)], ")"), ")")
		if to >= len(statement) || to == from {
			r.ok = false
			return nil, to
		}
		words := slices.Clone(statement[from:to])
		words[len(words)-1] = lastName(words[len(words)-1])
		return words, to
	}
	request, end := types(3)
	response, _ := types(end + 3)
	r.said.rpc(name, request, response)
}

// option reads an option of a service or of a method.
func (r *promiseReader) option(statement []string) {
	service, method := r.within("service"), r.within("rpc")
	of := service + method // one of them is empty
	equals := slices.Index(statement, "=")
	if of == "" || equals < 0 {
		return
	}
	name, value := strings.Join(statement[1:equals], ""), strings.Join(statement[equals+1:], " ")
	if name == "idempotency_level" && value == "NO_SIDE_EFFECTS" {
		r.said[readsOnly+" of "+of]++
	}
	if name == "" || name[0] != '(' {
		return
	}
	name, path, _ := strings.Cut(name[1:], ")")
	ours, options := "cajun.v1.actor", proto.Message(new(cajunv1.Actor))
	if method != "" {
		ours, options = "cajun.v1.method", new(cajunv1.Method)
	}
	if name = strings.TrimPrefix(name, "."); name != ours {
		r.ok = r.ok && lastName(name) != lastName(ours) // it may be a shorter name of ours
		return
	}
	if path = strings.TrimPrefix(path, "."); path != "" {
		fields := strings.Split(path, ".")
		value = strings.Join(fields, ": {") + ": " + value + strings.Repeat("}", len(fields)-1)
	} else {
		value = strings.TrimSuffix(strings.TrimPrefix(value, "{"), "}")
	}
	if prototext.Unmarshal([]byte(value), options) != nil {
		r.ok = false
	} else if r.options[of] == nil {
		r.options[of] = options
	} else {
		proto.Merge(r.options[of], options)
	}
}

// lastName is a name without its package.
func lastName(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// promisedIn counts the same of a descriptor.
func promisedIn(file *descriptorpb.FileDescriptorProto) promises {
	said := promises{}
	keys := func(fields []*descriptorpb.FieldDescriptorProto) {
		for _, f := range fields {
			if proto.GetExtension(f.GetOptions(), cajunv1.E_Key).(bool) {
				said.key(fieldName(f.GetName(), int64(f.GetNumber())))
			}
		}
	}
	var messages func([]*descriptorpb.DescriptorProto)
	messages = func(all []*descriptorpb.DescriptorProto) {
		for _, m := range all {
			keys(m.GetField())
			keys(m.GetExtension())
			messages(m.GetNestedType())
		}
	}
	messages(file.GetMessageType())
	keys(file.GetExtension())
	for _, s := range file.GetService() {
		if proto.HasExtension(s.GetOptions(), cajunv1.E_Actor) {
			said.actor(s.GetName())
		}
		said.options(s.GetName(), proto.GetExtension(s.GetOptions(), cajunv1.E_Actor).(*cajunv1.Actor))
		for _, m := range s.GetMethod() {
			name := s.GetName() + "." + m.GetName()
			said.rpc(name, typeOf(m.GetInputType(), m.GetClientStreaming()), typeOf(m.GetOutputType(), m.GetServerStreaming()))
			said.options(name, proto.GetExtension(m.GetOptions(), cajunv1.E_Method).(*cajunv1.Method))
			if m.GetOptions().GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
				said[readsOnly+" of "+name]++
			}
		}
	}
	return said
}

func typeOf(name string, stream bool) []string {
	if stream {
		return []string{"stream", lastName(name)}
	}
	return []string{lastName(name)}
}
