package schema

import (
	"fmt"
	"regexp"
	"slices"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
)

// The numbers of the descriptor fields that lead to a source position.
const (
	pathName           = 1
	pathPackage        = 2
	pathDependency     = 3
	pathServiceOptions = 3
	pathMethodOptions  = 4
	pathClientStream   = 5
	pathFieldOptions   = 8
	pathFileOptions    = 8
	pathGoPackage      = 11
	pathSyntax         = 12
	pathEdition        = 14
)

// validSuffix is what may follow the name of a Go package.
var validSuffix = regexp.MustCompile(`^[a-z0-9_]*$`)

// Read returns a model of every file that gen is to generate and that declares
// an actor, in the order of gen. Its error is Problems when the proto files
// are at fault.
func Read(gen *protogen.Plugin, packageSuffix string) ([]*File, error) {
	if !validSuffix.MatchString(packageSuffix) {
		return nil, fmt.Errorf("package_suffix %q cannot be part of a Go package name: use lower-case letters and digits", packageSuffix)
	}
	r := &reader{
		gen:      gen,
		suffix:   packageSuffix,
		messages: make(map[protoreflect.FullName]*protogen.Message),
		packages: make(map[protogen.GoImportPath]Package),
	}
	for _, file := range gen.Files {
		r.packages[file.GoImportPath] = Package{Path: string(file.GoImportPath), Name: string(file.GoPackageName)}
		r.index(file.Messages)
	}
	var files []*File
	for _, file := range gen.Files {
		if !file.Generate {
			continue
		}
		if f := r.file(file); len(f.Actors) > 0 {
			files = append(files, f)
			r.refuseKeyExtensions(file)
		}
	}
	r.checkIdentities()
	if !r.refuseUnnamed() {
		r.checkGoNames()
		r.checkPackages()
		r.checkCircles()
	}
	return files, r.problems.sorted()
}

// reader carries what all parts of one Read share.
type reader struct {
	gen      *protogen.Plugin
	suffix   string
	messages map[protoreflect.FullName]*protogen.Message
	packages map[protogen.GoImportPath]Package
	problems Problems
}

func (r *reader) index(messages []*protogen.Message) {
	for _, m := range messages {
		r.messages[m.Desc.FullName()] = m
		r.index(m.Messages)
	}
}

func (r *reader) file(file *protogen.File) *File {
	f := &File{
		Source:     file.Desc.Path(),
		Output:     r.output(file),
		Package:    r.outputPackage(file),
		Messages:   r.packages[file.GoImportPath],
		Descriptor: file.GoDescriptorIdent.GoName,
		Own:        r.suffix != "",
		Header:     header(file),
	}
	for _, service := range file.Services {
		if options := actorOptions(service); options != nil {
			f.Actors = append(f.Actors, r.actor(file, service, options))
			continue
		}
		for _, method := range service.Methods {
			if methodOptions(method) != nil {
				r.problems.add(file.Desc, methodOption(method),
					"%s sets (cajun.v1.method), but service %s is no actor: give the service option (cajun.v1.actor), or remove this option",
					method.Desc.Name(), service.Desc.Name())
			}
		}
	}
	return f
}

func (r *reader) message(m *protogen.Message) Message {
	return Message{Package: r.packages[m.GoIdent.GoImportPath], Name: m.GoIdent.GoName}
}

// remark is the comment above an element or, without one, that behind it.
func remark(comments protogen.CommentSet) string {
	if comments.Leading == "" {
		return string(comments.Trailing)
	}
	return string(comments.Leading)
}

// header is the comment above the syntax or edition of file.
func header(file *protogen.File) []string {
	for _, number := range []int32{pathSyntax, pathEdition} {
		loc := file.Desc.SourceLocations().ByPath(protoreflect.SourcePath{number})
		blocks := slices.Clone(loc.LeadingDetachedComments)
		if loc.LeadingComments != "" {
			blocks = append(blocks, loc.LeadingComments)
		}
		if len(blocks) > 0 {
			return blocks
		}
	}
	return nil
}

// actorOptions returns nil for a service that is no actor.
func actorOptions(service *protogen.Service) *cajunv1.Actor {
	options := service.Desc.Options()
	if !proto.HasExtension(options, cajunv1.E_Actor) {
		return nil
	}
	return proto.GetExtension(options, cajunv1.E_Actor).(*cajunv1.Actor)
}

// methodOptions returns nil for a method that sets none of ours.
func methodOptions(method *protogen.Method) *cajunv1.Method {
	options := method.Desc.Options()
	if !proto.HasExtension(options, cajunv1.E_Method) {
		return nil
	}
	return proto.GetExtension(options, cajunv1.E_Method).(*cajunv1.Method)
}

// isDeprecated reports whether the service, or the file that it is in, is
// deprecated.
func isDeprecated(service *protogen.Service) bool {
	return service.Desc.Options().(*descriptorpb.ServiceOptions).GetDeprecated() ||
		service.Desc.ParentFile().Options().(*descriptorpb.FileOptions).GetDeprecated()
}

// actorOption is the source path of our option of service, or of what fields
// lead to within it.
func actorOption(service *protogen.Service, fields ...int32) protoreflect.SourcePath {
	number := int32(cajunv1.E_Actor.TypeDescriptor().Number())
	return join(service.Location.Path, pathServiceOptions, number, fields)
}

// methodOption is the source path of our option of method, or of what fields
// lead to within it.
func methodOption(method *protogen.Method, fields ...int32) protoreflect.SourcePath {
	number := int32(cajunv1.E_Method.TypeDescriptor().Number())
	return join(method.Location.Path, pathMethodOptions, number, fields)
}

func join(base protoreflect.SourcePath, options, extension int32, fields []int32) protoreflect.SourcePath {
	return slices.Concat(base, protoreflect.SourcePath{options, extension}, fields)
}

func name(base protoreflect.SourcePath) protoreflect.SourcePath {
	return slices.Concat(base, protoreflect.SourcePath{pathName})
}
