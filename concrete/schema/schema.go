// Package schema describes JSON values by JSON Schema: it makes schemas of Go
// types, and checks values against schemas, with errors that name the place that
// does not fit.
package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/google/jsonschema-go/jsonschema"

	"trefoil/abstract"
)

// Schema is a JSON Schema that values can be checked against. It never changes, and
// is safe for concurrent use.
type Schema struct {
	root     *jsonschema.Schema
	text     json.RawMessage
	patterns map[string]*regexp.Regexp
	sizes    map[string]int              // of the patterns
	closed   map[*jsonschema.Schema]bool // those for members without a name that are false
}

// MaxText is how long the text of a schema may be that is parsed, in bytes.
const MaxText = 256 << 10

// Parse reads a JSON Schema of draft 2020-12. It is an error with code InvalidParams
// when the text is none, or when it has a keyword that cannot be checked here:
// references are to "#", "#/$defs/NAME" and "#/definitions/NAME" only, there are no
// dynamic ones, and none of the keywords that begin with unevaluated.
func Parse(text []byte) (*Schema, error) {
	if len(text) > MaxText {
		return nil, abstract.Errorf(abstract.InvalidParams, "a schema of %d bytes is too long; %d are taken", len(text), MaxText)
	}
	root := new(jsonschema.Schema)
	if err := json.Unmarshal(text, root); err != nil {
		return nil, abstract.Errorf(abstract.InvalidParams, "this is no JSON Schema%s", why(err))
	}
	keepOrder(root, text, 0)
	if err := checkable(root); err != nil {
		return nil, err
	}
	sizes, err := sizePatterns(root)
	if err != nil {
		return nil, err
	}
	if _, err := root.Resolve(nil); err != nil {
		return nil, &abstract.Error{Code: abstract.InvalidParams, Message: "this JSON Schema does not hold together", Err: err}
	}
	s := compiled(root, append(json.RawMessage(nil), text...))
	s.sizes = sizes
	return s, nil
}

// why says what is wrong with the text of a schema, without words of Go.
func why(err error) string {
	var kind *json.UnmarshalTypeError
	if !errors.As(err, &kind) || kind.Field == "" {
		return ": it is an object, true or false"
	}
	return fmt.Sprintf(": %q cannot be a JSON %s", kind.Field, kind.Value)
}

// compiled makes a Schema of what was found to be good.
func compiled(root *jsonschema.Schema, text json.RawMessage) *Schema {
	s := &Schema{root: root, text: text, patterns: make(map[string]*regexp.Regexp), closed: make(map[*jsonschema.Schema]bool)}
	for sub := range all(root) {
		if sub.Pattern != "" {
			s.patterns[sub.Pattern] = regexp.MustCompile(sub.Pattern)
		}
		for pattern := range sub.PatternProperties {
			s.patterns[pattern] = regexp.MustCompile(pattern)
		}
		if nothing(sub.AdditionalProperties) {
			s.closed[sub.AdditionalProperties] = true
		}
	}
	return s
}

// nothing reports whether a schema is false.
func nothing(s *jsonschema.Schema) bool {
	if s == nil || s.Not == nil { // as it is read
		return false
	}
	text, err := json.Marshal(s)
	return err == nil && string(text) == "false"
}

// JSON returns the schema's text, which must not be changed.
func (s *Schema) JSON() json.RawMessage { return s.text }

// target returns what a reference stands for, or nil.
func (s *Schema) target(ref string) *jsonschema.Schema { return target(s.root, ref) }
