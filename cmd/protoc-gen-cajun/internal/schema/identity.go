package schema

import (
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/names"
)

// declaration is something that has been given a name, and where.
type declaration struct {
	what string
	file *protogen.File
	path protoreflect.SourcePath
}

func (d declaration) String() string {
	return d.what + " (" + position(d.file.Desc, d.path) + ")"
}

// eachActor calls visit for every actor in sight, imported files included.
func (r *reader) eachActor(visit func(*protogen.File, *protogen.Service)) {
	for _, file := range r.gen.Files {
		for _, service := range file.Services {
			if actorOptions(service) != nil {
				visit(file, service)
			}
		}
	}
}

// checkIdentities refuses aliases that are no names, and names that address
// two kinds.
func (r *reader) checkIdentities() {
	owners := make(map[string]declaration)
	r.eachActor(func(file *protogen.File, service *protogen.Service) {
		full := string(service.Desc.FullName())
		owners[full] = declaration{"actor " + full, file, name(service.Location.Path)}
	})
	r.eachActor(func(file *protogen.File, service *protogen.Service) {
		in := where{r, file.Desc, string(service.Desc.Name()), func(fields ...int32) protoreflect.SourcePath {
			return actorOption(service, fields...)
		}}
		for i, alias := range actorOptions(service).GetAliases() {
			path := in.option(actorAliases, int32(i))
			owner, taken := owners[alias]
			switch {
			case !file.Generate:
			case !protoreflect.FullName(alias).IsValid():
				in.refuse(path, "alias %q is no full name of a service: write one such as \"bank.v0.Account\", without a leading dot", alias)
			case alias == string(service.Desc.FullName()):
				in.refuse(path, "alias %q is the service's own name: remove it", alias)
			case taken && owner.file.Generate: // else they are in two folders, which may be hosted apart
				in.refuse(path, "alias %q is taken by %s: remove one of the two", alias, owner)
			}
			if !taken {
				owners[alias] = declaration{"an alias of " + string(service.Desc.FullName()), file, path}
			}
		}
	})
}

// checkGoNames refuses actors whose code would declare a Go identifier that is
// taken: by another actor, or by a message where both share a package.
func (r *reader) checkGoNames() {
	taken := make(map[Package]map[string]declaration)
	for _, file := range r.gen.Files {
		p := r.packages[file.GoImportPath]
		if taken[p] == nil {
			taken[p] = make(map[string]declaration)
		}
		declareMessages(taken[p], file)
	}
	r.eachActor(func(file *protogen.File, service *protogen.Service) {
		p := r.outputPackage(file)
		if taken[p] == nil {
			taken[p] = make(map[string]declaration)
		}
		r.declareActor(taken[p], file, service)
	})
}

// declareActor takes the identifiers of service.
func (r *reader) declareActor(taken map[string]declaration, file *protogen.File, service *protogen.Service) {
	methods := make(map[string]declaration)
	var goNames []string
	for _, method := range service.Methods {
		path := name(method.Location.Path)
		if other, ok := methods[method.GoName]; ok && file.Generate {
			r.problems.add(file.Desc, path, "%s.%s: its Go name %s is that of %s: rename one of the two",
				service.Desc.Name(), method.Desc.Name(), method.GoName, other)
			continue
		}
		methods[method.GoName] = declaration{"method " + string(method.Desc.Name()), file, path}
		goNames = append(goNames, method.GoName)
	}
	path := name(service.Location.Path)
	self := declaration{"actor " + string(service.Desc.Name()), file, path}
	clash := ""
	for _, id := range names.Actor(service.GoName).All(goNames) {
		other, ok := taken[id]
		if !ok {
			taken[id] = self
			continue
		}
		if clash == "" && (file.Generate || other.file.Generate) {
			// One sentence per pair: the rest follows from the first.
			clash = id
			r.problems.add(file.Desc, path, "%s: its Go code would declare %s, as that of %s does: rename one of the two%s",
				service.Desc.Name(), id, other, r.orSeparate(other))
		}
	}
}

// orSeparate is the other way out of a clash with a message.
func (r *reader) orSeparate(other declaration) string {
	if r.suffix == "" && !strings.HasPrefix(other.what, "actor ") {
		return ", or generate the actors into their own package (leave out package_suffix)"
	}
	return ""
}
