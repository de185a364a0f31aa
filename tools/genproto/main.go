// Command genproto compiles one .proto file to Go without protoc: genproto
// ROOT FILE writes ROOT/FILE as .pb.go beside it, and in the folder above ids.gen.go with the numbers of the messages
// that have one. Compiler and generator are Go libraries at the versions that tools/go.mod pins, so the output is the
// same on every machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: genproto ROOT FILE (relative to ROOT)")
		os.Exit(2)
	}
	if err := generate(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "genproto:", err)
		os.Exit(1)
	}
}

func generate(root, file string) error {
	compiler := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{root}},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), file)
	if err != nil {
		return fmt.Errorf("cannot compile %s: %w", file, err)
	}
	desc := protodesc.ToFileDescriptorProto(files[0])
	gen, err := protogen.Options{}.New(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{file},
		Parameter:      proto.String("paths=source_relative"),
		ProtoFile:      []*descriptorpb.FileDescriptorProto{desc},
	})
	if err != nil {
		return fmt.Errorf("cannot set up the generator: %w", err)
	}
	gen.SupportedEditionsMinimum = internal_gengo.SupportedEditionsMinimum
	gen.SupportedEditionsMaximum = internal_gengo.SupportedEditionsMaximum
	for _, f := range gen.Files {
		if f.Generate {
			internal_gengo.GenerateFile(gen, f)
		}
	}
	response := gen.Response()
	if response.Error != nil {
		return errors.New(response.GetError())
	}
	for _, out := range response.File {
		// The header names protoc and its version, which took no part.
		text := strings.Replace(out.GetContent(), "// \tprotoc        (unknown)\n", "", 1)
		if err := os.WriteFile(filepath.Join(root, out.GetName()), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, f := range gen.Files {
		if f.Generate {
			return writeNumbers(filepath.Join(root, filepath.Dir(file), "..", "ids.gen.go"), f)
		}
	}
	return nil
}
