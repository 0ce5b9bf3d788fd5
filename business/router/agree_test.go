package router_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/business/router"
	"trefoil/concrete/message"
)

// Embedded is a struct that random structs add to their own fields.
type Embedded struct {
	A     int `json:"a"`
	F0, E string
}

// values draw values of the types that random fields have, zero ones included.
var values = map[reflect.Type]func(*rapid.T) any{
	reflect.TypeFor[bool]():            func(t *rapid.T) any { return rapid.Bool().Draw(t, "v") },
	reflect.TypeFor[int8]():            func(t *rapid.T) any { return rapid.Int8().Draw(t, "v") },
	reflect.TypeFor[int64]():           func(t *rapid.T) any { return rapid.Int64().Draw(t, "v") },
	reflect.TypeFor[uint64]():          func(t *rapid.T) any { return rapid.Uint64().Draw(t, "v") },
	reflect.TypeFor[float64]():         func(t *rapid.T) any { return rapid.Float64().Draw(t, "v") },
	reflect.TypeFor[string]():          func(t *rapid.T) any { return rapid.String().Draw(t, "v") },
	reflect.TypeFor[[]int]():           func(t *rapid.T) any { return rapid.SampledFrom([][]int{nil, {}, {1, -2}}).Draw(t, "v") },
	reflect.TypeFor[[]byte]():          func(t *rapid.T) any { return rapid.SampledFrom([][]byte{nil, {}, {1, 255}}).Draw(t, "v") },
	reflect.TypeFor[[2]int]():          func(t *rapid.T) any { return [2]int{rapid.Int().Draw(t, "v"), 1} },
	reflect.TypeFor[[2]byte]():         func(t *rapid.T) any { return [2]byte{rapid.Byte().Draw(t, "v"), 1} },
	reflect.TypeFor[map[string]int]():  func(t *rapid.T) any { return rapid.SampledFrom([]map[string]int{nil, {}, {"x": 1}}).Draw(t, "v") },
	reflect.TypeFor[struct{ X int }](): func(t *rapid.T) any { return struct{ X int }{rapid.Int().Draw(t, "v")} },
	reflect.TypeFor[*int]():            func(t *rapid.T) any { return rapid.Ptr(rapid.Int(), true).Draw(t, "v") },
	reflect.TypeFor[*string]():         func(t *rapid.T) any { return rapid.Ptr(rapid.String(), true).Draw(t, "v") },
	reflect.TypeFor[json.RawMessage](): func(t *rapid.T) any {
		return rapid.SampledFrom([]json.RawMessage{nil, json.RawMessage(`{"r":[1]}`)}).Draw(t, "v")
	},
	reflect.TypeFor[time.Time]():     func(t *rapid.T) any { return time.Unix(rapid.Int64Range(0, 1e9).Draw(t, "v"), 0).UTC() },
	reflect.TypeFor[time.Duration](): func(t *rapid.T) any { return time.Duration(rapid.Int64().Draw(t, "v")) },
	reflect.TypeFor[netip.Addr](): func(t *rapid.T) any {
		return rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("::1")}).Draw(t, "v")
	},
	reflect.TypeFor[Embedded]():  func(t *rapid.T) any { return Embedded{rapid.Int().Draw(t, "v"), "f", "e"} },
	reflect.TypeFor[*Embedded](): func(t *rapid.T) any { return rapid.SampledFrom([]*Embedded{nil, {A: 1}}).Draw(t, "v") },
}

// fieldTypes are the types of values in a fixed order.
var fieldTypes = func() []reflect.Type {
	byName := make(map[string]reflect.Type)
	var names []string
	for typ := range values {
		byName[typ.String()] = typ
		names = append(names, typ.String())
	}
	var list []reflect.Type
	slices.Sort(names)
	for _, name := range names {
		list = append(list, byName[name])
	}
	return list
}()

// drawStruct makes a struct type of random fields.
func drawStruct(t *rapid.T) reflect.Type {
	tags := rapid.SampledFrom([]string{
		``, ``, `json:"n%d"`, `json:"n%d,omitempty"`, `json:"n%d,omitzero"`, `json:",omitempty"`, `json:",string"`, `json:"n%d,string,omitempty"`, `json:"-"`, `json:"ü!%d"`,
	})
	var fields []reflect.StructField
	for i := range rapid.IntRange(0, 6).Draw(t, "fields") {
		f := reflect.StructField{
			Name: fmt.Sprint("F", i),
			Type: rapid.SampledFrom(fieldTypes).Draw(t, "type"),
			Tag:  reflect.StructTag(tags.Draw(t, "tag")),
		}
		f.Tag = reflect.StructTag(strings.ReplaceAll(string(f.Tag), "%d", strconv.Itoa(i)))
		if k := f.Type.Kind(); k > reflect.Float64 { // "string" is for numbers and bools
			f.Tag = reflect.StructTag(strings.Replace(string(f.Tag), ",string", "", 1))
		}
		if i == 5 {
			f.Tag = `json:"a"` // hides the one of an Embedded
		}
		if i == 0 && (f.Type == reflect.TypeFor[Embedded]() || f.Type == reflect.TypeFor[*Embedded]()) {
			f.Name, f.Anonymous, f.Tag = "Embedded", true, ""
		}
		fields = append(fields, f)
	}
	return reflect.StructOf(fields)
}

func drawValue(t *rapid.T, typ reflect.Type) reflect.Value {
	v := reflect.New(typ).Elem()
	for i := range typ.NumField() {
		v.Field(i).Set(reflect.ValueOf(values[typ.Field(i).Type](t)))
	}
	return v
}

// TestWhatEncodingJSONWritesIsTaken writes random structs, as a caller does that
// has the same Go type, and takes them as parameters of that type.
func TestWhatEncodingJSONWritesIsTaken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := drawStruct(t)
		v := drawValue(t, typ)
		text, err := json.Marshal(v.Interface())
		require.NoError(t, err)
		d, err := router.Describe(typ, reflect.TypeFor[any]())
		require.NoError(t, err)

		require.NoError(t, d.CheckParameters(text), "%s\n%s", typ, text)
		got := reflect.New(typ)
		require.NoError(t, message.Decode(text, got.Interface()), "%s\n%s", typ, text)
		again, err := json.Marshal(got.Elem().Interface())
		require.NoError(t, err)
		require.JSONEq(t, string(text), string(again), "%s", typ)

		written := make(map[string]bool)
		require.NoError(t, message.Members(text, func(name string, _ message.Raw) bool {
			written[name] = true
			return true
		}))
		for _, p := range d.Parameters {
			require.True(t, written[p.Name] || p.Optional, "%s of %s is not written", p.Name, typ)
			delete(written, p.Name)
		}
		require.Empty(t, written, "%s: not described", typ)
	})
}

// TestWhatIsRefusedDoesNotDecode puts a random value into each parameter in turn:
// what its description refuses, encoding/json could not have read either, but for
// null, which it reads as nothing, and for the array that a []byte may come from.
func TestWhatIsRefusedDoesNotDecode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom(fieldTypes).Draw(t, "type")
		in := reflect.StructOf([]reflect.StructField{{Name: "F", Type: typ, Tag: `json:"f"`}})
		d, err := router.Describe(in, reflect.TypeFor[any]())
		require.NoError(t, err)
		text := message.Raw(`{"f":` + rapid.SampledFrom(samples).Draw(t, "value") + `}`)
		if d.CheckParameters(text) == nil || strings.Contains(string(text), "null") || typ == reflect.TypeFor[[]byte]() {
			return
		}
		require.Error(t, json.Unmarshal(text, reflect.New(in).Interface()), "%s %s", typ, text)
	})
}
