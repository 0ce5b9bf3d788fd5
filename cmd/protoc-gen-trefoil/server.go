package main

import (
	"strconv"

	"google.golang.org/protobuf/compiler/protogen"
)

// server writes the interface of what serves a service, and what registers it.
func (g *generator) server(out *printer, s *protogen.Service) {
	server, empty, desc := s.GoName+"Server", "Unimplemented"+s.GoName+"Server", s.GoName+"Desc"

	out.P()
	out.comment(s.Comments.Leading, deprecated(s.Desc.Options()), server, " serves ", s.Desc.FullName(), ". Its methods are called by many goroutines at once.")
	out.P("type ", server, " interface {")
	for _, m := range s.Methods {
		out.comment(m.Comments.Leading, deprecated(m.Desc.Options()), m.GoName, " serves ", g.methodName(m), ".")
		out.P(m.GoName, g.serverSignature(out, m))
	}
	out.P("}")
	out.P()
	out.P("// ", empty, " answers every call with ServiceNotFound. A server that embeds it")
	out.P("// still is one when the .proto file gets more methods.")
	out.P("type ", empty, " struct{}")
	for _, m := range s.Methods {
		out.P()
		out.P("// ", m.GoName, " answers with ServiceNotFound.")
		out.P("func (", empty, ") ", m.GoName, g.serverSignature(out, m), " {")
		fault := out.stub("Unimplemented") + "(" + strconv.Quote(g.methodName(m)) + ")"
		if m.Desc.IsStreamingServer() {
			out.P("return ", fault)
		} else {
			out.P("return nil, ", fault)
		}
		out.P("}")
	}
	out.P()
	out.P("// ", desc, " is ", s.Desc.FullName(), ", served by impl: what a Provider's NotifyService takes.")
	out.P("func ", desc, "(impl ", server, ") ", out.stub("Service"), " {")
	out.P("return ", out.stub("Service"), "{Name: ", strconv.Quote(g.serviceName(s)), ", Methods: []", abstractPackage.Ident("Method"), "{")
	for _, m := range s.Methods {
		out.P(s.GoName, "_", m.GoName, ".Served(impl.", m.GoName, "),")
	}
	out.P("}}")
	out.P("}")
	out.P()
	out.P("// Register", s.GoName, " serves ", s.Desc.FullName(), " with impl on an RpcServer, a Broker or a Provider.")
	out.P("func Register", s.GoName, "(srv ", abstractPackage.Ident("MethodServer"), ", impl ", server, ") error {")
	out.P("return ", out.stub("Register"), "(srv, ", desc, "(impl))")
	out.P("}")
}

// serverSignature is a server's method without its name.
func (g *generator) serverSignature(out *printer, m *protogen.Method) string {
	ctx := "ctx " + out.QualifiedGoIdent(contextPackage.Ident("Context"))
	in, result := "*"+out.QualifiedGoIdent(m.Input.GoIdent), "*"+out.QualifiedGoIdent(m.Output.GoIdent)
	many := func() string {
		return "in " + out.QualifiedGoIdent(iterPackage.Ident("Seq2")) + "[" + in + ", error]"
	}
	send := "send func(" + result + ") error"
	switch kindOf(m) {
	case "ServerStream":
		return "(" + ctx + ", in " + in + ", " + send + ") error"
	case "ClientStream":
		return "(" + ctx + ", " + many() + ") (" + result + ", error)"
	case "BidiStream":
		return "(" + ctx + ", " + many() + ", " + send + ") error"
	}
	return "(" + ctx + ", in " + in + ") (" + result + ", error)"
}
