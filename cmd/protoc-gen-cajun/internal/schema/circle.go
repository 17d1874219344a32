package schema

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// edge is one Go package that imports another, and the place in a proto file
// that makes it do so.
type edge struct {
	from, to protogen.GoImportPath
	file     *protogen.File
	path     protoreflect.SourcePath
}

// checkCircles refuses actors whose code takes part in a circle of imports,
// which protos allow as long as no two files import each other.
func (r *reader) checkCircles() {
	walk := circles{edges: make(map[protogen.GoImportPath][]edge), seen: make(map[protogen.GoImportPath]bool)}
	for _, file := range r.gen.Files {
		for i := range file.Desc.Imports().Len() {
			imported := r.gen.FilesByPath[file.Desc.Imports().Get(i).Path()]
			walk.add(edge{file.GoImportPath, imported.GoImportPath, file, protoreflect.SourcePath{pathDependency, int32(i)}})
		}
	}
	r.eachActor(func(file *protogen.File, service *protogen.Service) {
		output := protogen.GoImportPath(r.outputPackage(file).Path)
		for _, used := range r.filesUsed(file) {
			walk.add(edge{output, used.GoImportPath, file, actorOption(service, actorState)})
		}
	})
	r.eachActor(func(file *protogen.File, _ *protogen.Service) {
		if file.Generate {
			walk.visit(protogen.GoImportPath(r.outputPackage(file).Path))
		}
	})
	for _, circle := range walk.found {
		r.refuseCircle(circle)
	}
}

// circles finds the circles in a graph.
type circles struct {
	edges map[protogen.GoImportPath][]edge
	seen  map[protogen.GoImportPath]bool
	path  []edge
	found [][]edge
}

func (c *circles) add(e edge) {
	if e.from != e.to {
		c.edges[e.from] = append(c.edges[e.from], e)
	}
}

// visit looks at what can be reached from a package.
func (c *circles) visit(from protogen.GoImportPath) {
	if c.seen[from] {
		return
	}
	c.seen[from] = true
	for _, e := range c.edges[from] {
		c.path = append(c.path, e)
		if begin := slices.IndexFunc(c.path, func(past edge) bool { return past.from == e.to }); begin >= 0 {
			c.found = append(c.found, slices.Clone(c.path[begin:]))
		} else {
			c.visit(e.to)
		}
		c.path = c.path[:len(c.path)-1]
	}
}

// refuseCircle reports a circle at its first import in a file that is to be
// generated.
func (r *reader) refuseCircle(circle []edge) {
	if first := slices.IndexFunc(circle, func(e edge) bool { return e.file.Generate }); first > 0 {
		circle = slices.Concat(circle[first:], circle[:first])
	}
	var steps []string
	for _, e := range circle {
		steps = append(steps, fmt.Sprintf("%s imports %s (%s)", e.from, e.to, position(e.file.Desc, e.path)))
	}
	r.problems.add(circle[0].file.Desc, circle[0].path,
		"Go packages cannot import each other in a circle: %s. Give these proto files the same go_package, or move what both sides need into a package that imports neither",
		strings.Join(steps, ", "))
}
