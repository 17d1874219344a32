// Package plugin is protoc-gen-cajun without the process around it.
package plugin

import (
	"fmt"
	"io"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/render"
	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/schema"
)

// DefaultPackageSuffix is appended to the name of the messages' package to
// name the package of the generated code.
const DefaultPackageSuffix = "cajun"

// Run answers the request of a compiler that it reads from in. Its error is
// about a request that makes no sense; what is wrong with the proto files is
// part of the answer.
func Run(in io.Reader, out io.Writer) error {
	encoded, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("cannot read the request: %w", err)
	}
	req := new(pluginpb.CodeGeneratorRequest)
	if err := proto.Unmarshal(encoded, req); err != nil {
		return fmt.Errorf("cannot understand the request: %w", err)
	}
	schema.NamePackages(req)
	parameters := Parameters{PackageSuffix: DefaultPackageSuffix}
	gen, err := protogen.Options{ParamFunc: parameters.Set}.New(req)
	if err != nil {
		return err
	}
	if err := Generate(gen, parameters.PackageSuffix); err != nil {
		// buf and protoc put words of their own before it, and editors look for
		// places at the beginning of lines.
		gen.Error(fmt.Errorf("\n%w", err))
	}
	answer, err := proto.Marshal(gen.Response())
	if err != nil {
		return fmt.Errorf("cannot write the answer: %w", err)
	}
	_, err = out.Write(answer)
	return err
}

// Parameters are the options of our own that the plugin takes.
type Parameters struct{ PackageSuffix string }

// Set takes one option that is not common to all Go plugins.
func (p *Parameters) Set(name, value string) error {
	if name != "package_suffix" {
		return fmt.Errorf("unknown option %q: write package_suffix, or one that all Go plugins take: paths, module, M, default_api_level", name)
	}
	p.PackageSuffix = value
	return nil
}

// Generate adds to gen one Go file for each proto file that declares actors.
// An empty packageSuffix puts them into the package of the messages. The error
// lists everything that is wrong with the proto files, one line each, as
// file:line:column and a sentence; nothing is generated then.
func Generate(gen *protogen.Plugin, packageSuffix string) error {
	gen.SupportedFeatures = uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL |
		pluginpb.CodeGeneratorResponse_FEATURE_SUPPORTS_EDITIONS)
	gen.SupportedEditionsMinimum = descriptorpb.Edition_EDITION_PROTO2
	gen.SupportedEditionsMaximum = descriptorpb.Edition_EDITION_2024

	files, err := schema.Read(gen, packageSuffix)
	if err != nil {
		return err
	}
	for _, file := range files {
		source, err := render.File(file)
		if err != nil {
			return fmt.Errorf("%s: cannot write its Go code: %w", file.Source, err)
		}
		out := gen.NewGeneratedFile(file.Output, protogen.GoImportPath(file.Package.Path))
		if _, err := out.Write(source); err != nil {
			return fmt.Errorf("%s: %w", file.Output, err)
		}
	}
	return nil
}
