package router_test

import (
	"encoding/json"
	"math/big"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/router"
	"trefoil/concrete/message"
)

type named string

type everyKind struct {
	Bool     bool                `json:"bool"`
	Int      int8                `json:"int"`
	Uint     uint64              `json:"uint"`
	Float    float32             `json:"float"`
	Text     string              `json:"text"`
	Named    named               `json:"named"`
	List     []int               `json:"list"`
	Fixed    [2]string           `json:"fixed"`
	Bytes    []byte              `json:"bytes"`
	Map      map[string]int      `json:"map"`
	Struct   struct{ X int }     `json:"struct"`
	Any      any                 `json:"any"`
	Raw      json.RawMessage     `json:"raw"`
	Number   json.Number         `json:"number"`
	Time     time.Time           `json:"time"`
	Big      big.Int             `json:"big"`
	Addr     netip.Addr          `json:"addr"`
	Pointer  *int                `json:"pointer"`
	Deep     **bool              `json:"deep"`
	Omit     int                 `json:"omit,omitempty"`
	Zero     int                 `json:"zero,omitzero"`
	Quoted   int64               `json:"quoted,string"`
	NoEffect []int               `json:"no effect,string"` //nolint:staticcheck // that it has no effect is tested
	Wait     time.Duration       `json:"wait"`
	Texts    map[string][]string `json:"texts"`
}

type Inner struct {
	A    int `json:"a"`
	B    int
	Both int `json:"both"`
}

type other struct {
	C    string `json:"c"`
	Both int    `json:"both"`
}

type tagged struct {
	X bool `json:"B"`
}

type Recursive struct {
	*Recursive
	Name string `json:"name"`
	Next *Recursive
}

type names struct {
	Plain   int
	hidden  int
	Ignored int `json:"-"`
	Dash    int `json:"-,"` //nolint:staticcheck // it means what we mean
	Keep    int `json:",omitempty"`
	Bad     int `json:"a\"b"` //nolint:staticcheck // encoding/json passes over such a name
	Odd     int `json:"grüße.x/y"`
}

func TestParametersAreTheFieldsAsEncodingJSONSeesThem(t *testing.T) {
	tests := []struct {
		name string
		in   reflect.Type
		want string
	}{
		{"every kind", reflect.TypeFor[everyKind](), "(bool bool, int integer, uint integer, float number, text string, named string, " +
			"list array, fixed array, bytes string, map object, struct object, any any?, raw any, number number, time string, big any, addr string, " +
			"pointer integer?, deep bool?, omit integer?, zero integer?, quoted string, no effect array, wait integer, texts object) any"},
		{"names", reflect.TypeFor[names](), "(Plain integer, - integer, Keep integer?, Bad integer, grüße.x/y integer) any"},
		{"embedded structs", reflect.TypeFor[struct {
			Inner
			*other
			A string `json:"a"`
		}](), "(B integer, c string?, a string) any"},
		{"a tag beats none", reflect.TypeFor[struct {
			Inner
			X struct{} `json:"B"`
		}](), "(a integer, both integer, B object) any"},
		{"a tag beats none beside it", reflect.TypeFor[struct {
			Inner
			tagged
		}](), "(a integer, both integer, B bool) any"},
		{"an embedded struct with a name is a parameter", reflect.TypeFor[struct {
			Inner `json:"inner"`
		}](), "(inner object) any"},
		{"an embedded value", reflect.TypeFor[struct{ named }](), "() any"},
		{"a recursive struct", reflect.TypeFor[Recursive](), "(name string, Next object?) any"},
		{"pointer to a struct", reflect.TypeFor[**Inner](), "(a integer, B integer, both integer) any"},
		{"map", reflect.TypeFor[map[string]int](), "() any"},
		{"any", reflect.TypeFor[any](), "() any"},
		{"raw", reflect.TypeFor[message.Raw](), "() any"},
		{"a type that reads JSON itself", reflect.TypeFor[big.Int](), "() any"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := router.Describe(tt.in, reflect.TypeFor[any]())
			require.NoError(t, err)
			assert.Equal(t, tt.want, d.String())
		})
	}
	_ = names{hidden: 0}
}

func TestParametersAreAnObject(t *testing.T) {
	for _, in := range []reflect.Type{
		reflect.TypeFor[int](), reflect.TypeFor[string](), reflect.TypeFor[[]int](), reflect.TypeFor[[2]int](),
		reflect.TypeFor[*bool](), reflect.TypeFor[json.Number](), reflect.TypeFor[netip.Addr](), reflect.TypeFor[[]byte](),
	} {
		t.Run(in.String(), func(t *testing.T) {
			_, err := router.Describe(in, reflect.TypeFor[any]())
			require.ErrorIs(t, err, abstract.ErrInvalidParams)
			assert.Contains(t, err.Error(), "take a struct or a map, not "+in.String())
		})
	}
}

func TestResultKind(t *testing.T) {
	tests := map[reflect.Type]message.Kind{
		reflect.TypeFor[int]():            message.Integer,
		reflect.TypeFor[float64]():        message.Number,
		reflect.TypeFor[Inner]():          message.Object,
		reflect.TypeFor[*Inner]():         message.Object,
		reflect.TypeFor[map[string]any](): message.Object,
		reflect.TypeFor[[]Inner]():        message.Array,
		reflect.TypeFor[*int]():           message.Any, // nil is {}
		reflect.TypeFor[*[]int]():         message.Any,
		reflect.TypeFor[any]():            message.Any,
		reflect.TypeFor[message.Raw]():    message.Any,
		reflect.TypeFor[time.Time]():      message.String,
	}
	for out, want := range tests {
		t.Run(out.String(), func(t *testing.T) {
			d, err := router.Describe(reflect.TypeFor[any](), out)
			require.NoError(t, err)
			assert.Equal(t, want, d.Result)
		})
	}
}

// decodable are types whose descriptions must agree with the decoder.
var decodable = []reflect.Type{
	reflect.TypeFor[everyKind](), reflect.TypeFor[names](), reflect.TypeFor[Inner](), reflect.TypeFor[Recursive](),
	reflect.TypeFor[struct {
		Inner
		*other
		A string `json:"a"`
	}](),
	reflect.TypeFor[struct {
		Inner
		B bool
	}](),
	reflect.TypeFor[struct {
		Inner
		tagged
	}](),
}

// samples are values of every kind that fit small Go types too.
var samples = []string{
	`null`, `true`, `0`, `1`, `-1.0`, `1e2`, `2.5`, `"x"`, `"12"`, `"aGk="`, `"10.0.0.1"`, `"2026-01-02T03:04:05Z"`,
	`[]`, `["a"]`, `[1,2]`, `{}`, `{"X":1}`, `{"a":1}`, `{"name":"n"}`,
}

// TestDescriptionCheckAndDecoderAgree gives every parameter every sample. What the
// decoder takes the check accepts (but for null, which the decoder turns into
// nothing), and each described parameter is one that the decoder fills.
func TestDescriptionCheckAndDecoderAgree(t *testing.T) {
	stricter := map[string]bool{
		"number": true, // a json.Number takes any string too
		"bytes":  true, // a []byte takes an array of numbers too
	}
	for _, in := range decodable {
		d, err := router.Describe(in, reflect.TypeFor[any]())
		require.NoError(t, err)
		require.NotEmpty(t, d.Parameters)
		for _, p := range d.Parameters {
			known := false
			for _, value := range samples {
				name, err := message.Encode(p.Name)
				require.NoError(t, err)
				params := message.Raw(`{` + string(name) + `:` + value + `}`)
				checked := router.Description{Method: "m", Parameters: []router.Parameter{p}}.CheckParameters(params)
				target := reflect.New(in)
				decoded := message.Decode(params, target.Interface())
				known = known || decoded != nil || !target.Elem().IsZero()
				if decoded == nil && value != "null" && !stricter[p.Name] {
					assert.NoError(t, checked, "%s for %s of %s: the decoder takes it", value, p.Name, in)
				}
			}
			assert.True(t, known, "the decoder does not know %s of %s", p.Name, in)
		}
	}
}

// TestWhatEncodesIsAccepted encodes a value of every kind; then each member is
// left out or null, and only missed where it is needed.
func TestWhatEncodesIsAccepted(t *testing.T) {
	one, yes := 1, true
	deep := &yes
	full := everyKind{
		Any: 1, Raw: json.RawMessage(`[]`), Number: "5", Pointer: &one, Deep: &deep, List: []int{}, Bytes: []byte("x"),
		Map: map[string]int{}, Addr: netip.MustParseAddr("::1"), Texts: map[string][]string{}, NoEffect: []int{1}, Omit: 1, Zero: 1,
	}
	d, err := router.Describe(reflect.TypeOf(full), reflect.TypeFor[any]())
	require.NoError(t, err)
	text, err := json.Marshal(full)
	require.NoError(t, err)
	require.NoError(t, d.CheckParameters(text))

	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(text, &members))
	assert.Len(t, members, len(d.Parameters), "all of them are described")
	for _, p := range d.Parameters {
		for _, without := range []json.RawMessage{nil, json.RawMessage(`null`)} {
			rest := make(map[string]json.RawMessage)
			for name, value := range members {
				rest[name] = value
			}
			rest[p.Name] = without
			if without == nil {
				delete(rest, p.Name)
			}
			text, err := json.Marshal(rest)
			require.NoError(t, err)
			problem := d.CheckParameters(text)
			if p.Optional || without != nil && (p.Nullable || p.Kind == message.Any) {
				assert.NoError(t, problem, p.Name)
			} else {
				assert.ErrorIs(t, problem, abstract.ErrInvalidParams, p.Name)
				assert.ErrorContains(t, problem, p.Name)
			}
		}
	}
}
