package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"

	"trefoil/abstract"
)

// Check returns nil when the parameters of a method fit the schema, else an error
// with code InvalidParams that names the place: "address.zip" is a member of an
// object, "lines[2]" an element of an array. What it costs is bounded by the length
// of the text, whatever the schema.
func (s *Schema) Check(method string, params []byte) error {
	f, ok := s.fault(params)
	switch {
	case !ok:
		return abstract.Errorf(abstract.InvalidParams, "the parameters of %s are no JSON", method)
	case f == nil:
		return nil
	case f.path == "":
		return abstract.Errorf(abstract.InvalidParams, "what is given as the parameters of %s %s", method, f.problem)
	case f.missing:
		return abstract.Errorf(abstract.InvalidParams, "%s needs a parameter %q%s", method, f.path, f.problem)
	}
	return abstract.Errorf(abstract.InvalidParams, "parameter %q of %s %s", f.path, method, f.problem)
}

// CheckMessage is Check for a message of a topic.
func (s *Schema) CheckMessage(topic string, msg []byte) error {
	f, ok := s.fault(msg)
	switch {
	case !ok:
		return abstract.Errorf(abstract.InvalidParams, "the message to topic %q is no JSON", topic)
	case f == nil:
		return nil
	case f.path == "":
		return abstract.Errorf(abstract.InvalidParams, "the message to topic %q %s", topic, f.problem)
	case f.missing:
		return abstract.Errorf(abstract.InvalidParams, "a message to topic %q needs a member %q%s", topic, f.path, f.problem)
	}
	return abstract.Errorf(abstract.InvalidParams, "%q in the message to topic %q %s", f.path, topic, f.problem)
}

// fault returns the first thing found that is wrong with a text, or nil; not ok: it is no
// JSON.
func (s *Schema) fault(text []byte) (f *fault, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var value any
	if dec.Decode(&value) != nil {
		return nil, false
	}
	c := checker{schema: s, left: freeSteps + stepsPerByte*len(text)}
	return c.check(s.root, value), true
}

// What a check may take: so many places of a schema that are looked at, and so many
// more for each byte. Alternatives inside alternatives could otherwise take
// exponential time.
const (
	freeSteps    = 1 << 14
	stepsPerByte = 64
)

// checker checks one value.
type checker struct {
	schema *Schema
	left   int // steps

	number string     // the last that was compared with values of the schema
	amount *big.Float // the same
}

// fault is the first thing found that is wrong.
type fault struct {
	path    string // from the value that was checked; empty: the value itself
	problem string // "must be string, not integer"; of something missing what it should be
	missing bool
}

func faultf(format string, args ...any) *fault { return &fault{problem: fmt.Sprintf(format, args...)} }

// in puts a fault's place into what it was found in.
func (f *fault) in(step string) *fault {
	switch {
	case f == nil:
		return nil
	case f.path != "" && f.path[0] != '[':
		step += "."
	}
	f.path = step + f.path
	return f
}

// member is the step to a member of an object.
func member(name string) string {
	if name == "" || len(name) > maxShown || strings.ContainsAny(name, `.[]" `) {
		return "[" + strconv.Quote(short(name)) + "]"
	}
	return name
}

func element(i int) string { return "[" + strconv.Itoa(i) + "]" }

// maxShown is how much of a text that came is shown in an error.
const maxShown = 80

func short(s string) string {
	if len(s) > maxShown {
		return strings.ToValidUTF8(s[:maxShown], "") + "..."
	}
	return s
}

// check returns what is wrong with a value.
func (c *checker) check(s *jsonschema.Schema, v any) *fault {
	if c.left--; c.left < 0 {
		return tooLong()
	}
	for _, look := range []func(*jsonschema.Schema, any) *fault{c.kind, c.given, c.inside, c.combined} {
		if f := look(s, v); f != nil {
			return f
		}
	}
	return nil
}

// kind checks the type, and what a scalar is bounded by.
func (c *checker) kind(s *jsonschema.Schema, v any) *fault {
	types := s.Types
	if s.Type != "" {
		types = []string{s.Type}
	}
	if types != nil {
		found := typeOf(v)
		if !slices.Contains(types, found) && !(found == integer && slices.Contains(types, number)) {
			return faultf("must be %s, not %s", words(types), word(found))
		}
	}
	switch v := v.(type) {
	case json.Number:
		return bounded(s, v)
	case string:
		return c.text(s, v)
	}
	return nil
}

func (c *checker) text(s *jsonschema.Schema, v string) *fault {
	if s.MinLength != nil || s.MaxLength != nil {
		n := utf8.RuneCountInString(v)
		if s.MinLength != nil && n < *s.MinLength {
			return faultf("must have at least %d characters, not %d", *s.MinLength, n)
		}
		if s.MaxLength != nil && n > *s.MaxLength {
			return faultf("must have at most %d characters, not %d", *s.MaxLength, n)
		}
	}
	if s.Pattern == "" {
		return nil
	}
	fits, slow := c.match(s.Pattern, v)
	if slow != nil {
		return slow
	}
	if !fits {
		return faultf("must match %s", strconv.Quote(short(s.Pattern)))
	}
	return nil
}

// match looks for a regular expression in a text, which takes longer than other steps.
func (c *checker) match(pattern, text string) (fits bool, slow *fault) {
	if c.left -= matchCost(c.schema.sizes[pattern], len(text)); c.left < 0 {
		return false, tooLong()
	}
	return c.schema.patterns[pattern].MatchString(text), nil
}

func tooLong() *fault { return faultf("takes too long to check; send something simpler") }

// given checks against values that the schema spells out.
func (c *checker) given(s *jsonschema.Schema, v any) *fault {
	if s.Const != nil && !c.equal(*s.Const, v) {
		return faultf("must be %s", shown(*s.Const))
	}
	if s.Enum == nil || slices.ContainsFunc(s.Enum, func(e any) bool { return c.equal(e, v) }) {
		return nil
	}
	if len(s.Enum) == 0 {
		return faultf("can have no value")
	}
	some := s.Enum[:min(len(s.Enum), 10)]
	list := make([]string, 0, len(some)+1)
	for _, e := range some {
		list = append(list, shown(e))
	}
	if len(some) < len(s.Enum) {
		list = append(list, "...")
	}
	return faultf("must be one of %s", strings.Join(list, ", "))
}

// shown is a value of a schema in an error.
func shown(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return "another value"
	}
	return short(string(text))
}

// inside checks what a value is made of.
func (c *checker) inside(s *jsonschema.Schema, v any) *fault {
	switch v := v.(type) {
	case map[string]any:
		return c.object(s, v)
	case []any:
		return c.array(s, v)
	}
	return nil
}

func (c *checker) object(s *jsonschema.Schema, v map[string]any) *fault {
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			return &fault{path: member(name), missing: true, problem: c.wanted(s.Properties[name])}
		}
	}
	if s.MinProperties != nil && len(v) < *s.MinProperties {
		return faultf("must have at least %d members, not %d", *s.MinProperties, len(v))
	}
	if s.MaxProperties != nil && len(v) > *s.MaxProperties {
		return faultf("must have at most %d members, not %d", *s.MaxProperties, len(v))
	}
	if s.Properties == nil && s.PatternProperties == nil && s.AdditionalProperties == nil && s.PropertyNames == nil && s.DependentRequired == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		if f := c.memberOf(s, name, v); f != nil {
			return f
		}
	}
	return nil
}

// wanted says in words what a missing member should be.
func (c *checker) wanted(s *jsonschema.Schema) string {
	for range 8 {
		switch {
		case s == nil:
			return ""
		case s.Type != "":
			return " (" + word(s.Type) + ")"
		case s.Types != nil:
			return " (" + words(s.Types) + ")"
		}
		s = c.schema.target(s.Ref)
	}
	return ""
}

func (c *checker) memberOf(s *jsonschema.Schema, name string, of map[string]any) *fault {
	if s.PropertyNames != nil && c.check(s.PropertyNames, name) != nil {
		return faultf("is no name that a member can have here").in(member(name))
	}
	for _, other := range s.DependentRequired[name] {
		if _, ok := of[other]; !ok {
			return &fault{path: member(other), missing: true, problem: fmt.Sprintf(", as %q is there", short(name))}
		}
	}
	sub, known := s.Properties[name]
	if known {
		if f := c.check(sub, of[name]); f != nil {
			return f.in(member(name))
		}
	}
	for pattern, sub := range s.PatternProperties {
		fits, slow := c.match(pattern, name)
		if slow != nil {
			return slow
		}
		if fits {
			known = true
			if f := c.check(sub, of[name]); f != nil {
				return f.in(member(name))
			}
		}
	}
	if known || s.AdditionalProperties == nil {
		return nil
	}
	if c.schema.closed[s.AdditionalProperties] {
		return faultf("is not known; leave it out").in(member(name))
	}
	return c.check(s.AdditionalProperties, of[name]).in(member(name))
}

func (c *checker) array(s *jsonschema.Schema, v []any) *fault {
	if s.MinItems != nil && len(v) < *s.MinItems {
		return faultf("must have at least %d elements, not %d", *s.MinItems, len(v))
	}
	if s.MaxItems != nil && len(v) > *s.MaxItems {
		return faultf("must have at most %d elements, not %d", *s.MaxItems, len(v))
	}
	for i, e := range v {
		sub := s.Items
		if i < len(s.PrefixItems) {
			sub = s.PrefixItems[i]
		}
		if sub == nil {
			break
		}
		if f := c.check(sub, e); f != nil {
			return f.in(element(i))
		}
	}
	if s.Contains != nil {
		if f := c.contains(s, v); f != nil {
			return f
		}
	}
	if s.UniqueItems {
		return c.unique(v)
	}
	return nil
}

func (c *checker) contains(s *jsonschema.Schema, v []any) *fault {
	n, least := 0, 1
	for _, e := range v {
		if c.check(s.Contains, e) == nil {
			n++
		}
	}
	if s.MinContains != nil {
		least = *s.MinContains
	}
	if n < least {
		return faultf("must have at least %d elements of a certain form, not %d", least, n)
	}
	if s.MaxContains != nil && n > *s.MaxContains {
		return faultf("must have at most %d elements of a certain form, not %d", *s.MaxContains, n)
	}
	return nil
}

func (c *checker) unique(v []any) *fault {
	seen := make(map[string]bool, len(v))
	for i, e := range v {
		key := canonical(e)
		if c.left -= len(key); seen[key] {
			return faultf("is there already").in(element(i))
		}
		seen[key] = true
	}
	return nil
}

// combined checks against other schemas for the same value.
func (c *checker) combined(s *jsonschema.Schema, v any) *fault {
	if s.Ref != "" {
		if f := c.check(c.schema.target(s.Ref), v); f != nil {
			return f
		}
	}
	for _, sub := range s.AllOf {
		if f := c.check(sub, v); f != nil {
			return f
		}
	}
	if f := c.some(s.AnyOf, v, false); f != nil {
		return f
	}
	if f := c.some(s.OneOf, v, true); f != nil {
		return f
	}
	if s.Not != nil && c.check(s.Not, v) == nil {
		return faultf("is of a form that it must not have")
	}
	return c.conditional(s, v)
}

func (c *checker) conditional(s *jsonschema.Schema, v any) *fault {
	if s.If != nil {
		then := s.Then
		if c.check(s.If, v) != nil {
			then = s.Else
		}
		if then != nil {
			if f := c.check(then, v); f != nil {
				return f
			}
		}
	}
	object, _ := v.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(s.DependentSchemas)) {
		if _, ok := object[name]; ok {
			if f := c.check(s.DependentSchemas[name], v); f != nil {
				return f
			}
		}
	}
	return nil
}

// some checks against alternatives, of which one must fit, and only one if exactly
// is set. When all of them but one are for values of another kind, that one's fault
// is told.
func (c *checker) some(list []*jsonschema.Schema, v any, exactly bool) *fault {
	if list == nil {
		return nil
	}
	fits := 0
	var inner []*fault
	for _, sub := range list {
		f := c.check(sub, v)
		switch {
		case f == nil && !exactly:
			return nil
		case f == nil:
			fits++
		case f.path != "":
			inner = append(inner, f)
		}
	}
	switch {
	case fits == 1:
		return nil
	case fits > 1:
		return faultf("fits more than one of the forms that it may have; it must fit one")
	case len(inner) == 1:
		return inner[0]
	case len(list) == 1:
		return c.check(list[0], v)
	}
	return faultf("fits none of the %d forms that it may have", len(list))
}
