package server

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/business/router"
	"trefoil/concrete/message"
	"trefoil/concrete/schema"
)

// newRouter makes the router of a server, which answers about its own methods.
func (s *RpcServer) newRouter(cfg router.Config) *router.RpcRouter {
	cfg.Schemas = func(text message.Raw) (router.Schema, error) { return schema.Parse(text) }
	r := router.New(cfg)
	serveOwn(r, abstract.DescribeMethod, "Says what a method takes and returns.", s.describe)
	serveOwn(r, abstract.ListMethods, "Lists the methods that the server serves.", s.list)
	return r
}

// serveOwn serves a method that every server has.
func serveOwn[In, Out any](r *router.RpcRouter, method, doc string, do func(context.Context, In) (Out, error)) {
	h, d, err := router.Typed(do)
	d.Method, d.Doc, d.Idempotent = method, doc, true
	if err == nil {
		err = r.Add(d, h)
	}
	if err != nil {
		panic(err) // two constants that are the same, or no names
	}
}

// reserved is why a user's method cannot have its name; nil: it can.
func reserved(method string) error {
	if abstract.IsReserved(method) {
		return abstract.Errorf(abstract.InvalidParams, "names that begin with %q are the servers' own; give method %.64q another one", abstract.ReservedMethods, method)
	}
	return nil
}

// described returns what a request to a server about its methods asks about, and the
// method of every other request; empty: nothing in particular.
func described(req *message.RpcRequest) string {
	switch req.Method {
	case abstract.DescribeMethod, abstract.ListMethods:
		return describedBy(req.Parameters)
	}
	return req.Method
}

func describedBy(params message.Raw) (method string) {
	_ = message.Members(params, func(name string, value message.Raw) bool {
		if name == "method" {
			method = ""
			_ = message.Decode(value, &method) // the method says what is wrong with it
		}
		return true
	})
	return method
}

// mayRequest says whether the peer may have a request served. What methods there are
// is told to those who may call them.
func (c *conn) mayRequest(req *message.RpcRequest) error {
	method := described(req)
	if method == "" && req.Method != "" {
		return nil
	}
	return c.mayCall(method)
}

// visible returns which methods the caller of a handler may know of.
func (s *RpcServer) visible(ctx context.Context) func(method string) bool {
	guard := s.ep.cfg.guard
	if guard == nil {
		return func(string) bool { return true }
	}
	p, _ := abstract.PeerOf(ctx)
	return func(method string) bool {
		if _, ok := s.ep.commands[method]; ok {
			return guard.Visible(p.Identity, access.Admin, method)
		}
		return guard.Visible(p.Identity, access.Call, method)
	}
}

// describeQuery is what DescribeMethod looks at of a MethodQuery.
type describeQuery struct {
	Method string `json:"method" jsonschema:"the method's name"`
}

// describe answers DescribeMethod. Whoever may not call the method has been refused.
func (s *RpcServer) describe(ctx context.Context, q describeQuery) (info abstract.MethodInfo, err error) {
	d, ok := s.descriptionOf(q.Method)
	if !ok || !s.visible(ctx)(q.Method) {
		return info, s.notServed(ctx, q.Method)
	}
	in, out := schemasOf(d)
	info = abstract.MethodInfo{
		Method: d.Method, Kind: d.Kind.String(), Signature: signature(d, in, out), Doc: d.Doc, Idempotent: d.Idempotent, Examples: d.Examples,
	}
	if in != nil {
		info.Parameters = in.JSON()
	}
	if out != nil {
		info.Result = out.JSON()
	}
	return info, nil
}

// descriptionOf is the description of a method that is served, as a call or as a stream.
func (s *RpcServer) descriptionOf(method string) (router.Description, bool) {
	return s.router.Lookup(method)
}

// notServed is the error about a method that is not described, with those whose names
// are nearly the same.
func (s *RpcServer) notServed(ctx context.Context, method string) error {
	all := slices.DeleteFunc(s.Methods(), func(name string) bool { return !s.visible(ctx)(name) })
	near := router.Nearest(method, all)
	e := abstract.Errorf(abstract.ServiceNotFound, "method %.64q is not served here%s", method, router.DidYouMean(near))
	e.Details, _ = json.Marshal(notServed{near}) // texts can always be written
	return e
}

// notServed are the details of that error. They are there also when no name is near:
// so a caller knows that the server would have described the method.
type notServed struct {
	Nearest []string `json:"nearest"`
}

// schemasOf returns the schemas of a method; nil where nothing is known.
func schemasOf(d router.Description) (in, out *schema.Schema) {
	if i, o := d.Shown(); i != nil || o != nil {
		in, _ = schema.Parse(i) // what cannot be parsed is not shown
		out, _ = schema.Parse(o)
		return in, out
	}
	if i, o, ok := d.Types(); ok {
		if sends(d) {
			return schema.Value(i), schema.Result(o)
		}
		return schema.Parameters(i), schema.Result(o)
	}
	in, _ = schema.Parse(d.ParametersSchema) // they were good when the method was added
	out, _ = schema.Parse(d.ResultSchema)
	return in, out
}

// sends reports whether the caller of a method sends a stream of messages.
func sends(d router.Description) bool {
	return d.Kind == abstract.ClientStream || d.Kind == abstract.BidiStream
}

// signature is a method in one line, with "..." for parameters of which nothing is known.
func signature(d router.Description, in, out *schema.Schema) string {
	if out != nil && d.Result == message.Any {
		d.Result = message.Kind(out.Type())
	}
	if sends(d) {
		return d.Method + "(stream of " + typeOf(in) + ") " + d.Returns()
	}
	if len(d.Parameters) == 0 && in != nil {
		for _, m := range in.Members() {
			d.Parameters = append(d.Parameters, Parameter{Name: m.Name, Kind: message.Kind(m.Type), Optional: !m.Required})
		}
	}
	if len(d.Parameters) == 0 && in == nil { // and not a method without parameters
		return d.Method + "(...) " + d.Returns()
	}
	return d.String()
}

// typeOf is what a schema is for.
func typeOf(s *schema.Schema) string {
	if s == nil {
		return string(message.Any)
	}
	return s.Type()
}

// What a list holds at once.
const (
	listMethods = 500
	listBytes   = 256 << 10
)

// list answers ListMethods.
func (s *RpcServer) list(ctx context.Context, q abstract.MethodQuery) (abstract.MethodList, error) {
	if q.Limit <= 0 || q.Limit > listMethods {
		q.Limit = listMethods
	}
	out := abstract.MethodList{Methods: []abstract.MethodSummary{}}
	visible, size := s.visible(ctx), 0
	for _, name := range s.Methods() {
		if name <= q.After || !strings.HasPrefix(name, q.Prefix) || !visible(name) {
			continue
		}
		if len(out.Methods) >= q.Limit || size > listBytes {
			out.More = true
			break
		}
		if d, ok := s.descriptionOf(name); ok {
			out.Methods = append(out.Methods, abstract.MethodSummary{Method: name, Kind: d.Kind.String(), Doc: d.Doc})
			size += len(name) + len(d.Doc)
		}
	}
	return out, nil
}

// mayKnow is a list of methods that came from a provider, without those that the peer
// may not call; empty when it is no list.
func (c *conn) mayKnow(result message.Raw) message.Raw {
	var list abstract.MethodList
	if message.Decode(result, &list) != nil || list.Methods == nil {
		list = abstract.MethodList{Methods: []abstract.MethodSummary{}}
	}
	identity := c.identity()
	list.Methods = slices.DeleteFunc(list.Methods, func(m abstract.MethodSummary) bool {
		return !c.ep.cfg.guard.Visible(identity, access.Call, m.Method)
	})
	text, err := message.Encode(list)
	if err != nil {
		return message.Raw(`{"methods":[]}`)
	}
	return text
}
