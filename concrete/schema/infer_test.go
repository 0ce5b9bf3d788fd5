package schema_test

import (
	"encoding/json"
	"math/big"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/concrete/schema"
)

type address struct {
	Street string `json:"street"`
	Zip    string `json:"zip" jsonschema:"five digits"`
}

type person struct {
	Name string `json:"name" jsonschema:"as the passport has it"`
	address
	Home  address   `json:"home"`
	Work  *address  `json:"work"`
	Age   uint8     `json:"age,omitempty"`
	Born  time.Time `json:"born"`
	Notes []string  `json:"notes"`
	own   int
	Skip  int `json:"-"`
}

type tree struct {
	Value int   `json:"value"`
	Left  *tree `json:"left,omitempty"`
	Right *tree `json:"right,omitempty"`
}

type forest []forest

type self struct {
	Many map[string]self `json:"many"`
}

type loop *loop

type weekday int

func (d weekday) MarshalText() ([]byte, error)  { return []byte("monday"), nil }
func (d *weekday) UnmarshalText(b []byte) error { return nil }

func TestSchemaOfAGoType(t *testing.T) {
	_ = person{own: 1}.own
	tests := []struct {
		name string
		typ  reflect.Type
		want string
	}{
		{"scalars", reflect.TypeFor[struct {
			B bool
			I int
			S int8
			U uint16
			L uint64
			F float32
			T string
		}](), `{"type":"object","properties":{"B":{"type":"boolean"},"I":{"type":"integer"},"S":{"type":"integer","minimum":-128,"maximum":127},
			"U":{"type":"integer","minimum":0,"maximum":65535},"L":{"type":"integer","minimum":0},"F":{"type":"number"},"T":{"type":"string"}},
			"required":["B","I","S","U","L","F","T"]}`},
		{"what may be left out", reflect.TypeFor[struct {
			P *int   `json:"p"`
			A any    `json:"a"`
			E string `json:"e,omitempty"`
			Z string `json:"z,omitzero"`
			R []int  `json:"r"`
		}](), `{"type":"object","properties":{"p":{"type":["integer","null"]},"a":true,"e":{"type":"string"},"z":{"type":"string"},
			"r":{"type":["array","null"],"items":{"type":"integer"}}},"required":["r"]}`},
		{"what writes itself", reflect.TypeFor[struct {
			T time.Time
			D time.Duration
			N netip.Addr
			R json.RawMessage
			J json.Number
			B []byte
			A [2]byte
			W weekday
			G *big.Int
			Q int `json:",string"`
		}](), `{"type":"object","properties":{"T":{"type":"string","format":"date-time"},"D":{"type":"integer"},"N":{"type":"string"},"R":true,"J":{"type":"number"},
			"B":{"type":["string","null"],"contentEncoding":"base64"},"A":{"type":"array","items":{"type":"integer","minimum":0,"maximum":255},"minItems":2,"maxItems":2},
			"W":{"type":"string"},"G":{"type":["integer","null"]},"Q":{"type":"string"}},"required":["T","D","N","R","J","B","A","W","Q"]}`},
		{"embedded, and used more than once", reflect.TypeFor[person](), `{"type":"object","properties":{
			"name":{"type":"string","description":"as the passport has it"},"street":{"type":"string"},"zip":{"type":"string","description":"five digits"},
			"home":{"$ref":"#/$defs/address"},"work":{"anyOf":[{"$ref":"#/$defs/address"},{"type":"null"}]},
			"age":{"type":"integer","minimum":0,"maximum":255},"born":{"type":"string","format":"date-time"},"notes":{"type":["array","null"],"items":{"type":"string"}}},
			"required":["name","street","zip","home","born","notes"],
			"$defs":{"address":{"type":"object","properties":{"street":{"type":"string"},"zip":{"type":"string","description":"five digits"}},"required":["street","zip"]}}}`},
		{"recursive", reflect.TypeFor[tree](), `{"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","properties":{"value":{"type":"integer"},
			"left":{"anyOf":[{"$ref":"#/$defs/tree"},{"type":"null"}]},"right":{"anyOf":[{"$ref":"#/$defs/tree"},{"type":"null"}]}},"required":["value"]}}}`},
		{"a pointer to something recursive", reflect.TypeFor[*tree](), `{"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","properties":{"value":{"type":"integer"},
			"left":{"anyOf":[{"$ref":"#/$defs/tree"},{"type":"null"}]},"right":{"anyOf":[{"$ref":"#/$defs/tree"},{"type":"null"}]}},"required":["value"]}}}`},
		{"recursive through a map", reflect.TypeFor[self](), `{"$ref":"#/$defs/self","$defs":{"self":{"type":"object","properties":{"many":{"type":["object","null"],"additionalProperties":{"$ref":"#/$defs/self"}}},"required":["many"]}}}`},
		{"recursive without a name of its own inside", reflect.TypeFor[struct{ F forest }](), `{"type":"object","properties":{"F":{"$ref":"#/$defs/forest"}},"required":["F"],
			"$defs":{"forest":{"type":["array","null"],"items":{"$ref":"#/$defs/forest"}}}}`},
		{"maps", reflect.TypeFor[struct {
			S map[string]int
			I map[int]bool
			T map[netip.Addr]string
		}](), `{"type":"object","properties":{"S":{"type":["object","null"],"additionalProperties":{"type":"integer"}},
			"I":{"type":["object","null"],"propertyNames":{"pattern":"^-?[0-9]+$"},"additionalProperties":{"type":"boolean"}},
			"T":{"type":["object","null"],"additionalProperties":{"type":"string"}}},"required":["S","I","T"]}`},
		{"what JSON has no values for is left out", reflect.TypeFor[struct {
			C chan int
			F []func()
			M map[float64]int
			L loop
			I int
		}](), `{"type":"object","properties":{"I":{"type":"integer"}},"required":["I"]}`},
		{"a map", reflect.TypeFor[map[string][]int](), `{"type":"object","additionalProperties":{"type":["array","null"],"items":{"type":"integer"}}}`},
		{"anything", reflect.TypeFor[any](), `{"type":"object"}`},
		{"JSON text", reflect.TypeFor[json.RawMessage](), `{"type":"object"}`},
		{"no object", reflect.TypeFor[int](), `{"type":"object"}`},
		{"nothing that JSON has", reflect.TypeFor[chan int](), `{"type":"object"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := schema.Parameters(tt.typ)
			assert.JSONEq(t, tt.want, string(s.JSON()), "%s", s.JSON())
			assert.Same(t, s, schema.Parameters(tt.typ), "it is made once")
			again, err := schema.Parse(s.JSON())
			require.NoError(t, err)
			assert.Equal(t, string(s.Skeleton()), string(again.Skeleton()), "who reads the schema makes the same of it")
		})
	}
}

func TestSchemaOfAResult(t *testing.T) {
	tests := []struct {
		typ  reflect.Type
		want string
	}{
		{reflect.TypeFor[int](), `{"type":"integer"}`},
		{reflect.TypeFor[*int](), `{"type":["integer","object"]}`},
		{reflect.TypeFor[[]int](), `{"type":"array","items":{"type":"integer"}}`},
		{reflect.TypeFor[[]byte](), `{"type":"string","contentEncoding":"base64"}`},
		{reflect.TypeFor[map[string]int](), `{"type":"object","additionalProperties":{"type":"integer"}}`},
		{reflect.TypeFor[any](), `true`},
		{reflect.TypeFor[struct {
			P *int `json:"p"`
			O int  `json:"o,omitempty"`
		}](), `{"type":"object","properties":{"p":{"type":["integer","null"]},"o":{"type":"integer"}},"required":["p"]}`},
		{reflect.TypeFor[*address](), `{"type":"object","properties":{"street":{"type":"string"},"zip":{"type":"string","description":"five digits"}},"required":["street","zip"]}`},
	}
	for _, tt := range tests {
		t.Run(tt.typ.String(), func(t *testing.T) {
			assert.JSONEq(t, tt.want, string(schema.Result(tt.typ).JSON()))
		})
	}
}

func TestSkeleton(t *testing.T) {
	for name, tt := range map[string]struct {
		schema *schema.Schema
		want   string
	}{
		"required ones in their order": {schema.Parameters(reflect.TypeFor[struct {
			Num2 int    `json:"num2"`
			Num1 int    `json:"num1"`
			Note string `json:"note,omitempty"`
		}]()), `{"num2":0,"num1":0}`},
		"all when none are required": {schema.Parameters(reflect.TypeFor[struct {
			Z string `json:"z,omitempty"`
			A bool   `json:"a,omitempty"`
		}]()), `{"z":"","a":false}`},
		"nested":    {schema.Parameters(reflect.TypeFor[person]()), `{"name":"","street":"","zip":"","home":{"street":"","zip":""},"born":"2006-01-02T15:04:05Z","notes":[""]}`},
		"recursive": {schema.Parameters(reflect.TypeFor[tree]()), `{"value":0}`},
		"read again": {parse(t, string(schema.Parameters(reflect.TypeFor[struct {
			Z string `json:"z,omitempty"`
			M struct {
				B *int
				A *int
			} `json:"m,omitempty"`
			A bool `json:"a,omitempty"`
		}]()).JSON())), `{"z":"","m":{"B":0,"A":0},"a":false}`},
		"a name twice": {parse(t, `{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"string"},"b":{"type":"integer"}}}`), `{"b":0,"a":""}`},
		"nothing":      {schema.Parameters(reflect.TypeFor[struct{}]()), `{}`},
		"spelled out": {parse(t, `{"type":"object","required":["c","e","d","x","n","o","u"],"properties":{"c":{"const":"k"},"e":{"enum":[3,4]},"d":{"default":{"a":1}},"x":{"examples":["ex"]},
			"n":{"type":"number","minimum":2.5},"o":{"oneOf":[{"type":"boolean"},{"type":"string"}]}}}`), `{"c":"k","e":3,"d":{"a":1},"x":"ex","n":2.5,"o":false,"u":null}`},
		"endless": {parse(t, `{"type":"object","required":["a"],"properties":{"a":{"$ref":"#"}}}`), `{"a":{"a":{"a":{"a":{"a":{"a":{}}}}}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, string(tt.schema.Skeleton()))
			assert.True(t, json.Valid(tt.schema.Skeleton()))
		})
	}
}

func parse(t testing.TB, text string) *schema.Schema {
	t.Helper()
	s, err := schema.Parse([]byte(text))
	require.NoError(t, err)
	return s
}
