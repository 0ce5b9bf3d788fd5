package schema

import (
	"bytes"
	"encoding/json"

	"github.com/google/jsonschema-go/jsonschema"
)

// maxOrdered is how many levels of a text keep the order of their properties: each is
// read once more.
const maxOrdered = 16

// keepOrder notes the order in which properties stand in a schema's text, which the
// library does not when it reads one.
func keepOrder(s *jsonschema.Schema, text json.RawMessage, level int) {
	var parts struct {
		Properties  json.RawMessage            `json:"properties"`
		Defs        map[string]json.RawMessage `json:"$defs"`
		Definitions map[string]json.RawMessage `json:"definitions"`
		Items       json.RawMessage            `json:"items"`
		Values      json.RawMessage            `json:"additionalProperties"`
	}
	if s == nil || level >= maxOrdered || json.Unmarshal(text, &parts) != nil {
		return
	}
	seen := make(map[string]bool)
	for name, value := range membersOf(parts.Properties) {
		if !seen[name] {
			seen[name] = true
			s.PropertyOrder = append(s.PropertyOrder, name)
		}
		keepOrder(s.Properties[name], value, level+1)
	}
	for name, value := range parts.Defs {
		keepOrder(s.Defs[name], value, level+1)
	}
	for name, value := range parts.Definitions {
		keepOrder(s.Definitions[name], value, level+1)
	}
	keepOrder(s.Items, parts.Items, level+1)
	keepOrder(s.AdditionalProperties, parts.Values, level+1)
}

// membersOf yields the members of an object in the order of its text.
func membersOf(object json.RawMessage) func(yield func(string, json.RawMessage) bool) {
	return func(yield func(string, json.RawMessage) bool) {
		dec := json.NewDecoder(bytes.NewReader(object))
		if begin, err := dec.Token(); err != nil || begin != json.Delim('{') {
			return
		}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return
			}
			var value json.RawMessage
			if dec.Decode(&value) != nil || !yield(name.(string), value) {
				return
			}
		}
	}
}
