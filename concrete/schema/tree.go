package schema

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"trefoil/abstract"
)

// same returns the subschemas that are about the same value as s itself.
func same(root, s *jsonschema.Schema) []*jsonschema.Schema {
	list := slices.Concat(s.AllOf, s.AnyOf, s.OneOf)
	for _, sub := range []*jsonschema.Schema{s.Not, s.If, s.Then, s.Else} {
		if sub != nil {
			list = append(list, sub)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.DependentSchemas)) {
		list = append(list, s.DependentSchemas[name])
	}
	if s.Ref != "" {
		list = append(list, target(root, s.Ref))
	}
	return list
}

// below returns the subschemas that are about what is inside a value, or about
// nothing yet.
func below(s *jsonschema.Schema) []*jsonschema.Schema {
	list := slices.Clone(s.PrefixItems)
	for _, sub := range []*jsonschema.Schema{s.Items, s.Contains, s.AdditionalProperties, s.PropertyNames} {
		if sub != nil {
			list = append(list, sub)
		}
	}
	for _, of := range []map[string]*jsonschema.Schema{s.Properties, s.PatternProperties, s.Defs, s.Definitions} {
		for _, name := range slices.Sorted(maps.Keys(of)) {
			list = append(list, of[name])
		}
	}
	return list
}

// all yields a schema and everything in it, each once.
func all(root *jsonschema.Schema) iter.Seq[*jsonschema.Schema] {
	return func(yield func(*jsonschema.Schema) bool) {
		seen := make(map[*jsonschema.Schema]bool)
		todo := []*jsonschema.Schema{root}
		for len(todo) > 0 {
			s := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if s == nil || seen[s] {
				continue
			}
			seen[s] = true
			if !yield(s) {
				return
			}
			todo = append(append(todo, same(root, s)...), below(s)...)
		}
	}
}

// target returns what a reference stands for, or nil.
func target(root *jsonschema.Schema, ref string) *jsonschema.Schema {
	if ref == "#" {
		return root
	}
	for prefix, defs := range map[string]map[string]*jsonschema.Schema{"#/$defs/": root.Defs, "#/definitions/": root.Definitions} {
		if name, ok := strings.CutPrefix(ref, prefix); ok {
			return defs[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)]
		}
	}
	return nil
}

// kinds are the types that a schema can name.
var kinds = [...]string{"null", "boolean", "object", "array", "number", "string", "integer"}

// checkable returns what of a schema cannot be checked.
func checkable(root *jsonschema.Schema) error {
	for s := range all(root) {
		if word := foreign(s); word != "" {
			return abstract.Errorf(abstract.InvalidParams, "the schema has %s, which is not checked here; say it in another way", word)
		}
		for _, kind := range append(slices.Clone(s.Types), s.Type) {
			if kind != "" && !slices.Contains(kinds[:], kind) {
				return abstract.Errorf(abstract.InvalidParams, "%.40q is no type of JSON values; a schema can name %s", kind, strings.Join(kinds[:], ", "))
			}
		}
		if s.Ref != "" && target(root, s.Ref) == nil {
			return abstract.Errorf(abstract.InvalidParams, `the schema refers to %.80q; it can to "#" and to what stands in its "$defs"`, s.Ref)
		}
	}
	if endless(root) {
		return abstract.Errorf(abstract.InvalidParams, `a "$ref" of the schema leads back to itself without going into the value`)
	}
	return nil
}

// foreign returns a keyword of s that is not checked here; empty: there is none.
func foreign(s *jsonschema.Schema) string {
	for word, has := range map[string]bool{
		`"$id" in it`: s.ID != "", `"$anchor"`: s.Anchor != "", `"$dynamicAnchor"`: s.DynamicAnchor != "", `"$dynamicRef"`: s.DynamicRef != "",
		`"unevaluatedItems"`: s.UnevaluatedItems != nil, `"unevaluatedProperties"`: s.UnevaluatedProperties != nil,
		`an array for "items"`: s.ItemsArray != nil, `"additionalItems"`: s.AdditionalItems != nil,
		`"dependencies"`: len(s.DependencySchemas)+len(s.DependencyStrings) > 0, `"$vocabulary"`: s.Vocabulary != nil,
	} {
		if has {
			return word
		}
	}
	return ""
}

// endless reports whether checking one value against the schema may come back to
// where it was.
func endless(root *jsonschema.Schema) bool {
	const (
		open = iota + 1
		done
	)
	state := make(map[*jsonschema.Schema]int)
	var loops func(*jsonschema.Schema) bool
	loops = func(s *jsonschema.Schema) bool {
		switch state[s] {
		case open:
			return true
		case done:
			return false
		}
		state[s] = open
		if slices.ContainsFunc(same(root, s), loops) {
			return true
		}
		state[s] = done
		return false
	}
	for s := range all(root) {
		if loops(s) {
			return true
		}
	}
	return false
}
