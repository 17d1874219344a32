package corpus_test

import (
	"errors"
	"fmt"
	"go/format"
	"slices"
	"strings"

	"google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin"
)

// errIllegal marks schemas that no plugin for Go takes.
var errIllegal = errors.New("no legal schema")

// request asks for files of set, with the files that they import.
func request(set *descriptorpb.FileDescriptorSet, parameter string, files []string) *pluginpb.CodeGeneratorRequest {
	needed := make(map[string]bool)
	for _, file := range files {
		needed[file] = true
	}
	// Files come after those that they import.
	var closure []*descriptorpb.FileDescriptorProto
	for _, file := range slices.Backward(set.GetFile()) {
		if !needed[file.GetName()] {
			continue
		}
		closure = append(closure, file)
		for _, dep := range slices.Concat(file.GetDependency(), file.GetOptionDependency()) {
			needed[dep] = true
		}
	}
	slices.Reverse(closure)
	return &pluginpb.CodeGeneratorRequest{FileToGenerate: files, Parameter: proto.String(parameter), ProtoFile: closure}
}

// actors runs our plugin and returns its files by name.
func actors(req *pluginpb.CodeGeneratorRequest, suffix string) (map[string]string, error) {
	gen, err := protogen.Options{}.New(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errIllegal, err)
	}
	if err := plugin.Generate(gen, suffix); err != nil {
		return nil, err
	}
	return contents(gen)
}

// messages does the work of protoc-gen-go.
func messages(req *pluginpb.CodeGeneratorRequest) (map[string]string, error) {
	gen, err := protogen.Options{}.New(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errIllegal, err)
	}
	for _, file := range gen.Files {
		if file.Generate {
			internal_gengo.GenerateFile(gen, file)
		}
	}
	return contents(gen)
}

func contents(gen *protogen.Plugin) (map[string]string, error) {
	resp := gen.Response()
	if resp.Error != nil {
		return nil, errors.New(resp.GetError())
	}
	files := make(map[string]string)
	for _, file := range resp.GetFile() {
		if _, twice := files[file.GetName()]; twice {
			return nil, fmt.Errorf("%s is written twice", file.GetName())
		}
		files[file.GetName()] = file.GetContent()
	}
	return files, nil
}

// formatted checks that every file is as gofmt writes it, and has nothing that
// people would not write.
func formatted(files map[string]string) error {
	for name, content := range files {
		want, err := format.Source([]byte(content))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if content != string(want) {
			return fmt.Errorf("%s: not as gofmt writes it:\n%s", name, content)
		}
		for line := range strings.Lines(content) {
			if strings.TrimRight(line, " \t\r\n")+"\n" != line {
				return fmt.Errorf("%s: trailing blanks in %q", name, line)
			}
			if strings.HasPrefix(line, "//go:") || strings.HasPrefix(line, "// +build") || strings.HasPrefix(line, "//line") {
				return fmt.Errorf("%s: a comment has become a directive: %q", name, line)
			}
		}
	}
	return nil
}
