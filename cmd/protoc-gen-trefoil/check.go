package main

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxMethod is the longest name of a method that a request can carry.
const maxMethod = 256

// faultAt is an error that says where in a .proto file it is.
func faultAt(d protoreflect.Descriptor, format string, args ...any) error {
	at := d.ParentFile().SourceLocations().ByDescriptor(d)
	return fmt.Errorf("%s:%d:%d: %s", d.ParentFile().Path(), at.StartLine+1, at.StartColumn+1, fmt.Sprintf(format, args...))
}

// notObjects are messages whose JSON need not be an object, which parameters are.
var notObjects = map[protoreflect.FullName]bool{
	"google.protobuf.Timestamp": true, "google.protobuf.Duration": true, "google.protobuf.FieldMask": true,
	"google.protobuf.Value": true, "google.protobuf.ListValue": true,
	"google.protobuf.DoubleValue": true, "google.protobuf.FloatValue": true,
	"google.protobuf.Int64Value": true, "google.protobuf.UInt64Value": true,
	"google.protobuf.Int32Value": true, "google.protobuf.UInt32Value": true,
	"google.protobuf.BoolValue": true, "google.protobuf.StringValue": true, "google.protobuf.BytesValue": true,
}

// check returns what cannot be generated of a file: all of it, not only the first.
func (g *generator) check(f *protogen.File) error {
	var faults []error
	for _, s := range f.Services {
		for _, n := range g.names(s) {
			if other := g.taken[f.GoImportPath][n.name]; other != nil {
				faults = append(faults, faultAt(n.of, "%s is generated as %s, which %s is already; rename one of them", n.of.FullName(), n.name, other.FullName()))
				continue
			}
			g.take(f.GoImportPath, n)
		}
		seen := make(map[string]*protogen.Method)
		for _, m := range s.Methods {
			if other := seen[m.GoName]; other != nil {
				faults = append(faults, faultAt(m.Desc, "rpc %s is %s in Go, as rpc %s is; rename one of them", m.Desc.Name(), m.GoName, other.Desc.Name()))
			}
			seen[m.GoName] = m
			faults = append(faults, g.checkMethod(m)...)
		}
	}
	return errors.Join(faults...)
}

func (g *generator) checkMethod(m *protogen.Method) (faults []error) {
	if name := g.methodName(m); len(name) > maxMethod {
		faults = append(faults, faultAt(m.Desc, "rpc %s: the name %.40s... is longer than %d bytes", m.Desc.Name(), name, maxMethod))
	}
	in, out := m.Input.Desc.FullName(), m.Output.Desc.FullName()
	if notObjects[in] && !m.Desc.IsStreamingClient() {
		faults = append(faults, faultAt(m.Desc, "rpc %s takes %s, which is not an object in JSON, as parameters must be; put it into a message", m.Desc.Name(), in))
	}
	if out == "google.protobuf.Value" && !m.Desc.IsStreamingServer() {
		faults = append(faults, faultAt(m.Desc, "rpc %s returns %s, which may be null, as a result must not be; put it into a message", m.Desc.Name(), out))
	}
	for _, used := range []*protogen.Message{m.Input, m.Output} {
		if d := messageSet(used, make(map[*protogen.Message]bool)); d != nil {
			faults = append(faults, faultAt(m.Desc, "rpc %s uses %s, a message set, which has no JSON", m.Desc.Name(), d.FullName()))
		}
	}
	return faults
}

// messageSet finds the first message set that a message leads to.
func messageSet(m *protogen.Message, seen map[*protogen.Message]bool) protoreflect.MessageDescriptor {
	if seen[m] {
		return nil
	}
	seen[m] = true
	if set, ok := m.Desc.(interface{ IsMessageSet() bool }); ok && set.IsMessageSet() {
		return m.Desc
	}
	for _, f := range m.Fields {
		if f.Message == nil {
			continue
		}
		if d := messageSet(f.Message, seen); d != nil {
			return d
		}
	}
	return nil
}

// named is a name in Go, and what it comes from.
type named struct {
	name string
	of   protoreflect.Descriptor
}

// names are all that a service is generated as, in the order of the file.
func (g *generator) names(s *protogen.Service) []named {
	list := []named{
		{s.GoName + "Client", s.Desc}, {"New" + s.GoName + "Client", s.Desc}, {s.GoName + "Server", s.Desc},
		{"Unimplemented" + s.GoName + "Server", s.Desc}, {s.GoName + "Desc", s.Desc}, {"Register" + s.GoName, s.Desc},
	}
	for _, m := range s.Methods {
		list = append(list, named{s.GoName + "_" + m.GoName, m.Desc})
	}
	return list
}

func (g *generator) take(pkg protogen.GoImportPath, n named) {
	if g.taken[pkg] == nil {
		g.taken[pkg] = make(map[string]protoreflect.Descriptor)
	}
	g.taken[pkg][n.name] = n.of
}

// takeMessages notes the names that protoc-gen-go gives to the messages of a file.
func (g *generator) takeMessages(f *protogen.File) {
	for _, e := range f.Enums {
		g.takeEnum(f, e)
	}
	var walk func(list []*protogen.Message)
	walk = func(list []*protogen.Message) {
		for _, m := range list {
			g.take(f.GoImportPath, named{m.GoIdent.GoName, m.Desc})
			for _, e := range m.Enums {
				g.takeEnum(f, e)
			}
			for _, o := range m.Fields {
				if o.Oneof != nil {
					g.take(f.GoImportPath, named{o.GoIdent.GoName, o.Desc})
				}
			}
			walk(m.Messages)
		}
	}
	walk(f.Messages)
}

func (g *generator) takeEnum(f *protogen.File, e *protogen.Enum) {
	g.take(f.GoImportPath, named{e.GoIdent.GoName, e.Desc})
	for _, v := range e.Values {
		g.take(f.GoImportPath, named{v.GoIdent.GoName, v.Desc})
	}
}
