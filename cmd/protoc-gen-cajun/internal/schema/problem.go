package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Problem is one reason to generate nothing.
type Problem struct {
	// File is the path of the proto file.
	File string
	// Line and Column count from 1. Both are 0 when the descriptors carry no
	// source positions.
	Line, Column int
	// Text says what is wrong and what to write instead.
	Text string
}

// String returns the problem as compilers print theirs.
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Text)
}

// Problems is the error of a Read that refuses its input: all that is wrong,
// in the order of files and lines.
type Problems []Problem

// Error returns one line per problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// add notes a problem with what path, relative to the root of desc's file,
// leads to.
func (ps *Problems) add(file protoreflect.FileDescriptor, path protoreflect.SourcePath, format string, args ...any) {
	p := Problem{File: file.Path(), Text: fmt.Sprintf(format, args...)}
	if loc, ok := locate(file.SourceLocations(), path); ok {
		p.Line, p.Column = loc.StartLine+1, loc.StartColumn+1
	} else if file.SourceLocations().Len() > 0 {
		// It is about the file as a whole.
		p.Line, p.Column = 1, 1
	}
	*ps = append(*ps, p)
}

// sorted returns the problems without repetitions, or nil if there are none.
func (ps Problems) sorted() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			strings.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			strings.Compare(a.Text, b.Text),
		)
	})
	return slices.Compact(ps)
}

// position is where path begins, as text to name it in another problem.
func position(file protoreflect.FileDescriptor, path protoreflect.SourcePath) string {
	loc, ok := locate(file.SourceLocations(), path)
	if !ok {
		return file.Path()
	}
	return fmt.Sprintf("%s:%d:%d", file.Path(), loc.StartLine+1, loc.StartColumn+1)
}

// locate finds where path is in the source. How finely options are located
// differs between compilers: some note every field of an option, some only the
// leaves, some the option as a whole. So when path itself has no location, the
// first one within it will do, and then that of what encloses it.
func locate(locs protoreflect.SourceLocations, path protoreflect.SourcePath) (protoreflect.SourceLocation, bool) {
	for ; len(path) > 0; path = path[:len(path)-1] {
		var best protoreflect.SourceLocation
		for i := range locs.Len() {
			loc := locs.Get(i)
			if len(loc.Path) < len(path) || !slices.Equal(loc.Path[:len(path)], path) {
				continue
			}
			if best.Path == nil || closer(loc, best, len(path)) {
				best = loc
			}
		}
		if best.Path != nil {
			return best, true
		}
	}
	return protoreflect.SourceLocation{}, false
}

// closer reports whether a describes a path of n elements better than b: a
// location of exactly that path first, then the one that begins first.
func closer(a, b protoreflect.SourceLocation, n int) bool {
	if exactA, exactB := len(a.Path) == n, len(b.Path) == n; exactA != exactB {
		return exactA
	}
	return cmp.Or(cmp.Compare(a.StartLine, b.StartLine), cmp.Compare(a.StartColumn, b.StartColumn)) < 0
}
