package main

import "google.golang.org/protobuf/compiler/protogen"

// client writes the stub of a service.
func (g *generator) client(out *printer, s *protogen.Service) {
	client, caller := s.GoName+"Client", out.QualifiedGoIdent(abstractPackage.Ident("Caller"))
	own := unexported(s.GoName) + "Stub"

	out.P()
	out.P("// ", client, " calls the methods of ", s.Desc.FullName(), ". Safe for concurrent use.")
	out.P("type ", client, " interface {")
	for _, m := range s.Methods {
		out.comment(m.Comments.Leading, deprecated(m.Desc.Options()), m.GoName, " calls ", g.methodName(m), ".")
		out.P(m.GoName, g.clientSignature(out, m))
	}
	out.P("}")
	out.P()
	out.P("type ", own, " struct{ caller ", caller, " }")
	out.P()
	out.P("// New", client, " makes a stub that calls over caller: an RpcClient, or a Channel.")
	out.P("func New", client, "(caller ", caller, ") ", client, " { return ", own, "{caller} }")
	for _, m := range s.Methods {
		out.P()
		out.P("func (s ", own, ") ", m.GoName, g.clientSignature(out, m), " {")
		out.P("return ", s.GoName, "_", m.GoName, clientCall(m))
		out.P("}")
	}
}

// clientSignature is a stub's method without its name.
func (g *generator) clientSignature(out *printer, m *protogen.Method) string {
	ctx := "ctx " + out.QualifiedGoIdent(contextPackage.Ident("Context"))
	in, result := "*"+out.QualifiedGoIdent(m.Input.GoIdent), "*"+out.QualifiedGoIdent(m.Output.GoIdent)
	opts := "opts ..." + out.QualifiedGoIdent(abstractPackage.Ident("CallOption"))
	switch kind := kindOf(m); kind {
	case "Method":
		return "(" + ctx + ", in " + in + ", " + opts + ") (" + result + ", error)"
	case "ServerStream":
		return "(" + ctx + ", in " + in + ", " + opts + ") " + out.QualifiedGoIdent(iterPackage.Ident("Seq2")) + "[" + result + ", error]"
	default:
		return "(" + ctx + ", " + opts + ") (*" + out.stub("Open"+kind) + "[" + in + ", " + result + "], error)"
	}
}

func clientCall(m *protogen.Method) string {
	if m.Desc.IsStreamingClient() {
		return ".Open(ctx, s.caller, opts...)"
	}
	return ".Call(ctx, s.caller, in, opts...)"
}
