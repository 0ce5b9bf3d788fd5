package message_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// standard is encoding/json without its escaping of HTML.
func standard(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	require.NoError(t, e.Encode(v))
	return strings.TrimSuffix(b.String(), "\n")
}

type order struct {
	ID      int64             `json:"id"`
	Text    string            `json:"text,omitempty"`
	Items   []item            `json:"items"`
	Tags    map[string]string `json:"tags"`
	Price   float64           `json:"price"`
	Data    []byte            `json:"data"`
	Extra   any               `json:"extra"`
	Raw     json.RawMessage   `json:"raw,omitempty"`
	Next    *order            `json:"next,omitempty"`
	Quoted  int               `json:"quoted,string"`
	Taken   time.Duration     `json:"taken"`
	hidden  int
	Omitted int `json:"-"`
}

type item struct {
	Name  string
	Count uint8 `json:"count"`
}

func TestEncodeWritesWhatEncodingJSONWrites(t *testing.T) {
	for _, v := range []any{
		nil, true, 0, -1, uint64(math.MaxUint64), 1.5, 1e21, 1e-7, float32(0.1), "", "<a href='x'>&</a>", "\u2028\u2029\x01\xff",
		[]int{1, 2}, []int(nil), []byte("abc"), map[string]int{"b": 1, "a": 2}, map[int]bool{2: true, 10: false}, [2]string{"a", "b"},
		order{ID: 1, Items: []item{{"n", 3}}, Extra: []any{nil, 1.0, "x"}, Raw: json.RawMessage(`{"a":[1]}`), Next: &order{Text: "<"}, Omitted: 1, hidden: 1},
		&order{}, (*order)(nil), time.Date(2024, 5, 6, 7, 8, 9, 10, time.UTC), time.Second, json.Number("1.50"), struct{}{}, errors.New("x"),
	} {
		raw, err := message.Encode(v)
		require.NoError(t, err)
		assert.Equal(t, standard(t, v), string(raw), "%#v", v)
	}
}

func TestEncodeKeepsRawsThatAreValid(t *testing.T) {
	raw, err := message.Encode(message.Raw(` {"a": 2.0} `))
	require.NoError(t, err)
	assert.Equal(t, ` {"a": 2.0} `, string(raw))
	raw, err = message.Encode(message.Raw(nil))
	require.NoError(t, err)
	assert.Equal(t, "null", string(raw))
	for _, bad := range []string{"", "{", "{} x", "nul"} {
		_, err = message.Encode(message.Raw(bad))
		assert.Equal(t, abstract.InvalidParams, abstract.CodeOf(err), bad)
	}
}

func TestEncodeRefusesWhatIsNoJSON(t *testing.T) {
	loop := &order{}
	loop.Next = loop
	for name, v := range map[string]any{
		"channel": make(chan int), "function": func() {}, "NaN": math.NaN(), "infinity": math.Inf(1), "bad raw": order{Raw: message.Raw("{")}, "loop": loop,
	} {
		_, err := message.Encode(v)
		assert.Equal(t, abstract.InvalidParams, abstract.CodeOf(err), name)
		var e *abstract.Error
		require.ErrorAs(t, err, &e, name)
		assert.NotContains(t, reflect.TypeOf(e.Err).PkgPath(), "go-json", name)
	}
}

func TestResultsAreNeverNull(t *testing.T) {
	var nilSlice []string
	for _, c := range []struct {
		name string
		v    any
		want string
	}{
		{"nothing", nil, `{}`},
		{"nil pointer", (*order)(nil), `{}`},
		{"nil slice", []string(nil), `[]`},
		{"pointer to a nil slice", &nilSlice, `[]`},
		{"nil map", map[string]int(nil), `{}`},
		{"nil bytes", []byte(nil), `""`},
		{"nil Raw", message.Raw(nil), `{}`},
		{"null Raw", message.Raw(" null\n"), `{}`},
		{"value", 5, `5`},
		{"empty slice", []int{}, `[]`},
		{"nil slice in a struct", struct{ A []int }{}, `{"A":null}`},
	} {
		raw, err := message.EncodeResult(c.v)
		require.NoError(t, err, c.name)
		assert.Equal(t, c.want, string(raw), c.name)
	}
	_, err := message.EncodeResult(make(chan int))
	assert.Equal(t, abstract.InvalidParams, abstract.CodeOf(err))
}

// TestDecodeReadsWhatEncodingJSONReads compares acceptance and value.
func TestDecodeReadsWhatEncodingJSONReads(t *testing.T) {
	targets := []any{order{}, map[string]json.RawMessage{}, []int{}, [2]int{}, "", 0, uint8(0), 0.5, true, []byte{}, &order{}, time.Time{}, map[int]string{}}
	for _, text := range []string{
		`{"id":9007199254740993,"text":"\u00e9\ud83d","items":[{"Name":"n","count":255}],"tags":{"a":"b","a":"c"},"data":"YWJj","raw":{"x":[1, 2]},"quoted":"5","taken":1000}`,
		`{"id":"x"}`, `{"items":[{"count":256}]}`, `{"items":null,"id":null}`, `{"data":"!"}`, `{"next":{"next":{"id":3}}}`, `{"unknown":[{}]}`,
		`null`, `5`, `-5`, `300`, `2.5`, `"YWJj"`, `"2024-05-06T07:08:09Z"`, `true`, `[1,2]`, `[1,2,3]`, `[]`, `{}`, `{"1":"a"}`, ``, `{`, `[1,]`, `{} x`, "\ufeff{}",
		"\"\xff\"", `"\ud800"`,
	} {
		for _, target := range targets {
			want, got := reflect.New(reflect.TypeOf(target)), reflect.New(reflect.TypeOf(target))
			wantErr := json.Unmarshal([]byte(text), want.Interface())
			if text == "" {
				wantErr = nil // nothing is null for us
			}
			err := message.Decode(message.Raw(text), got.Interface())
			assert.Equal(t, wantErr == nil, err == nil, "%s into %T: %v, %v", text, target, wantErr, err)
			if err == nil {
				assert.Equal(t, want.Elem().Interface(), got.Elem().Interface(), "%s into %T", text, target)
			} else {
				assert.Equal(t, abstract.InvalidParams, abstract.CodeOf(err))
			}
		}
	}
}

func TestDecodeTakesNamesByTheirCase(t *testing.T) {
	var v struct {
		Num1 int `json:"num1"`
		Sub  []struct {
			Name string
			name string
		}
		Tags map[string]int
	}
	require.NoError(t, message.Decode(message.Raw(`{"num1":1,"Num1":2,"NUM1":3,"sub":5,"Sub":[{"Name":"a","NAME":"b","name":"c"}],"Tags":{"num1":4,"NUM1":5}}`), &v))
	assert.Equal(t, 1, v.Num1)
	assert.Equal(t, "a", v.Sub[0].Name)
	assert.Equal(t, map[string]int{"num1": 4, "NUM1": 5}, v.Tags)
}

func TestDecodeTakesIntegralNumbersAsIntegers(t *testing.T) {
	var v struct {
		A, B, C int
		D       int8
		E       *uint64
		F       []int64
		G       float64
		H       string
		I       map[string]int
	}
	require.NoError(t, message.Decode(message.Raw(
		`{"A":2.0,"B":2e3,"C":-20.00E-1,"D":12.70e1,"E":1844674407370955161.5e1,"F":[1.0,-9223372036854775808.0],"G":2.0,"H":"2.0","I":{"2.0":-0.0}}`), &v))
	assert.Equal(t, []int{2, 2000, -2}, []int{v.A, v.B, v.C})
	assert.Equal(t, int8(127), v.D)
	assert.Equal(t, uint64(math.MaxUint64), *v.E)
	assert.Equal(t, []int64{1, math.MinInt64}, v.F)
	assert.Equal(t, 2.0, v.G)
	assert.Equal(t, "2.0", v.H)
	assert.Equal(t, map[string]int{"2.0": 0}, v.I)
	for _, bad := range []string{`{"A":2.5}`, `{"D":128.0}`, `{"A":1e99}`, `{"A":1e-1}`, `{"A":"2.0"}`, `{"A":1e999999999999}`} {
		assert.Equal(t, abstract.InvalidParams, abstract.CodeOf(message.Decode(message.Raw(bad), &v)), bad)
	}
}

func TestUntypedNumbersStayExact(t *testing.T) {
	text := message.Raw(`{"a":9007199254740993,"b":[1.5,{"c":-9223372036854775808}],"d":2.0,"e":1e400,"f":"5","g":null}`)
	want := map[string]any{
		"a": json.Number("9007199254740993"), "b": []any{json.Number("1.5"), map[string]any{"c": json.Number("-9223372036854775808")}},
		"d": json.Number("2"), "e": json.Number("1e400"), "f": "5", "g": nil,
	}
	var v any
	require.NoError(t, message.Decode(text, &v))
	assert.Equal(t, want, v)
	var m map[string]any
	require.NoError(t, message.Decode(text, &m))
	assert.Equal(t, want, m)
	var s struct {
		A any            `json:"a"`
		B []any          `json:"b"`
		X map[string]any `json:"x"`
		D int            `json:"d"`
	}
	require.NoError(t, message.Decode(text, &s))
	assert.Equal(t, want["a"], s.A)
	assert.Equal(t, want["b"], s.B)
	assert.Equal(t, 2, s.D)

	var n int
	v = &n
	require.NoError(t, message.Decode(message.Raw("5"), &v))
	assert.Equal(t, 5, n, "a pointer in an interface is followed, as by encoding/json")
}

func TestDecodeLeavesTheTextAlone(t *testing.T) {
	text := []byte(`{"text":"some words","raw":{"a":1},"data":"YWJj"}`)
	var v order
	require.NoError(t, message.Decode(text, &v))
	for i := range text {
		text[i] = 'x'
	}
	assert.Equal(t, "some words", v.Text)
	assert.Equal(t, `{"a":1}`, string(v.Raw))
	assert.Equal(t, "abc", string(v.Data))

	raw := message.Raw("5")
	var same message.Raw
	require.NoError(t, message.Decode(raw, &same))
	assert.Equal(t, raw, same)
}

func TestDecodeErrorsSayWhereAndNoMore(t *testing.T) {
	var v order
	err := message.Decode(message.Raw(`{"items":[{"count":1},{"count":"x"}]}`), &v)
	var e *abstract.Error
	require.ErrorAs(t, err, &e)
	assert.Contains(t, e.Message, `"/items/1/count"`)
	assert.NotContains(t, e.Message, "uint8", "a peer does not care for our types")
	assert.NotContains(t, reflect.TypeOf(e.Err).PkgPath(), "go-json")

	err = message.Decode(message.Raw(`{"items":[`+strings.Repeat("x", 1000)), &v)
	require.ErrorAs(t, err, &e)
	assert.Less(t, len(e.Message), 200, "what a peer sent is not repeated at any length")

	for name, target := range map[string]any{"nil": nil, "no pointer": order{}, "nil pointer": (*order)(nil)} {
		assert.Error(t, message.Decode(message.Raw(`{}`), target), name)
	}
}

func TestKinds(t *testing.T) {
	for text, want := range map[string]message.Kind{
		`true`: message.Bool, `false`: message.Bool, `null`: message.Null, `"x"`: message.String, ` [1] `: message.Array, "\n{}": message.Object,
		`0`: message.Integer, `-0`: message.Integer, `2.0`: message.Integer, `2e0`: message.Integer, `20e-1`: message.Integer, ` 5 `: message.Integer,
		`1e400`: message.Integer, `0e-5`: message.Integer, `0.000e-99999999999999999999`: message.Integer, `100000000000000000000`: message.Integer,
		`1.50e1`: message.Integer, `1e99999999999999999999`: message.Integer,
		`2.5`: message.Number, `1e-1`: message.Number, `20e-2`: message.Number, `1.5e0`: message.Number, `1e-99999999999999999999`: message.Number,
		``: message.Invalid, `x`: message.Invalid,
	} {
		assert.Equal(t, want, message.KindOf(message.Raw(text)), text)
	}
	assert.True(t, message.Integer.Fits(message.Number))
	assert.True(t, message.Null.Fits(message.Any))
	assert.False(t, message.Number.Fits(message.Integer))
	assert.False(t, message.Null.Fits(message.Object))
}

func TestMembersStopsWhenTold(t *testing.T) {
	var names []string
	err := message.Members(message.Raw(`{"a":1,"\u0062":2,"c":`), func(name string, value message.Raw) bool {
		names = append(names, name+"="+string(value))
		return name != "b"
	})
	require.NoError(t, err, "what follows is not looked at")
	assert.Equal(t, []string{"a=1", "b=2"}, names)
	for _, bad := range []string{"", "null", "[]", `{"a":1`, `{"a":1}}`} {
		err = message.Members(message.Raw(bad), func(string, message.Raw) bool { return true })
		assert.Equal(t, abstract.ParseFailed, abstract.CodeOf(err), bad)
	}
}
