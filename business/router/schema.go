package router

import (
	"slices"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Schema is a JSON Schema that parameters are checked against. Safe for concurrent
// use.
type Schema interface {
	// Check returns nil, or an error with code InvalidParams that names the method, and
	// the place that does not fit.
	Check(method string, params []byte) error
}

// What a description holds at most, as it is sent to whoever asks.
const (
	maxDoc      = 4 << 10
	maxExamples = 16
	maxExample  = 16 << 10
)

// method makes a method of its description, with its schemas checked.
func (r *RpcRouter) method(d Description, h Handler) (*method, error) {
	d.Parameters, d.Examples = slices.Clone(d.Parameters), slices.Clone(d.Examples)
	m := &method{description: d, handler: h}
	for _, s := range []struct {
		of   string
		text message.Raw
		to   *Schema
	}{{"parameters", d.ParametersSchema, &m.schema}, {"result", d.ResultSchema, new(Schema)}} {
		if len(s.text) == 0 {
			continue
		}
		if r.schemas == nil {
			return nil, abstract.Errorf(abstract.Unsupported, "method %q has a schema, and nothing here checks schemas", d.Method)
		}
		made, err := r.schemas(s.text)
		if err != nil {
			return nil, &abstract.Error{Code: abstract.InvalidParams, Message: "the schema of the " + s.of + " of method " + d.Method + " cannot be used", Err: err}
		}
		*s.to = made
	}
	if d.Kind == abstract.ClientStream || d.Kind == abstract.BidiStream {
		m.schema = nil // it is that of the messages
	}
	if len(d.Doc) > maxDoc || len(d.Examples) > maxExamples {
		return nil, abstract.Errorf(abstract.InvalidParams, "method %q is described by more than %d bytes of text, or %d examples; say less", d.Method, maxDoc, maxExamples)
	}
	for _, example := range d.Examples {
		if len(example) > maxExample {
			return nil, abstract.Errorf(abstract.InvalidParams, "an example of method %q is longer than %d bytes; give a shorter one", d.Method, maxExample)
		}
		if message.KindOf(example) != message.Object || message.Valid(example) != nil {
			return nil, abstract.Errorf(abstract.InvalidParams, "an example of method %q is no JSON object: %.80q", d.Method, example)
		}
	}
	return m, nil
}

// check checks the parameters before a handler that does not do so itself.
func (m *method) check(params message.Raw) error {
	if err := m.description.CheckParameters(params); err != nil || m.schema == nil {
		return err
	}
	return m.schema.Check(m.description.Method, params)
}
