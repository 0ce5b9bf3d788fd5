package schema

import (
	"encoding"
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// Parameters returns the schema of a method's parameters that are read into a Go
// type, as encoding/json reads it. A field's tag `jsonschema:"what it is"` is its
// description. A member is required unless its field is a pointer or an interface,
// or marked omitempty or omitzero. What is inside of parameters is described as
// encoding/json writes it; reading takes more, such as null for everything.
//
// It is made once for each type. A type for which JSON has no values is an
// object, and so is what is no object.
func Parameters(t reflect.Type) *Schema { return made(t, reads) }

// Result returns the schema of a method's result that is written from a Go type, as
// encoding/json writes it; but for what a nil pointer, slice or map is answered
// with: {} or [].
func Result(t reflect.Type) *Schema { return made(t, writes) }

// Value returns the schema of any JSON value that is read into a Go type, as
// encoding/json reads it, such as a message of a stream. A type for which JSON has
// no values is anything.
func Value(t reflect.Type) *Schema { return made(t, values) }

// Of is the text of Value, as the settings of a topic have it.
func Of(t reflect.Type) json.RawMessage { return Value(t).JSON() }

// use is what a schema is made for.
type use uint8

const (
	reads  use = iota // parameters, which are an object
	values            // what else is read
	writes
)

// known remembers schemas of types; that never changes.
var known sync.Map // madeFor -> *Schema

type madeFor struct {
	t reflect.Type
	u use
}

func made(t reflect.Type, u use) *Schema {
	if s, ok := known.Load(madeFor{t, u}); ok {
		return s.(*Schema)
	}
	s, _ := known.LoadOrStore(madeFor{t, u}, infer(t, u))
	return s.(*Schema)
}

func infer(t reflect.Type, u use) *Schema {
	in := inference{use: u, shared: make(map[reflect.Type]*shared)}
	root := in.schema(t)
	if root == nil {
		root = new(jsonschema.Schema)
	}
	in.finish(root)
	if u != values {
		settle(root, t, u)
	}
	text, err := json.Marshal(root)
	if err != nil {
		panic("a schema of " + t.String() + " cannot be written: " + err.Error()) // it holds nothing but texts and numbers
	}
	return compiled(root, text)
}

// settle says of the whole value what calls say of it: parameters are an object, and
// a result is never null.
func settle(root *jsonschema.Schema, t reflect.Type, u use) {
	pointer := t.Kind() == reflect.Pointer
	if root.AnyOf != nil { // a pointer to what refers to itself
		root.Ref, root.AnyOf = root.AnyOf[0].Ref, nil
	}
	types := root.Types
	switch {
	case len(types) == 2 && types[1] == null && pointer && u == writes && types[0] != object:
		root.Types = []string{types[0], object}
	case len(types) == 2 && types[1] == null:
		root.Type, root.Types = types[0], nil
	}
	if u == reads && root.Ref == "" && root.Type != object {
		*root = jsonschema.Schema{Type: object, Defs: root.Defs}
	}
}

// inference makes the schema of one type.
type inference struct {
	use    use
	shared map[reflect.Type]*shared
	order  []*shared
}

// shared is a type that may be there more than once: then it is described once, and
// referred to, which also is how a type can hold itself.
type shared struct {
	goType reflect.Type
	body   *jsonschema.Schema
	places []place
}

// place is where a shared type stands.
type place struct {
	node     *jsonschema.Schema
	nullable bool
}

// maxPointers bounds the pointers that are followed. A type that points at nothing
// but itself has an end there.
const maxPointers = 16

// schema returns the schema of a type; nil when JSON has no values for it.
func (in *inference) schema(t reflect.Type) *jsonschema.Schema {
	nullable := false
	for range maxPointers {
		if t.Kind() != reflect.Pointer {
			break
		}
		t, nullable = t.Elem(), true
	}
	if s := in.own(t); s != nil {
		return orNull(s, nullable)
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Slice, reflect.Array, reflect.Map:
		return in.composite(t, nullable)
	case reflect.Interface:
		return &jsonschema.Schema{}
	}
	s := scalar(t)
	if s == nil {
		return nil
	}
	return orNull(s, nullable)
}

// orNull lets a schema with a type, or types of which null may be one, take null.
func orNull(s *jsonschema.Schema, nullable bool) *jsonschema.Schema {
	if nullable && s.Type != "" {
		s.Type, s.Types = "", []string{s.Type, null}
	}
	return s
}

var (
	timeType   = reflect.TypeFor[time.Time]()
	numberType = reflect.TypeFor[json.Number]()
	bigType    = reflect.TypeFor[big.Int]()

	jsonReader = reflect.TypeFor[json.Unmarshaler]()
	textReader = reflect.TypeFor[encoding.TextUnmarshaler]()
	jsonWriter = reflect.TypeFor[json.Marshaler]()
	textWriter = reflect.TypeFor[encoding.TextMarshaler]()
)

// own returns the schema of a type that reads and writes itself; nil when it does
// not.
func (in *inference) own(t reflect.Type) *jsonschema.Schema {
	switch t {
	case timeType:
		return &jsonschema.Schema{Type: text, Format: "date-time"}
	case numberType:
		return &jsonschema.Schema{Type: number}
	case bigType:
		return &jsonschema.Schema{Type: integer}
	}
	if t.Kind() == reflect.Interface {
		return nil
	}
	inJSON, inText := jsonWriter, textWriter
	if in.use != writes {
		inJSON, inText = jsonReader, textReader
	}
	p := reflect.PointerTo(t)
	switch {
	case p.Implements(inJSON):
		return &jsonschema.Schema{}
	case t.Implements(inText), in.use != writes && p.Implements(inText):
		return &jsonschema.Schema{Type: text}
	case p.Implements(inText): // it depends on where it stands
		return &jsonschema.Schema{}
	}
	return nil
}

// scalar returns the schema of a type that holds nothing; nil when there is none.
func scalar(t reflect.Type) *jsonschema.Schema {
	switch t.Kind() {
	case reflect.Bool:
		return &jsonschema.Schema{Type: boolean}
	case reflect.String:
		return &jsonschema.Schema{Type: text}
	case reflect.Float32, reflect.Float64:
		return &jsonschema.Schema{Type: number}
	case reflect.Int, reflect.Int64:
		return &jsonschema.Schema{Type: integer}
	case reflect.Int8, reflect.Int16, reflect.Int32:
		half := math.Ldexp(1, t.Bits()-1)
		return &jsonschema.Schema{Type: integer, Minimum: jsonschema.Ptr(-half), Maximum: jsonschema.Ptr(half - 1)}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return &jsonschema.Schema{Type: integer, Minimum: jsonschema.Ptr(0.0), Maximum: jsonschema.Ptr(math.Ldexp(1, t.Bits()) - 1)}
	case reflect.Uint, reflect.Uint64, reflect.Uintptr:
		return &jsonschema.Schema{Type: integer, Minimum: jsonschema.Ptr(0.0)}
	}
	return nil
}

// composite returns the place of a type that holds others.
func (in *inference) composite(t reflect.Type, nullable bool) *jsonschema.Schema {
	sh, ok := in.shared[t]
	if !ok {
		sh = &shared{goType: t, body: new(jsonschema.Schema)}
		in.shared[t] = sh
		body := in.body(t)
		if body == nil {
			sh.body = nil
		} else {
			*sh.body = *body
			in.order = append(in.order, sh)
		}
	}
	if sh.body == nil {
		return nil
	}
	node := new(jsonschema.Schema)
	sh.places = append(sh.places, place{node, nullable})
	return node
}

// body describes a type that holds others.
func (in *inference) body(t reflect.Type) *jsonschema.Schema {
	switch t.Kind() {
	case reflect.Struct:
		return in.structure(t)
	case reflect.Map:
		return in.mapping(t)
	case reflect.Slice:
		if e := t.Elem(); e.Kind() == reflect.Uint8 && in.own(e) == nil {
			return &jsonschema.Schema{Types: []string{text, null}, ContentEncoding: "base64"}
		}
	}
	items := in.schema(t.Elem())
	if items == nil {
		return nil
	}
	if t.Kind() == reflect.Slice {
		return &jsonschema.Schema{Types: []string{array, null}, Items: items}
	}
	return &jsonschema.Schema{Type: array, Items: items, MinItems: jsonschema.Ptr(t.Len()), MaxItems: jsonschema.Ptr(t.Len())}
}

// integerNames are the names of members that are made of integers.
const integerNames = "^-?[0-9]+$"

func (in *inference) mapping(t reflect.Type) *jsonschema.Schema {
	values := in.schema(t.Elem())
	if values == nil {
		return nil
	}
	s := &jsonschema.Schema{Types: []string{object, null}, AdditionalProperties: values}
	switch key := t.Key(); {
	case key.Kind() == reflect.String, key.Implements(textWriter), reflect.PointerTo(key).Implements(textReader):
	case key.Kind() >= reflect.Int && key.Kind() <= reflect.Uintptr:
		s.PropertyNames = &jsonschema.Schema{Pattern: integerNames}
	default:
		return nil
	}
	return s
}

func (in *inference) structure(t reflect.Type) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: object, Properties: make(map[string]*jsonschema.Schema)}
	for _, f := range fieldsOf(t) {
		sub := in.schema(f.goType)
		if sub == nil {
			continue
		}
		if f.quoted {
			sub = orNull(&jsonschema.Schema{Type: text}, f.goType.Kind() == reflect.Pointer)
		}
		sub.Description = f.doc
		s.Properties[f.name] = sub
		s.PropertyOrder = append(s.PropertyOrder, f.name)
		if !f.optional && !(in.use != writes && f.hollow()) {
			s.Required = append(s.Required, f.name)
		}
	}
	return s
}

// finish fills in the places of shared types, those with more than one by
// references.
func (in *inference) finish(root *jsonschema.Schema) {
	names := make(map[string]bool)
	for _, sh := range in.order {
		if len(sh.places) == 1 {
			continue
		}
		name := defName(sh.goType, names)
		if root.Defs == nil {
			root.Defs = make(map[string]*jsonschema.Schema)
		}
		root.Defs[name] = sh.body
		for _, p := range sh.places {
			ref := "#/$defs/" + name
			if p.nullable && sh.body.Type != "" {
				p.node.AnyOf = []*jsonschema.Schema{{Ref: ref}, {Type: null}}
				continue
			}
			p.node.Ref = ref
		}
	}
	for _, sh := range in.order {
		if len(sh.places) == 1 {
			p := sh.places[0]
			doc, defs := p.node.Description, p.node.Defs
			*p.node = *orNull(sh.body, p.nullable)
			p.node.Description, p.node.Defs = doc, defs
		}
	}
}

var odd = regexp.MustCompile(`[^A-Za-z0-9_]+`)

// defName names a type in "$defs".
func defName(t reflect.Type, taken map[string]bool) string {
	base := odd.ReplaceAllString(t.Name(), "_")
	if base == "" {
		base = strings.ToLower(t.Kind().String())
	}
	name := base
	for i := 2; taken[name]; i++ {
		name = base + strconv.Itoa(i)
	}
	taken[name] = true
	return name
}
