package schema

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"
)

// What a skeleton holds at most: levels, and places.
const (
	skeletonDepth  = 6
	skeletonPlaces = 200
)

// Skeleton returns a value to begin with: the members that are required, or all
// where none are, with values that mean little: {"num1":0,"num2":0}. It mostly fits
// the schema.
func (s *Schema) Skeleton() json.RawMessage {
	k := skeleton{schema: s, left: skeletonPlaces}
	return k.value(nil, s.root, 0)
}

type skeleton struct {
	schema *Schema
	left   int
}

// value appends a value for a schema.
func (k *skeleton) value(dst []byte, s *jsonschema.Schema, depth int) []byte {
	k.left--
	for range 8 { // references to references
		if s == nil || s.Ref == "" {
			break
		}
		s = k.schema.target(s.Ref)
	}
	if s == nil {
		return append(dst, "null"...)
	}
	if v := example(s); v != nil {
		return append(dst, v...)
	}
	for _, list := range [][]*jsonschema.Schema{s.AllOf, s.AnyOf, s.OneOf} {
		if len(list) > 0 && s.Type == "" && s.Types == nil && depth < skeletonDepth {
			return k.value(dst, list[0], depth+1)
		}
	}
	typ := s.Type
	if len(s.Types) > 0 {
		typ = s.Types[0]
	}
	switch {
	case typ == object || typ == "" && s.Properties != nil:
		return k.object(dst, s, depth)
	case typ == array:
		return k.array(dst, s, depth)
	case typ == integer, typ == number:
		return appendJSON(dst, least(s))
	case typ == text:
		return append(dst, `""`...)
	case typ == boolean:
		return append(dst, "false"...)
	}
	return append(dst, "null"...)
}

// example is a value that the schema spells out; nil: it has none.
func example(s *jsonschema.Schema) []byte {
	switch {
	case len(s.Default) > 0:
		return s.Default
	case len(s.Examples) > 0:
		return appendJSON(nil, s.Examples[0])
	case s.Const != nil:
		return appendJSON(nil, *s.Const)
	case len(s.Enum) > 0:
		return appendJSON(nil, s.Enum[0])
	case s.Type == text && s.Format == "date-time":
		return []byte(`"2006-01-02T15:04:05Z"`)
	}
	return nil
}

// least is the number to begin with: 0 where that is not too small.
func least(s *jsonschema.Schema) float64 {
	if s.Minimum != nil && *s.Minimum > 0 {
		return *s.Minimum
	}
	return 0
}

func (k *skeleton) object(dst []byte, s *jsonschema.Schema, depth int) []byte {
	names := s.Required
	if len(names) == 0 {
		names = s.PropertyOrder
	}
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(s.Properties))
	}
	dst = append(dst, '{')
	for i, name := range names {
		if depth >= skeletonDepth || k.left <= 0 {
			break
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendJSON(dst, name), ':')
		dst = k.value(dst, s.Properties[name], depth+1)
	}
	return append(dst, '}')
}

func (k *skeleton) array(dst []byte, s *jsonschema.Schema, depth int) []byte {
	dst = append(dst, '[')
	if s.Items != nil && depth < skeletonDepth && k.left > 0 {
		dst = k.value(dst, s.Items, depth+1)
	}
	return append(dst, ']')
}

// appendJSON appends a value that came out of JSON.
func appendJSON(dst []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return append(dst, "null"...)
	}
	return append(dst, text...)
}
