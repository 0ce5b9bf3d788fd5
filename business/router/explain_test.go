package router_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
	"trefoil/business/router"
	"trefoil/concrete/message"
)

type place struct {
	Street string `json:"street"`
	Zip    string `json:"zip"`
	Next   *place `json:"next,omitempty"`
}

// even reads even numbers only.
type even int

func (e *even) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, (*int)(e)); err != nil {
		return err
	}
	if *e%2 != 0 {
		return errors.New("odd")
	}
	return nil
}

type inside struct {
	Name    string              `json:"name"`
	Address place               `json:"address,omitempty"`
	List    []int8              `json:"list,omitempty"`
	Lists   [][]uint16          `json:"lists,omitempty"`
	Places  []place             `json:"places,omitempty"`
	ByName  map[string]place    `json:"by_name,omitempty"`
	ByNum   map[int]bool        `json:"by_num,omitempty"`
	Pair    [2]bool             `json:"pair,omitzero"`
	Bytes   []byte              `json:"bytes,omitempty"`
	When    time.Time           `json:"when,omitzero"`
	Times   map[string]struct{} `json:"times,omitempty"`
	Addr    netip.Addr          `json:"addr,omitzero"`
	Even    []even              `json:"even,omitempty"`
	Quoted  int                 `json:"quoted,string,omitempty"`
	QPtr    *bool               `json:"qptr,string,omitempty"`
	Small   float32             `json:"small,omitempty"`
	Big     uint64              `json:"big,omitempty"`
	Any     any                 `json:"any,omitempty"`
	Num     json.Number         `json:"num,omitempty"`
	Huge    *big.Int            `json:"huge,omitempty"`
	Raw     struct {
		Text json.RawMessage `json:"text"`
		In   []struct {
			N int `json:"n"`
		} `json:"in"`
	} `json:"raw,omitzero"`
}

func TestMisfitNamesThePlace(t *testing.T) {
	tests := []struct {
		name, params, want string
	}{
		{"right", `{"name":"x","address":{"zip":"8","next":{"zip":null}},"list":[1,null],"by_num":{"-1":true},"when":"2006-01-02T15:04:05Z","quoted":"5","even":[2],"big":18446744073709551615,"raw":{"text":{"a":1}}}`, ``},
		{"a member", `{"name":"x","address":{"street":"a","zip":8000}}`, `parameter "address.zip" of m must be string, not integer`},
		{"deeper", `{"name":"x","address":{"next":{"next":{"street":[]}}}}`, `parameter "address.next.next.street" of m must be string, not array`},
		{"an object where a member is", `{"name":"x","address":{"next":5}}`, `parameter "address.next" of m must be object, not integer`},
		{"the last of several is wrong", `{"name":"x","address":{"zip":"8"},"address":{"zip":8}}`, `parameter "address.zip" of m must be string`},
		{"an element", `{"name":"x","list":[1,2,"3"]}`, `parameter "list[2]" of m must be integer, not string`},
		{"an element out of range", `{"name":"x","list":[1,128]}`, `parameter "list[1]" of m does not fit: it must be from -128 to 127`},
		{"an element of an element", `{"name":"x","lists":[[],[1,65536]]}`, `parameter "lists[1][1]" of m does not fit: it must be from 0 to 65535`},
		{"a member of an element", `{"name":"x","places":[{},{"zip":true}]}`, `parameter "places[1].zip" of m must be string, not bool`},
		{"a map's value", `{"name":"x","by_name":{"home":{"zip":1}}}`, `parameter "by_name.home.zip" of m must be string, not integer`},
		{"a map's value with an odd name", `{"name":"x","by_name":{"a.b":{"zip":1}}}`, `parameter "by_name[\"a.b\"].zip" of m must be string`},
		{"a map's key", `{"name":"x","by_num":{"1":true,"x":false}}`, `parameter "by_num.x" of m is no name that a member can have here`},
		{"an array", `{"name":"x","pair":[true,0]}`, `parameter "pair[1]" of m must be bool, not integer`},
		{"no base64", `{"name":"x","bytes":"%"}`, `parameter "bytes" of m does not fit: it must be base64`},
		{"no time", `{"name":"x","when":"monday"}`, `parameter "when" of m does not fit: it must be a time such as "2006-01-02T15:04:05Z"`},
		{"a number for a time", `{"name":"x","when":5}`, `parameter "when" of m must be string, not integer`},
		{"no address", `{"name":"x","addr":"1.2.3"}`, `parameter "addr" of m does not fit: it has no such value`},
		{"what reads itself", `{"name":"x","even":[2,3]}`, `parameter "even[1]" of m does not fit: it has no such value`},
		{"quoted", `{"name":"x","quoted":"x"}`, `parameter "quoted" of m must be a string that holds integer`},
		{"quoted with a string inside", `{"name":"x","qptr":"1"}`, `parameter "qptr" of m must be a string that holds bool`},
		{"not quoted", `{"name":"x","quoted":5}`, `parameter "quoted" of m must be string, not integer`},
		{"a number out of range", `{"name":"x","small":1e39}`, `parameter "small" of m does not fit: it is out of range`},
		{"an integer out of range", `{"name":"x","big":18446744073709551616}`, `it must be from 0 to 18446744073709551615`},
		{"negative", `{"name":"x","big":-1}`, `it must be from 0 to`},
		{"in a struct without a name", `{"name":"x","raw":{"in":[{"n":1},{"n":"x"}]}}`, `parameter "raw.in[1].n" of m must be integer, not string`},
		{"of the wrong kind itself", `{"name":5}`, `parameter "name" of m must be string, not integer`},
		{"too deep to be named", `{"name":"x","address":` + strings.Repeat(`{"next":`, 40) + `5` + strings.Repeat(`}`, 40) + `}`, `does not fit: something inside it is not as it must be`},
	}
	r, log := newRouter()
	handle(t, r, "m", func(_ context.Context, _ inside) (int, error) { return 1, nil })
	handle(t, r, "embedded", func(_ context.Context, _ struct{ inside }) (int, error) { return 1, nil })
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rsp := call(r, "m", tt.params)
			if tt.want == "" {
				require.Equal(t, abstract.OK, rsp.Code, rsp.Message)
				return
			}
			assert.Equal(t, abstract.InvalidParams, rsp.Code)
			assert.Contains(t, rsp.Message, tt.want)
			assert.Contains(t, call(r, "embedded", tt.params).Message, strings.ReplaceAll(tt.want, " of m ", " of embedded "), "whichever way it is decoded")
		})
	}
	assert.Empty(t, log.String(), "a caller's mistakes are not logged here")
}

func TestMisfitNamesTheMemberOfAMap(t *testing.T) {
	r, _ := newRouter()
	handle(t, r, "map", func(_ context.Context, _ map[string]int) (int, error) { return 1, nil })
	rsp := call(r, "map", `{"a":1,"b":"x"}`)
	assert.Equal(t, abstract.InvalidParams, rsp.Code)
	assert.Equal(t, `parameter "b" of map must be integer, not string`, rsp.Message)
}

// lengthSchema takes parameters of no more than a number of bytes.
type lengthSchema int

func (s lengthSchema) Check(method string, params []byte) error {
	if len(params) > int(s) {
		return abstract.Errorf(abstract.InvalidParams, "too long for %s", method)
	}
	return nil
}

func TestSchemasOfRawHandlersAreChecked(t *testing.T) {
	r := router.New(router.Config{Schemas: func(text message.Raw) (router.Schema, error) {
		if string(text) == "bad" {
			return nil, errors.New("no schema")
		}
		return lengthSchema(len(text)), nil
	}})
	h := func(context.Context, message.Raw) (any, error) { return 1, nil }
	d := router.Description{Method: "m", Result: message.Any, Parameters: []router.Parameter{{Name: "a", Kind: message.Integer}}, ParametersSchema: message.Raw(`{"title":"x"}`)}
	require.NoError(t, r.Add(d, h))

	assert.Equal(t, abstract.OK, call(r, "m", `{"a":1}`).Code)
	assert.Contains(t, call(r, "m", `{"a":"x"}`).Message, `"a" of m must be integer`, "the described kinds come first")
	assert.Equal(t, "too long for m", call(r, "m", `{"a":1,"b":"longer"}`).Message)

	for name, d := range map[string]router.Description{
		"parameters":   {Method: "n", Result: message.Any, ParametersSchema: message.Raw("bad")},
		"result":       {Method: "n", Result: message.Any, ResultSchema: message.Raw("bad")},
		"an example":   {Method: "n", Result: message.Any, Examples: []message.Raw{message.Raw(`[]`)}},
		"half of one":  {Method: "n", Result: message.Any, Examples: []message.Raw{message.Raw(`{"a":`)}},
		"without name": {Result: message.Any},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, r.Add(d, h), abstract.ErrInvalidParams)
		})
	}
	plain, _ := newRouter()
	require.Equal(t, abstract.Unsupported, abstract.CodeOf(plain.Add(d, h)))
}

// outer are types that hold a random one in some way.
var outer = map[string]struct {
	of   func(reflect.Type) reflect.Type
	text func(string) string
	path string
}{
	"itself":     {func(t reflect.Type) reflect.Type { return t }, func(s string) string { return s }, "f"},
	"an element": {reflect.SliceOf, func(s string) string { return "[" + s + "]" }, "f[0]"},
	"a value":    {func(t reflect.Type) reflect.Type { return reflect.MapOf(reflect.TypeFor[string](), t) }, func(s string) string { return `{"k":` + s + `}` }, "f.k"},
	"a member": {func(t reflect.Type) reflect.Type {
		return reflect.PointerTo(reflect.StructOf([]reflect.StructField{{Name: "M", Type: t, Tag: `json:"m"`}}))
	}, func(s string) string { return `{"m":` + s + `}` }, "f.m"},
}

// TestWhatCannotBeReadIsNamed puts random values where random types are read: whenever
// that fails, the place is named.
func TestWhatCannotBeReadIsNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom(fieldTypes).Draw(t, "type")
		in := outer[rapid.SampledFrom(slices.Sorted(maps.Keys(outer))).Draw(t, "inside")]
		sample := rapid.SampledFrom(samples).Draw(t, "value")
		params := message.Raw(`{"f":` + in.text(sample) + `}`)
		args := reflect.StructOf([]reflect.StructField{{Name: "F", Type: in.of(typ), Tag: `json:"f,omitempty"`}})
		readable := message.Decode(params, reflect.New(args).Interface()) == nil

		r, _ := newRouter()
		h, d, err := router.Of(abstract.Method{Name: "m", In: args, Out: reflect.TypeFor[int](), Call: func(context.Context, any) (any, error) { return 1, nil }})
		require.NoError(t, err)
		require.NoError(t, r.Add(d, h))
		rsp := call(r, "m", string(params))
		if rsp.Code == abstract.OK {
			require.True(t, readable, "%s %s", args, params)
			return
		}
		require.Contains(t, rsp.Message, `parameter "`+in.path, "%s %s", args, params)
	})
}

// TestExplainingIsBounded: not every place of a large value is read by itself. What is
// wrong with another parameter is found all the same.
func TestExplainingIsBounded(t *testing.T) {
	r := router.New(router.Config{})
	h, d, err := router.Typed(func(context.Context, inside) (int, error) { return 1, nil })
	require.NoError(t, err)
	d.Method = "m"
	require.NoError(t, r.Add(d, h))
	for name, tt := range map[string]struct{ one, wrong string }{
		"places": {`{}`, `1`},
		"list":   {`1`, `"x"`},
		"lists":  {`[]`, `{}`},
	} {
		many := strings.Repeat(tt.one+",", 1000)
		assert.Equal(t, `parameter "`+name+`[1000]" of m must be`, call(r, "m", `{"name":"","`+name+`":[`+many+tt.wrong+`]}`).Message[:len(`parameter "[1000]" of m must be`)+len(name)])
		many = strings.Repeat(many, 100)
		assert.Equal(t, `parameter "`+name+`" of m does not fit: something inside it is not as it must be`, call(r, "m", `{"name":"","`+name+`":[`+many+tt.wrong+`]}`).Message)
		assert.Equal(t, `parameter "small" of m does not fit: it is out of range`, call(r, "m", `{"name":"","`+name+`":[`+many+tt.one+`],"small":1e300}`).Message)
	}
}
