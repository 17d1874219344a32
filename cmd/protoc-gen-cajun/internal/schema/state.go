package schema

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// state resolves the message that holds the durable state; nil without one.
func (r *reader) state(in where, name string) *Message {
	if name == "" {
		return nil
	}
	refuse := func(format string, args ...any) *Message {
		in.refuse(in.option(actorState), "state %q "+format, append([]any{name}, args...)...)
		return nil
	}
	full := protoreflect.FullName(name)
	m, ok := r.messages[full]
	switch {
	case ok && m.Desc.IsMapEntry():
		return refuse("is what a map field consists of, and no message of its own: write the full name of a message, such as %q", in.exampleState())
	case ok && !sees(in.file, m.Desc.ParentFile()):
		// It is in sight only as another file of this run imports it.
		return refuse("is declared in a file that this one does not import: add import %q", m.Desc.ParentFile().Path())
	case ok && m.Desc.RequiredNumbers().Len() > 0:
		// A new actor could not even be loaded.
		return refuse("has the required field %q, and the state of a new actor is empty: make the field optional", m.Desc.Fields().ByNumber(m.Desc.RequiredNumbers().Get(0)).Name())
	case ok:
		state := r.message(m)
		return &state
	}
	if nearby, ok := r.nearby(in.file.Package(), name); ok {
		return refuse("is not a full message name: write %q", nearby)
	}
	if kind := r.kindOf(full); kind != "" {
		return refuse("is %s, and an actor's state is a message: write the full name of one, such as %q", kind, in.exampleState())
	}
	if similar := r.similar(in.file, name); similar != "" {
		return refuse("is no message: write %q if that is meant", similar)
	}
	return refuse("is no message that this file can see: write the full name of a message, such as %q, and import the file that declares it", in.exampleState())
}

func (w where) exampleState() protoreflect.FullName {
	return w.file.Package().Append(protoreflect.Name(w.subject + "State"))
}

// nearby finds the message that a name without its package, or with a leading
// dot, stands for, as it would in other places of a proto file.
func (r *reader) nearby(scope protoreflect.FullName, name string) (protoreflect.FullName, bool) {
	if name[0] == '.' {
		_, ok := r.messages[protoreflect.FullName(name[1:])]
		return protoreflect.FullName(name[1:]), ok
	}
	for ; scope != ""; scope = scope.Parent() {
		candidate := scope + "." + protoreflect.FullName(name)
		if _, ok := r.messages[candidate]; ok {
			return candidate, true
		}
	}
	return "", false
}

// similar finds a message that file sees and whose name is a slip of the keys
// away, or none.
func (r *reader) similar(file protoreflect.FileDescriptor, name string) protoreflect.FullName {
	best, least := protoreflect.FullName(""), 1+min(2, len(name)/4)
	for _, full := range slices.Sorted(maps.Keys(r.messages)) {
		m := r.messages[full].Desc
		if m.IsMapEntry() || !sees(file, m.ParentFile()) {
			continue
		}
		if d := distance(name, string(full)); d < least {
			best, least = full, d
		}
	}
	return best
}

// distance is how many letters have to be put in, taken out or changed to make
// b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// kindOf says what a name that is no message's stands for, or is empty.
func (r *reader) kindOf(name protoreflect.FullName) string {
	found := ""
	for _, file := range r.gen.Files {
		if file.Desc.Package() == name {
			found = "a package"
		}
		for _, enum := range file.Enums {
			if enum.Desc.FullName() == name {
				return "an enum"
			}
		}
		for _, service := range file.Services {
			if service.Desc.FullName() == name {
				return "a service"
			}
		}
	}
	for _, m := range r.messages {
		for _, enum := range m.Enums {
			if enum.Desc.FullName() == name {
				return "an enum"
			}
		}
		for _, field := range m.Fields {
			if field.Desc.FullName() == name {
				return fmt.Sprintf("a field of %s", m.Desc.FullName())
			}
		}
	}
	return found
}

// sees reports whether a file is another one or imports it, directly or by way
// of others.
func sees(from, to protoreflect.FileDescriptor) bool {
	seen := make(map[string]bool)
	var visit func(protoreflect.FileDescriptor) bool
	visit = func(file protoreflect.FileDescriptor) bool {
		if file.Path() == to.Path() {
			return true
		}
		if seen[file.Path()] {
			return false
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			if visit(file.Imports().Get(i).FileDescriptor) {
				return true
			}
		}
		return false
	}
	return visit(from)
}
