package router

import (
	"reflect"
	"strings"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Description says what a method takes and returns.
type Description struct {
	Method     string
	Parameters []Parameter  // those that are checked; callers may send others too
	Result     message.Kind // message.Any when it is not checked

	// What follows is for people and programs that ask; but parameters are checked
	// against a ParametersSchema, too. Both are JSON Schemas, of draft 2020-12; where
	// messages come or go in a stream they are about these, and those are not checked.
	// Methods that are described by Go types have the schemas of these in their place.
	ParametersSchema, ResultSchema message.Raw

	Kind       abstract.MethodKind
	Doc        string        // a sentence on what the method does
	Examples   []message.Raw // of parameters
	Idempotent bool          // callers may try it again

	checked bool                         // the handler checks the parameters itself, while it decodes them
	fields  []field                      // of the type that the handler decodes them into
	in, out reflect.Type                 // nil: the method is not described by Go types
	schemas func() (in, out message.Raw) // of types that do not say what they look like; nil: they do
}

// Parameter is one named parameter of a method.
type Parameter struct {
	Name     string
	Kind     message.Kind
	Optional bool // it may be missing, or null
	Nullable bool // it may be null, but not missing: a nil slice or map of Go is written so
}

// maxMethod is the longest name of a method that a request can carry.
const maxMethod = 256

// check returns what is wrong with a description.
func (d Description) check() error {
	switch {
	case d.Method == "":
		return abstract.Errorf(abstract.InvalidParams, "a method needs a name")
	case len(d.Method) > maxMethod:
		return abstract.Errorf(abstract.InvalidParams, "the name of method %.40q... is longer than %d bytes", d.Method, maxMethod)
	case !described(d.Result):
		return abstract.Errorf(abstract.InvalidParams, "%q is no kind for the result of method %q; take bool, integer, number, string, array, object or any", d.Result, d.Method)
	}
	seen := make(map[string]bool)
	for _, p := range d.Parameters {
		if !described(p.Kind) {
			return abstract.Errorf(abstract.InvalidParams, "%q is no kind for parameter %q of method %q; take bool, integer, number, string, array, object or any", p.Kind, p.Name, d.Method)
		}
		if seen[p.Name] {
			return abstract.Errorf(abstract.InvalidParams, "method %q has two parameters %q", d.Method, p.Name)
		}
		seen[p.Name] = true
	}
	return nil
}

// described reports whether a description may name a kind.
func described(k message.Kind) bool {
	switch k {
	case message.Bool, message.Integer, message.Number, message.String, message.Array, message.Object, message.Any:
		return true
	}
	return false
}

// CheckParameters returns an error with code InvalidParams that names the first
// described parameter which is missing, or of another kind. Parameters that are
// not described are not looked at; of one that stands there twice the last counts.
// params must be valid JSON, which those of a received message are.
func (d Description) CheckParameters(params message.Raw) error {
	if len(d.Parameters) == 0 {
		return nil
	}
	var few [8]message.Kind // enough for most methods, and not on the heap
	found := few[:]
	if len(d.Parameters) > len(few) {
		found = make([]message.Kind, len(d.Parameters))
	}
	err := message.Members(params, func(key string, value message.Raw) bool {
		for i := range d.Parameters {
			if d.Parameters[i].Name == key {
				found[i] = message.KindOf(value)
				break
			}
		}
		return true
	})
	if err != nil {
		return abstract.Errorf(abstract.InvalidParams, "the parameters of %s are no JSON object", d.Method)
	}
	for i, p := range d.Parameters {
		if err := p.check(d.Method, found[i]); err != nil {
			return err
		}
	}
	return nil
}

// check judges the kind that was found; message.Invalid when there was nothing.
func (p Parameter) check(method string, found message.Kind) error {
	switch {
	case p.Optional && (found == message.Invalid || found == message.Null), p.Nullable && found == message.Null:
		return nil
	case found == message.Invalid:
		return abstract.Errorf(abstract.InvalidParams, "%s needs a parameter %q (%s)", method, p.Name, p.Kind)
	case !found.Fits(p.Kind):
		return abstract.Errorf(abstract.InvalidParams, "parameter %q of %s must be %s, not %s", p.Name, method, p.Kind, found)
	}
	return nil
}

// explain says what is wrong with parameters that a typed handler could not read.
func (d *Description) explain(params message.Raw) error {
	if err := d.CheckParameters(params); err != nil {
		return err
	}
	return d.misfit(params)
}

// Types returns the Go types that a method is described by, those of its parameters
// and of its result; not ok when it is not described by types.
func (d Description) Types() (in, out reflect.Type, ok bool) { return d.in, d.out, d.in != nil }

// Shown returns the schemas that a method brings along because its Go types do not say
// what they look like; nil when they do.
func (d Description) Shown() (in, out message.Raw) {
	if d.schemas == nil {
		return nil, nil
	}
	return d.schemas()
}

// CheckResult returns an error with code Internal when a result, which must be
// valid JSON, is of another kind than described.
func (d Description) CheckResult(raw message.Raw) error {
	if found := message.KindOf(raw); !found.Fits(d.Result) {
		return abstract.Errorf(abstract.Internal, "%s returned %s in place of %s", d.Method, found, d.Result)
	}
	return nil
}

// String writes a description in one line: "math.add(num1 integer, num2 integer?) integer".
func (d Description) String() string {
	var b strings.Builder
	b.WriteString(d.Method + "(")
	for i, p := range d.Parameters {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p.Name + " " + string(p.Kind))
		if p.Optional {
			b.WriteString("?")
		}
	}
	b.WriteString(") " + d.Returns())
	return b.String()
}

// Returns is what a method answers, in words: "integer", "stream of object".
func (d Description) Returns() string {
	if d.Kind == abstract.ServerStream || d.Kind == abstract.BidiStream {
		return "stream of " + string(d.Result)
	}
	return string(d.Result)
}
