// Command protoc-gen-trefoil is a plugin of protoc and buf that generates, from the
// services in .proto files, what calls and serves them over Trefoil: for each service a
// client stub, the interface of a server, and what registers it. It stands beside
// protoc-gen-go, which generates the messages:
//
//	protoc --go_out=. --go_opt=paths=source_relative \
//		--trefoil_out=. --trefoil_opt=paths=source_relative user.proto
//
// Options, beside those of every Go plugin (paths, module, M):
//
//	service_prefix=WORDS  what stands before the service in the names of methods, in
//	                      place of the .proto package; empty: nothing
//	int64=string          how integers of 64 bits are written: as strings, which is the
//	                      default, or with int64=number as numbers
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Println("protoc-gen-trefoil", version())
		fmt.Println("This is a plugin: it is run by protoc --trefoil_out=DIR, or by buf generate.")
		if os.Args[1] != "--version" && os.Args[1] != "--help" {
			os.Exit(2)
		}
		return
	}
	var flags flag.FlagSet
	var o options
	o.define(&flags)
	protogen.Options{ParamFunc: flags.Set}.Run(func(p *protogen.Plugin) error {
		p.SupportedFeatures = uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL | pluginpb.CodeGeneratorResponse_FEATURE_SUPPORTS_EDITIONS)
		p.SupportedEditionsMinimum = descriptorpb.Edition_EDITION_PROTO2
		p.SupportedEditionsMaximum = descriptorpb.Edition_EDITION_2024
		return generate(p, o)
	})
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
