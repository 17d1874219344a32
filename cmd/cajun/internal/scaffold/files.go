package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	cajunproto "github.com/cajun-go/cajun/proto"
)

//go:embed templates
var templates embed.FS

// optionsFolder is where the options proto goes: a folder apart, so that
// buf.gen.yaml can leave it out.
const optionsFolder = "third_party"

// generatedFolder is where the templates have generated code go.
const generatedFolder = "gen"

// file is one that is to be written.
type file struct {
	path    string // below the module's root, with slashes
	content []byte
}

// render makes the files of a project, for a module of this path and a program
// in this folder of it.
func render(module, program string) ([]file, error) {
	places := []struct{ template, path string }{
		{"counter.proto.tmpl", "proto/counter/v1/counter.proto"},
		{"buf.yaml.tmpl", "buf.yaml"},
		{"buf.gen.yaml.tmpl", "buf.gen.yaml"},
		{"counter.go.tmpl", path.Join(program, "counter.go")},
		{"counter_test.go.tmpl", path.Join(program, "counter_test.go")},
		{"stores.go.tmpl", path.Join(program, "stores.go")},
		{"main.go.tmpl", path.Join(program, "main.go")},
	}
	files := []file{{path.Join(optionsFolder, cajunproto.OptionsPath), []byte(cajunproto.Options())}}
	for _, place := range places {
		parsed, err := template.ParseFS(templates, "templates/"+place.template)
		if err != nil {
			return nil, fmt.Errorf("cannot read the template of %s: %w", place.path, err)
		}
		var content bytes.Buffer
		if err := parsed.Execute(&content, struct{ Module string }{module}); err != nil {
			return nil, fmt.Errorf("cannot fill in the template of %s: %w", place.path, err)
		}
		files = append(files, file{place.path, content.Bytes()})
	}
	return files, nil
}

// obstacles lists what keeps files from being written below a folder. A file
// that is there already, and as it would be written, is none, so that an init
// that was cut short can be run again.
func obstacles(dir string, files []file, program string) ([]string, error) {
	var found []string
	for _, f := range files {
		in, err := obstacle(dir, f)
		if err != nil {
			return nil, err
		}
		if in != "" {
			found = append(found, in)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, generatedFolder)); err == nil && !info.IsDir() {
		found = append(found, generatedFolder+" (it is a file, and has to be a folder)")
	}
	found = append(found, modules(dir, program)...)
	strangers, err := goFiles(dir, program)
	if err != nil {
		return nil, err
	}
	for _, stranger := range strangers {
		ours := slices.ContainsFunc(files, func(f file) bool { return f.path == stranger })
		if !ours {
			found = append(found, stranger+" (the program needs a folder without other Go files)")
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// modules lists the go.mod files that take the program, or the code that is
// generated, out of the module.
func modules(dir, program string) (found []string) {
	for _, folder := range []string{program, generatedFolder} {
		for ; folder != "."; folder = path.Dir(folder) {
			gomod := path.Join(folder, "go.mod")
			if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(gomod))); err == nil {
				found = append(found, gomod+" (the folder is a module of its own)")
			}
		}
	}
	return found
}

// obstacle names what is in the way of one file, or nothing.
func obstacle(dir string, f file) (string, error) {
	for parent := path.Dir(f.path); parent != "."; parent = path.Dir(parent) {
		info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(parent)))
		if err == nil && !info.IsDir() {
			return parent + " (it is a file, and has to be a folder)", nil
		}
	}
	target := filepath.Join(dir, filepath.FromSlash(f.path))
	info, err := os.Lstat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return f.path, nil
	}
	present, err := os.ReadFile(target)
	if err != nil || bytes.Equal(present, f.content) {
		return "", err
	}
	return f.path, nil
}

// goFiles lists the Go files of a folder of the module.
func goFiles(dir, program string) ([]string, error) {
	folder := filepath.Join(dir, filepath.FromSlash(program))
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return nil, nil // a file in the place of the folder is told with what should be in it
	}
	entries, err := os.ReadDir(folder)
	var names []string
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".go") {
			names = append(names, path.Join(program, entry.Name()))
		}
	}
	return names, err
}

// write writes the files that are not there yet, and returns their paths. When
// one cannot be written it takes the others back, with the folders that it made.
func write(dir string, files []file) (written []string, err error) {
	var made []string
	defer func() {
		if err != nil {
			for _, name := range slices.Concat(written, made) {
				os.Remove(filepath.Join(dir, filepath.FromSlash(name)))
			}
			written = nil
			err = fmt.Errorf("cannot write the files, and has taken back those that it wrote: %w", err)
		}
	}()
	for _, f := range files {
		target := filepath.Join(dir, filepath.FromSlash(f.path))
		made = append(missing(dir, path.Dir(f.path)), made...) // the inner ones first
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return written, err
		}
		// Whoever puts a file there meanwhile keeps it.
		out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			if in, err := obstacle(dir, f); err != nil || in != "" {
				return written, errors.Join(err, fmt.Errorf("%s has come into being meanwhile", f.path))
			}
			continue
		}
		if err != nil {
			return written, err
		}
		written = append(written, f.path)
		_, err = out.Write(f.content)
		if err := errors.Join(err, out.Close()); err != nil {
			return written, err
		}
	}
	return written, nil
}

// missing lists the folders that lead to one below dir and are not there, the
// innermost first.
func missing(dir, folder string) (list []string) {
	for ; folder != "."; folder = path.Dir(folder) {
		if _, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(folder))); errors.Is(err, fs.ErrNotExist) {
			list = append(list, folder)
		}
	}
	return list
}
