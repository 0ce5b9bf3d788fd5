package protostub_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"trefoil/abstract"
	"trefoil/business/protostub"
	"trefoil/business/protostub/internal/everything"
	"trefoil/business/protostub/internal/old"
	"trefoil/business/protostub/internal/opaque"
)

func TestTextIsWhatProtojsonWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, m := range []proto.Message{&everything.All{}, &old.Order{}, &old.Extendable{}, &opaque.Parcel{}} {
			fill(t, m.ProtoReflect(), 3)
			text, err := protostub.Marshal(m)
			require.NoError(t, err)
			want, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
			require.NoError(t, err)
			require.JSONEq(t, string(want), string(text))

			again := m.ProtoReflect().New().Interface()
			require.NoError(t, protostub.Unmarshal(text, again), "%s", text)
			require.True(t, proto.Equal(m, again), "%s\n%v\n%v", text, m, again)
			theirs := m.ProtoReflect().New().Interface()
			require.NoError(t, protojson.Unmarshal(text, theirs), "%s", text)
			require.True(t, proto.Equal(m, theirs), "%s", text)

			same, err := protostub.Marshal(again)
			require.NoError(t, err)
			require.Equal(t, string(text), string(same), "equal messages have equal texts")
		}
	})
}

func TestExtensionsAreKept(t *testing.T) {
	m := &old.Extendable{Name: proto.String("Eve")}
	proto.SetExtension(m, old.E_Age, int32(33))
	text, err := protostub.Marshal(m)
	require.NoError(t, err)
	require.JSONEq(t, `{"name":"Eve","[test.old.age]":33}`, string(text))
	var again old.Extendable
	require.NoError(t, protostub.Unmarshal(text, &again))
	assert.True(t, proto.Equal(m, &again))
}

// TestMessagesMadeAtRunTimeAreTaken has messages of the same description as generated
// ones, and of another Go type.
func TestMessagesMadeAtRunTimeAreTaken(t *testing.T) {
	want := &everything.Nested_Inner{Name: "x", Size: everything.Nested_Inner_LARGE}
	text, err := protostub.Marshal(want)
	require.NoError(t, err)
	made := dynamicpb.NewMessage(want.ProtoReflect().Descriptor())
	require.NoError(t, protostub.Unmarshal(text, made))
	assert.True(t, proto.Equal(want, made))
	again, err := protostub.Marshal(made)
	require.NoError(t, err)
	assert.Equal(t, string(text), string(again))
}

// TestWhatIsTaken has texts that others may write, and what is written of them.
func TestWhatIsTaken(t *testing.T) {
	scalars := func(text string) string {
		return strings.Replace(`{"bool":false,"int32":0,"sint32":0,"sfixed32":0,"uint32":0,"fixed32":0,"int64":"0","sint64":"0","sfixed64":"0","uint64":"0","fixed64":"0","float":0,"double":0,"string":"","bytes":"","colour":"RED"}`,
			text[:strings.Index(text, ":")+1]+zeroOf(text), text, 1)
	}
	tests := []struct {
		name, text string
		as         proto.Message
		want       string
	}{
		{"nothing", ` { } `, &everything.Optionals{}, `{}`},
		{"an integer with a point", `{"int32":2.0}`, &everything.Scalars{}, scalars(`"int32":2`)},
		{"an integer as text", `{"int32":"-2"}`, &everything.Scalars{}, scalars(`"int32":-2`)},
		{"a long integer as a number", `{"int64":-9223372036854775808}`, &everything.Scalars{}, scalars(`"int64":"-9223372036854775808"`)},
		{"a long integer with an exponent", `{"uint64":1.8e19}`, &everything.Scalars{}, scalars(`"uint64":"18000000000000000000"`)},
		{"the largest integer", `{"uint64":18446744073709551615}`, &everything.Scalars{}, scalars(`"uint64":"18446744073709551615"`)},
		{"a number as text", `{"double":"1e3"}`, &everything.Scalars{}, scalars(`"double":1000`)},
		{"an integer as number", `{"float":7}`, &everything.Scalars{}, scalars(`"float":7`)},
		{"no number", `{"double":"NaN"}`, &everything.Scalars{}, scalars(`"double":"NaN"`)},
		{"text with escapes", `{"string":"\u00fc\n\ud83d\ude00"}`, &everything.Scalars{}, scalars(`"string":"ü\n😀"`)},
		{"half a character", `{"string":"\ud83d"}`, &everything.Scalars{}, scalars("\"string\":\"\ufffd\"")},
		{"bytes for addresses, without padding", `{"bytes":"_-8"}`, &everything.Scalars{}, scalars(`"bytes":"/+8="`)},
		{"an enum's number", `{"colour":1}`, &everything.Scalars{}, scalars(`"colour":"GREEN"`)},
		{"an enum's other name", `{"colour":"VERDE"}`, &everything.Scalars{}, scalars(`"colour":"GREEN"`)},
		{"an enum's unknown number", `{"colour":99}`, &everything.Scalars{}, scalars(`"colour":99`)},
		{"null is not there", `{"string":null,"colour":null,"int64":null}`, &everything.Scalars{}, scalars(`"string":""`)},
		{"unknown members", `{"what":{"is":["this"]},"aBool":true,"":1}`, &everything.Optionals{}, `{"aBool":true}`},
		{"names of the .proto file", `{"a_bool":false,"an_int":1}`, &everything.Optionals{}, `{"aBool":false,"anInt":1}`},
		{"the last of a name counts", `{"aBool":false,"a_bool":true,"aMessage":{"string":"x"},"anInt":3,"anInt":null}`, &everything.Optionals{}, `{"aBool":true,"aMessage":` + scalars(`"string":"x"`) + `}`},
		{"the last of a message replaces", `{"place":{"city":"Bern"},"place":{"zipCode":"1"}}`, &everything.Nested{}, `{"children":[],"place":{"city":"","zipCode":"1"},"level":"LEVEL_NONE"}`},
		{"the last of a list replaces", `{"bools":[true],"bools":[false]}`, &everything.Lists{}, `{"bools":[false],"ints":[],"longs":[],"numbers":[],"texts":[],"blobs":[],"colours":[],"inners":[],"waits":[]}`},
		{"one of a choice", `{"text":null,"number":"5"}`, &everything.Choice{}, `{"before":"","number":"5"}`},
		{"null of a choice", `{"nothing":null}`, &everything.Choice{}, `{"before":"","nothing":null}`},
		{"both choices", `{"flag":false,"two":""}`, &everything.Choice{}, `{"before":"","flag":false,"two":""}`},
		{"a JSON name before an own one", `{"swap_me":"2","swapMe":"1"}`, &everything.Names{}, `{"snakeCaseName":"","elsewhere":"","CamelAlready":"","type":"","func":"","range":"","swapMe":"1","swap_me":"2","reset":""}`},
		{"a renamed field's own name", `{"renamed":"r"}`, &everything.Names{}, `{"snakeCaseName":"","elsewhere":"r","CamelAlready":"","type":"","func":"","range":"","swapMe":"","swap_me":"","reset":""}`},
		{"keys of maps, in order", `{"byInt":{"10":true,"9":false,"-1":true},"by_bool":{"true":"RED","false":-2},"byUlong":{"18446744073709551615":""}}`, &everything.Maps{}, `{"texts":{},"byInt":{"-1":true,"9":false,"10":true},"byLong":{},"byUlong":{"18446744073709551615":""},"byBool":{"false":"BLUE","true":"RED"},"inners":{},"values":{}}`},
		{"any JSON", `{"values":{"a":null,"b":[1,{"c":""}]}}`, &everything.Maps{}, `{"texts":{},"byInt":{},"byLong":{},"byUlong":{},"byBool":{},"inners":{},"values":{"a":null,"b":[1,{"c":""}]}}`},
		{"a value that is null", `{"value":null,"at":null}`, &everything.WellKnown{}, `{"value":null,"null":null}`},
		{"an empty message", `{"empty":{"x":1}}`, &everything.WellKnown{}, `{"empty":{},"null":null}`},
		{"known types", `{"at":"2006-01-02T15:04:05.5+01:00","wait":"90s","mask":"aB.c","uint64":5,"bytes":"AA"}`, &everything.WellKnown{}, `{"at":"2006-01-02T14:04:05.500Z","wait":"90s","mask":"aB.c","null":null,"uint64":"5","bytes":"AA=="}`},
		{"groups", `{"id":"1","line":[{"article":"a"}]}`, &old.Order{}, `{"id":"1","line":[{"article":"a"}],"packed":[]}`},
		{"a message that is any value", `[1]`, &structpb.Value{}, `[1]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.NoError(t, protostub.Unmarshal([]byte(tt.text), tt.as))
			text, err := protostub.Marshal(tt.as)
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(text))
		})
	}
}

func zeroOf(text string) string {
	switch name, _, _ := strings.Cut(text, ":"); name {
	case `"string"`, `"bytes"`:
		return `""`
	case `"int64"`, `"uint64"`:
		return `"0"`
	case `"colour"`:
		return `"RED"`
	}
	return "0"
}

func TestWhatDoesNotFitIsNamed(t *testing.T) {
	tests := []struct {
		name, text string
		as         proto.Message
		want       string
	}{
		{"no object", `[]`, &everything.Scalars{}, `the message must be object, not array`},
		{"a text for an integer", `{"int32":"x"}`, &everything.Scalars{}, `field "int32" must be integer, not string`},
		{"a fraction for an integer", `{"int32":1.5}`, &everything.Scalars{}, `field "int32" must be integer, not number`},
		{"a bool for an integer", `{"uint64":true}`, &everything.Scalars{}, `field "uint64" must be integer, not bool`},
		{"too large", `{"int32":2147483648}`, &everything.Scalars{}, `field "int32" is out of range: it is an integer of 32 bits`},
		{"below zero", `{"fixed32":-1}`, &everything.Scalars{}, `field "fixed32" is out of range: it is an integer of 32 bits without a sign`},
		{"long, below zero", `{"fixed64":"-1"}`, &everything.Scalars{}, `field "fixed64" is out of range: it is an integer of 64 bits without a sign`},
		{"much too large", `{"int64":1e300}`, &everything.Scalars{}, `field "int64" is out of range: it is an integer of 64 bits`},
		{"a text for a number", `{"double":"one"}`, &everything.Scalars{}, `field "double" must be number, not string`},
		{"an empty text for a number", `{"double":""}`, &everything.Scalars{}, `field "double" must be number, not string`},
		{"a number with space round it", `{"double":"1 "}`, &everything.Scalars{}, `field "double" must be number, not string`},
		{"a number too large", `{"float":1e39}`, &everything.Scalars{}, `field "float" is out of range: it is a number of 32 bits`},
		{"a number for a text", `{"string":1}`, &everything.Scalars{}, `field "string" must be string, not integer`},
		{"a text for a bool", `{"bool":"true"}`, &everything.Scalars{}, `field "bool" must be bool, not string`},
		{"no base64", `{"bytes":"*"}`, &everything.Scalars{}, `field "bytes" must be text in base64, and is another`},
		{"an enum's unknown name", `{"colour":"PINK"}`, &everything.Scalars{}, `field "colour" must be one of RED, GREEN, VERDE, BLUE`},
		{"a bool for an enum", `{"colour":true}`, &everything.Scalars{}, `field "colour" must be string (one of RED, GREEN, VERDE, BLUE), not bool`},
		{"a closed enum's unknown number", `{"id":"","state":9}`, &old.Order{}, `field "state" must be one of OPEN, SHIPPED`},
		{"in a message", `{"place":{"zip_code":12}}`, &everything.Nested{}, `field "place.zipCode" must be string, not integer`},
		{"in a list of messages", `{"children":[{},{"inner":{"name":false}}]}`, &everything.Nested{}, `field "children[1].inner.name" must be string, not bool`},
		{"in a list", `{"texts":["a",null]}`, &everything.Lists{}, `field "texts[1]" must be string, not null`},
		{"no list", `{"texts":"a"}`, &everything.Lists{}, `field "texts" must be array, not string`},
		{"in a map", `{"inners":{"x":{"size":"HUGE"}}}`, &everything.Maps{}, `field "inners.x.size" must be one of SMALL, LARGE`},
		{"a map's key", `{"byInt":{"one":true}}`, &everything.Maps{}, `field "byInt.one" must have a name that is an integer in range`},
		{"a map's key that is no bool", `{"byBool":{"1":"RED"}}`, &everything.Maps{}, `field "byBool.1" must have a name that is "true" or "false"`},
		{"no map", `{"texts":[]}`, &everything.Maps{}, `field "texts" must be object, not array`},
		{"two of a choice", `{"text":"","number":1}`, &everything.Choice{}, `field "number" and "text" exclude each other: only one of them may be there`},
		{"a time", `{"at":"yesterday"}`, &everything.WellKnown{}, `field "at" must be a text such as "2006-01-02T15:04:05Z"; it is a string`},
		{"facts", `{"facts":[]}`, &everything.WellKnown{}, `field "facts" must be an object; it is an array`},
		{"an unknown type", `{"any":{"@type":"type.googleapis.com/none"}}`, &everything.WellKnown{}, `field "any" must be an object whose "@type" names a type that this program knows; it is an object`},
		{"in a list of known types", `{"waits":["1s",2]}`, &everything.Lists{}, `field "waits[1]" must be a text such as "1.5s"; it is an integer`},
		{"not there", `{}`, &old.Order{}, `field "id" is needed, and is not there`},
		{"not there, further in", `{"id":"","line":[{}]}`, &old.Order{}, `field "line[0].article" is needed, and is not there`},
		{"in a message that may be extended", `{"name":1}`, &old.Extendable{}, `the message does not fit test.old.Extendable`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := protostub.Unmarshal([]byte(tt.text), tt.as)
			var e *abstract.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, abstract.InvalidParams, e.Code)
			assert.Equal(t, tt.want, e.Message)
		})
	}
}

func TestTextThatIsNoJSONIsRefused(t *testing.T) {
	for _, text := range []string{``, `{`, `{"name":"x"]`, `{"name"}`, `{"name":}`, `{} {}`, `nul`} {
		require.ErrorIs(t, protostub.Unmarshal([]byte(text), &everything.Nested_Inner{}), abstract.ErrParseFailed, text)
	}
}

func TestMissingRequiredFieldIsNotWritten(t *testing.T) {
	_, err := protostub.Marshal(&old.Order{})
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
	assert.Contains(t, err.Error(), `field "id" of test.old.Order is required and not set`)
}

// FuzzUnmarshal reads any text. What is taken must be what protojson takes it for, where
// it takes it too, and must not change when it is written and read again.
func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{
		`{"scalars":{"int64":"1","double":"NaN","bytes":"_-8","colour":"BLUE"},"optionals":{"aMessage":null}}`,
		`{"lists":{"inners":[{"size":1}],"waits":["1s"]},"maps":{"byInt":{"1":true},"values":{"a":[null]}}}`,
		`{"choice":{"nothing":null,"one":""},"nested":{"children":[{"children":[]}]},"names":{"swap_me":"1"}}`,
		`{"wellKnown":{"at":"2006-01-02T15:04:05Z","any":{"@type":"type.googleapis.com/test.common.Place","city":"x"},"mask":"a"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var ours, theirs, again everything.All
		if protostub.Unmarshal(text, &ours) != nil {
			return
		}
		if protojson.Unmarshal(text, &theirs) == nil { // it refuses names that stand there twice
			require.True(t, proto.Equal(&ours, &theirs), "%s", text)
		}
		written, err := protostub.Marshal(&ours)
		if err != nil {
			return // a known type with a value that has no text
		}
		require.NoError(t, protostub.Unmarshal(written, &again), "%s", written)
		require.True(t, proto.Equal(&ours, &again), "%s", written)
	})
}
