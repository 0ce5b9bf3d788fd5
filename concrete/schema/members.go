package schema

import (
	"maps"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"
)

// Member is a member of the objects that a schema is for.
type Member struct {
	Name     string
	Type     string // bool, integer, number, string, array, object, or any
	Required bool
}

// Members returns the members that the schema names, those that are required first.
func (s *Schema) Members() []Member {
	top := s.resolved(s.root)
	names := slices.Clone(top.Required)
	rest := top.PropertyOrder
	if rest == nil {
		rest = slices.Sorted(maps.Keys(top.Properties))
	}
	for _, name := range rest {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	list := make([]Member, 0, len(names))
	for i, name := range names {
		list = append(list, Member{Name: name, Type: s.typeOf(top.Properties[name]), Required: i < len(top.Required)})
	}
	return list
}

// Type returns what the schema is for: bool, integer, number, string, array, object,
// or any.
func (s *Schema) Type() string { return s.typeOf(s.root) }

// resolved follows references, but not for ever.
func (s *Schema) resolved(sub *jsonschema.Schema) *jsonschema.Schema {
	for range 8 {
		if sub == nil || sub.Ref == "" {
			break
		}
		sub = s.target(sub.Ref)
	}
	if sub == nil {
		return new(jsonschema.Schema)
	}
	return sub
}

func (s *Schema) typeOf(sub *jsonschema.Schema) string {
	sub = s.resolved(sub)
	types := slices.DeleteFunc(slices.Clone(sub.Types), func(t string) bool { return t == null })
	switch {
	case sub.Type != "":
		return word(sub.Type)
	case len(types) == 1:
		return word(types[0])
	case len(sub.AnyOf) == 2 && sub.AnyOf[1].Type == null:
		return s.typeOf(sub.AnyOf[0])
	}
	return "any"
}
