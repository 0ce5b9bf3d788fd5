package schema_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/concrete/schema"
)

// kinds of types, and how a value of each is drawn. Those that hold others draw their
// types as well.
type drawn struct {
	typ   reflect.Type
	value func(t *rapid.T) reflect.Value
}

func scalarOf[T any](gen *rapid.Generator[T]) drawn {
	return drawn{reflect.TypeFor[T](), func(t *rapid.T) reflect.Value { return reflect.ValueOf(gen.Draw(t, "v")) }}
}

func scalars() []drawn {
	return []drawn{
		scalarOf(rapid.Bool()), scalarOf(rapid.Int8()), scalarOf(rapid.Int64()), scalarOf(rapid.Uint16()), scalarOf(rapid.Uint64()), scalarOf(rapid.Float64()), scalarOf(rapid.Float32()), scalarOf(rapid.String()),
		scalarOf(rapid.SampledFrom([][]byte{nil, {}, {1, 255}})),
		scalarOf(rapid.SampledFrom([]json.RawMessage{nil, json.RawMessage(`{"r":[1]}`), json.RawMessage(`"x"`)})),
		scalarOf(rapid.SampledFrom([]json.Number{"0", "-1.5e3"})),
		scalarOf(rapid.SampledFrom([]time.Time{{}, time.Unix(1e9, 5).UTC()})),
		scalarOf(rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("::1")})),
		scalarOf(rapid.SampledFrom([]tree{{}, {Value: 1, Left: &tree{Right: &tree{}}}})),
		scalarOf(rapid.SampledFrom([]forest{nil, {}, {{}, nil, {{}}}})),
		scalarOf(rapid.SampledFrom([]map[int]weekday{nil, {-3: 1}})),
		{reflect.TypeFor[any](), func(t *rapid.T) reflect.Value {
			v := reflect.New(reflect.TypeFor[any]()).Elem()
			if x := rapid.SampledFrom([]any{nil, 1, "x", []any{true}}).Draw(t, "v"); x != nil {
				v.Set(reflect.ValueOf(x))
			}
			return v
		}},
	}
}

func drawType(t *rapid.T, depth int) drawn {
	if depth == 0 || rapid.IntRange(0, 2).Draw(t, "scalar") == 0 {
		return rapid.SampledFrom(scalars()).Draw(t, "type")
	}
	switch rapid.SampledFrom([]string{"pointer", "slice", "array", "map", "struct"}).Draw(t, "kind") {
	case "pointer":
		e := drawType(t, depth-1)
		return drawn{reflect.PointerTo(e.typ), func(t *rapid.T) reflect.Value {
			if rapid.Bool().Draw(t, "nil") {
				return reflect.Zero(reflect.PointerTo(e.typ))
			}
			p := reflect.New(e.typ)
			p.Elem().Set(e.value(t))
			return p
		}}
	case "slice":
		e := drawType(t, depth-1)
		return drawn{reflect.SliceOf(e.typ), func(t *rapid.T) reflect.Value {
			list := reflect.Zero(reflect.SliceOf(e.typ))
			for range rapid.IntRange(0, 2).Draw(t, "len") {
				list = reflect.Append(list, e.value(t))
			}
			return list
		}}
	case "array":
		e := drawType(t, depth-1)
		return drawn{reflect.ArrayOf(2, e.typ), func(t *rapid.T) reflect.Value {
			v := reflect.New(reflect.ArrayOf(2, e.typ)).Elem()
			v.Index(1).Set(e.value(t))
			return v
		}}
	case "map":
		e := drawType(t, depth-1)
		typ := reflect.MapOf(reflect.TypeFor[string](), e.typ)
		return drawn{typ, func(t *rapid.T) reflect.Value {
			if rapid.Bool().Draw(t, "nil") {
				return reflect.Zero(typ)
			}
			m := reflect.MakeMap(typ)
			m.SetMapIndex(reflect.ValueOf(rapid.String().Draw(t, "key")), e.value(t))
			return m
		}}
	}
	return drawStructType(t, depth)
}

func drawStructType(t *rapid.T, depth int) drawn {
	tags := []string{``, `json:"n%d"`, `json:"n%d,omitempty"`, `json:"n%d,omitzero"`, `json:",omitempty"`, `json:"n%d,string"`, `json:"-"`, `json:"same"`, `jsonschema:"what %d is"`}
	var fields []reflect.StructField
	var parts []drawn
	for i := range rapid.IntRange(0, 5).Draw(t, "fields") {
		part := drawType(t, depth-1)
		f := reflect.StructField{Name: fmt.Sprint("F", i), Type: part.typ, Tag: reflect.StructTag(strings.ReplaceAll(rapid.SampledFrom(tags).Draw(t, "tag"), "%d", fmt.Sprint(i)))}
		if i == 0 && rapid.Bool().Draw(t, "embedded") {
			e := rapid.SampledFrom([]drawn{
				scalarOf(rapid.SampledFrom([]Embedded{{}, {A: 1, E: "e"}})),
				scalarOf(rapid.SampledFrom([]*Embedded{nil, {A: 1}})),
			}).Draw(t, "type")
			part, f = e, reflect.StructField{Name: "Embedded", Type: e.typ, Anonymous: true}
		}
		fields, parts = append(fields, f), append(parts, part)
	}
	typ := reflect.StructOf(fields)
	return drawn{typ, func(t *rapid.T) reflect.Value {
		v := reflect.New(typ).Elem()
		for i, p := range parts {
			v.Field(i).Set(p.value(t))
		}
		return v
	}}
}

// Embedded is a struct that random structs add to their own fields.
type Embedded struct {
	A    int `json:"same"`
	F1   string
	E    string `json:"e,omitempty"`
	Self *Embedded
}

// TestWhatEncodingJSONWritesFits writes random values of random struct types: they fit
// the schemas of these as parameters, and as results.
func TestWhatEncodingJSONWritesFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawStructType(t, 3)
		v := d.value(t)
		text, err := json.Marshal(v.Interface())
		require.NoError(t, err)
		for _, s := range []*schema.Schema{schema.Parameters(d.typ), schema.Result(d.typ)} {
			require.NoError(t, s.Check("m", text), "%s\n%s\n%s", d.typ, s.JSON(), text)
			again, err := schema.Parse(s.JSON())
			require.NoError(t, err, "%s\n%s", d.typ, s.JSON())
			require.NoError(t, again.Check("m", text), "%s\n%s\n%s", d.typ, s.JSON(), text)
			require.True(t, json.Valid(s.Skeleton()))
		}
	})
}

// TestEverythingThatIsWrittenIsDescribed looks for the members that a value has.
func TestEverythingThatIsWrittenIsDescribed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawStructType(t, 2)
		text, err := json.Marshal(d.value(t).Interface())
		require.NoError(t, err)
		var members map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(text, &members))
		described := make(map[string]bool)
		for _, m := range schema.Result(d.typ).Members() {
			described[m.Name] = true
			require.False(t, m.Required && members[m.Name] == nil, "%s of %s is not written", m.Name, d.typ)
		}
		for name := range members {
			require.True(t, described[name], "%s of %s is not described", name, d.typ)
		}
	})
}
