package schema_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
	"trefoil/concrete/schema"
)

const order = `{
	"type": "object",
	"required": ["id", "address"],
	"additionalProperties": false,
	"properties": {
		"id":      {"type": "integer", "minimum": 1, "exclusiveMaximum": 1000},
		"address": {"$ref": "#/$defs/address"},
		"billing": {"anyOf": [{"$ref": "#/$defs/address"}, {"type": "null"}]},
		"lines":   {"type": "array", "minItems": 1, "maxItems": 3, "uniqueItems": true, "items": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string", "pattern": "^[A-Z]+$"}, "n": {"type": ["integer", "null"], "multipleOf": 2}}}},
		"labels":  {"type": "object", "propertyNames": {"maxLength": 10}, "additionalProperties": {"type": "string"}, "maxProperties": 2},
		"kind":    {"enum": ["gift", "sale", 3, null]},
		"v":       {"const": 2},
		"note":    {"type": "string", "minLength": 2, "maxLength": 4},
		"price":   {"type": "number"},
		"gift":    {"type": "boolean"},
		"pair":    {"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": {"type": "boolean"}},
		"has":     {"contains": {"const": 1}, "minContains": 2, "maxContains": 3},
		"one":     {"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 5}]},
		"not":     {"not": {"type": "string"}},
		"if":      {"if": {"type": "string"}, "then": {"minLength": 3}, "else": {"type": "integer"}},
		"x-y":     {"patternProperties": {"^n": {"type": "integer"}}, "additionalProperties": false},
		"all":     {"allOf": [{"type": "integer"}, {"minimum": 3}]},
		"a b":     {"type": "integer"},
		"dep":     {"dependentRequired": {"card": ["cvc"]}, "dependentSchemas": {"card": {"properties": {"cvc": {"type": "integer"}}}}}
	},
	"$defs": {"address": {"type": "object", "required": ["zip"], "properties": {"zip": {"type": "string"}, "parts": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}}}}
}`

func TestCheckNamesThePlace(t *testing.T) {
	s := parse(t, order)
	const good = `"id":1,"address":{"zip":"8000"}`
	tests := []struct {
		name, params, want string
	}{
		{"right", `{` + good + `}`, ``},
		{"all of it", `{` + good + `,"billing":null,"lines":[{"sku":"A","n":null},{"sku":"B","n":4}],"labels":{"a":"b"},"kind":null,"v":2.0,"note":"éé","price":1,"gift":true,
			"pair":["a",1,true],"has":[1,1.0,"x"],"one":2,"not":1,"if":"abc","x-y":{"n1":1},"all":3,"a b":1,"dep":{"card":1,"cvc":2}}`, ``},
		{"a string for an integer", `{"id":"1","address":{"zip":"8"}}`, `parameter "id" of m must be integer, not string`},
		{"a nested integer for a string", `{"id":1,"address":{"zip":8000}}`, `parameter "address.zip" of m must be string, not integer`},
		{"an element", `{"id":1,"address":{"zip":"8","parts":[[1],[2,"x"]]}}`, `parameter "address.parts[1][1]" of m must be integer, not string`},
		{"in an alternative with null", `{` + good + `,"billing":{"zip":1}}`, `parameter "billing.zip" of m must be string, not integer`},
		{"no alternative", `{` + good + `,"billing":5}`, `parameter "billing" of m fits none of the 2 forms that it may have`},
		{"missing", `{"id":1}`, `m needs a parameter "address" (object)`},
		{"missing inside", `{"id":1,"address":{}}`, `m needs a parameter "address.zip" (string)`},
		{"missing in an element", `{` + good + `,"lines":[{"sku":"A"},{}]}`, `m needs a parameter "lines[1].sku" (string)`},
		{"unknown", `{` + good + `,"stranger":1}`, `parameter "stranger" of m is not known; leave it out`},
		{"null", `{"id":null,"address":{"zip":"8"}}`, `parameter "id" of m must be integer, not null`},
		{"2.5", `{"id":2.5,"address":{"zip":"8"}}`, `must be integer, not number`},
		{"too small", `{"id":0,"address":{"zip":"8"}}`, `parameter "id" of m must be at least 1, not 0`},
		{"too large", `{"id":1000,"address":{"zip":"8"}}`, `must be below 1000, not 1000`},
		{"too large by far", `{"id":1e999999999,"address":{"zip":"8"}}`, `must be below 1000, not 1e999999999`},
		{"too many digits", `{"id":1` + strings.Repeat("0", 100) + `,"address":{"zip":"8"}}`, `must be below 1000`},
		{"no multiple", `{` + good + `,"lines":[{"sku":"A","n":3}]}`, `parameter "lines[0].n" of m must be a multiple of 2`},
		{"of several kinds", `{` + good + `,"lines":[{"sku":"A","n":"x"}]}`, `parameter "lines[0].n" of m must be integer, not string`},
		{"no match", `{` + good + `,"lines":[{"sku":"a"}]}`, `parameter "lines[0].sku" of m must match "^[A-Z]+$"`},
		{"too few elements", `{` + good + `,"lines":[]}`, `parameter "lines" of m must have at least 1 elements, not 0`},
		{"too many elements", `{` + good + `,"lines":[1,2,3,4]}`, `must have at most 3 elements, not 4`},
		{"twice", `{` + good + `,"lines":[{"sku":"A","n":2},{"n":2.0,"sku":"A"}]}`, `parameter "lines[1]" of m is there already`},
		{"a map's value", `{` + good + `,"labels":{"a.b":1}}`, `parameter "labels[\"a.b\"]" of m must be string, not integer`},
		{"a map's key", `{` + good + `,"labels":{"abcdefghijk":"x"}}`, `parameter "labels.abcdefghijk" of m is no name that a member can have here`},
		{"too many members", `{` + good + `,"labels":{"a":"1","b":"2","c":"3"}}`, `must have at most 2 members, not 3`},
		{"none of the values", `{` + good + `,"kind":"loan"}`, `parameter "kind" of m must be one of "gift", "sale", 3, null`},
		{"another constant", `{` + good + `,"v":3}`, `parameter "v" of m must be 2`},
		{"too short", `{` + good + `,"note":"é"}`, `must have at least 2 characters, not 1`},
		{"too long", `{` + good + `,"note":"ééééé"}`, `must have at most 4 characters, not 5`},
		{"no bool", `{` + good + `,"gift":1}`, `parameter "gift" of m must be bool, not integer`},
		{"behind the prefix", `{` + good + `,"pair":["a",1,2]}`, `parameter "pair[2]" of m must be bool, not integer`},
		{"too few that contain", `{` + good + `,"has":[1]}`, `must have at least 2 elements of a certain form, not 1`},
		{"too many that contain", `{` + good + `,"has":[1,1,1,1]}`, `must have at most 3 elements of a certain form, not 4`},
		{"two at once", `{` + good + `,"one":7}`, `fits more than one of the forms`},
		{"what must not be", `{` + good + `,"not":"x"}`, `parameter "not" of m is of a form that it must not have`},
		{"then", `{` + good + `,"if":"ab"}`, `parameter "if" of m must have at least 3 characters`},
		{"else", `{` + good + `,"if":true}`, `parameter "if" of m must be integer, not bool`},
		{"a pattern's member", `{` + good + `,"x-y":{"n1":"1"}}`, `parameter "x-y.n1" of m must be integer, not string`},
		{"no pattern's member", `{` + good + `,"x-y":{"m":1}}`, `parameter "x-y.m" of m is not known`},
		{"all of several", `{` + good + `,"all":2}`, `parameter "all" of m must be at least 3, not 2`},
		{"a name with a space", `{` + good + `,"a b":"x"}`, `parameter "[\"a b\"]" of m must be integer, not string`},
		{"needed by another", `{` + good + `,"dep":{"card":1}}`, `m needs a parameter "dep.cvc", as "card" is there`},
		{"of another form for another", `{` + good + `,"dep":{"card":1,"cvc":"x"}}`, `parameter "dep.cvc" of m must be integer`},
		{"no object", `[]`, `what is given as the parameters of m must be object, not array`},
		{"no JSON", `{`, `the parameters of m are no JSON`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := s.Check("m", []byte(tt.params))
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Equal(t, abstract.InvalidParams, abstract.CodeOf(err))
			assert.Contains(t, err.Error(), tt.want)
		})
	}
}

func TestBadSchemasAreRefused(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"no JSON":              {`{`, "no JSON Schema"},
		"no schema":            {`5`, "no JSON Schema"},
		"of wrong words":       {`{"type":5}`, "no JSON Schema"},
		"too large a pattern":  {`{"properties":{"a":{"pattern":"(x{1000}){1000}"}}}`, "no regular expression"},
		"many large patterns":  {`{"allOf":[` + strings.Repeat(`{"pattern":"x{999}"},{"pattern":"y{999}"},{"pattern":"(z{33}){30}"},`, 1) + `{"pattern":"(a|b{90}){10}"},{"pattern":"(c|d{90}){10}"},{"pattern":"(e{90}f){10}"},{"pattern":"g{999}"},{"pattern":"h{999}"},{"pattern":"i{999}"},{"pattern":"j{999}"},{"pattern":"k{999}"}]}`, "too large"},
		"bad pattern":          {`{"pattern":"("}`, "no regular expression"},
		"unknown reference":    {`{"$ref":"#/$defs/a"}`, `refers to "#/$defs/a"`},
		"remote reference":     {`{"$ref":"http://localhost/x"}`, "refers to"},
		"endless":              {`{"$ref":"#"}`, "leads back to itself"},
		"endless round":        {`{"$defs":{"a":{"allOf":[{"$ref":"#/$defs/b"}]},"b":{"anyOf":[{"$ref":"#/$defs/a"}]}},"properties":{"x":{"$ref":"#/$defs/a"}}}`, "leads back to itself"},
		"not checked":          {`{"properties":{"x":{"unevaluatedProperties":false}}}`, `"unevaluatedProperties", which is not checked`},
		"of an older draft":    {`{"items":[{"type":"string"}]}`, `an array for "items"`},
		"dynamic":              {`{"$dynamicRef":"#a","$dynamicAnchor":"a"}`, "which is not checked"},
		"another place for it": {`{"$id":"http://localhost/"}`, `"$id"`},
		"too long":             {`{"title":"` + strings.Repeat("x", schema.MaxText) + `"}`, "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := schema.Parse([]byte(tt.text))
			require.Error(t, err)
			assert.Equal(t, abstract.InvalidParams, abstract.CodeOf(err))
			assert.Contains(t, err.Error(), tt.want)
		})
	}
}

// TestCheckingCostsNoMoreThanItsBound checks what would take 2^60 steps.
func TestCheckingCostsNoMoreThanItsBound(t *testing.T) {
	s := parse(t, `{"anyOf":[{"properties":{"a":{"$ref":"#"}},"required":["a"]},{"properties":{"a":{"$ref":"#"}},"required":["a","b"]}]}`)
	err := s.Check("m", []byte(strings.Repeat(`{"a":`, 60)+`{}`+strings.Repeat(`}`, 60)))
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
}

func TestCheckTakesLongArrays(t *testing.T) {
	s := parse(t, `{"properties":{"list":{"items":{"type":"object","properties":{"n":{"type":"integer","minimum":0}}},"uniqueItems":false}}}`)
	require.NoError(t, s.Check("m", []byte(`{"list":[`+strings.Repeat(`{"n":1},`, 100_000)+`{}]}`)))
}

// TestCheckAgreesWithTheLibrary asks the library about random schemas and values.
func TestCheckAgreesWithTheLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, err := json.Marshal(drawSchema(t, 3))
		require.NoError(t, err)
		value, err := json.Marshal(drawValue(t, 3))
		require.NoError(t, err)

		var theirs jsonschema.Schema
		require.NoError(t, json.Unmarshal(text, &theirs))
		resolved, err := theirs.Resolve(nil)
		require.NoError(t, err)
		var plain any
		require.NoError(t, json.Unmarshal(value, &plain))

		ours, err := schema.Parse(text)
		require.NoError(t, err)
		want, got := resolved.Validate(plain), ours.Check("m", value)
		require.Equal(t, want == nil, got == nil, "%s\n%s\nlibrary: %v\nours: %v", text, value, want, got)
	})
}

// names are few, so that schemas and values meet.
var names = rapid.SampledFrom([]string{"a", "b", "c d"})

func drawValue(t *rapid.T, depth int) any {
	kinds := []string{"null", "bool", "int", "float", "string", "array", "object"}
	if depth == 0 {
		kinds = kinds[:5]
	}
	switch rapid.SampledFrom(kinds).Draw(t, "value") {
	case "bool":
		return rapid.Bool().Draw(t, "bool")
	case "int":
		return rapid.IntRange(-3, 6).Draw(t, "int")
	case "float":
		return float64(rapid.IntRange(-6, 12).Draw(t, "half")) / 2
	case "string":
		return rapid.StringOfN(rapid.SampledFrom([]rune("aéb")), 0, 4, -1).Draw(t, "string")
	case "array":
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "elements") {
			list = append(list, drawValue(t, depth-1))
		}
		return list
	case "object":
		members := map[string]any{}
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			members[names.Draw(t, "name")] = drawValue(t, depth-1)
		}
		return members
	}
	return nil
}

// keywords are those that are drawn, with what draws their values.
func keywords() map[string]func(t *rapid.T, depth int) any {
	return map[string]func(t *rapid.T, depth int) any{
		"type": func(t *rapid.T, _ int) any {
			return rapid.SampledFrom([]string{"null", "boolean", "integer", "number", "string", "array", "object"}).Draw(t, "type")
		},
		"enum":             func(t *rapid.T, depth int) any { return []any{drawValue(t, depth), drawValue(t, depth)} },
		"const":            drawValue,
		"minimum":          func(t *rapid.T, _ int) any { return rapid.IntRange(-3, 3).Draw(t, "n") },
		"maximum":          func(t *rapid.T, _ int) any { return rapid.IntRange(-3, 3).Draw(t, "n") },
		"exclusiveMinimum": func(t *rapid.T, _ int) any { return rapid.IntRange(-3, 3).Draw(t, "n") },
		"exclusiveMaximum": func(t *rapid.T, _ int) any { return rapid.IntRange(-3, 3).Draw(t, "n") },
		"multipleOf":       func(t *rapid.T, _ int) any { return rapid.SampledFrom([]float64{0.5, 1, 2}).Draw(t, "n") },
		"minLength":        drawCount,
		"maxLength":        drawCount,
		"minItems":         drawCount,
		"maxItems":         drawCount,
		"minProperties":    drawCount,
		"maxProperties":    drawCount,
		"pattern":          func(t *rapid.T, _ int) any { return rapid.SampledFrom([]string{"^a", "b$", "é"}).Draw(t, "pattern") },
		"required":         func(t *rapid.T, _ int) any { return []string{names.Draw(t, "name")} },
		"dependentRequired": func(t *rapid.T, _ int) any {
			return map[string]any{names.Draw(t, "name"): []string{names.Draw(t, "name")}}
		},
		"properties":           drawMembers,
		"dependentSchemas":     drawMembers,
		"patternProperties":    func(t *rapid.T, depth int) any { return map[string]any{"^[ab]$": drawSchema(t, depth-1)} },
		"additionalProperties": drawInner,
		"propertyNames":        drawInner,
		"items":                drawInner,
		"contains":             drawInner,
		"not":                  drawInner,
		"prefixItems":          drawList,
		"allOf":                drawList,
		"anyOf":                drawList,
		"oneOf":                drawList,
		"uniqueItems":          func(*rapid.T, int) any { return true },
	}
}

func drawCount(t *rapid.T, _ int) any { return rapid.IntRange(0, 3).Draw(t, "count") }

func drawInner(t *rapid.T, depth int) any { return drawSchema(t, depth-1) }

func drawList(t *rapid.T, depth int) any {
	list := []any{}
	for range rapid.IntRange(1, 3).Draw(t, "schemas") {
		list = append(list, drawSchema(t, depth-1))
	}
	return list
}

func drawMembers(t *rapid.T, depth int) any {
	return map[string]any{names.Draw(t, "name"): drawSchema(t, depth-1), names.Draw(t, "name"): drawSchema(t, depth-1)}
}

func drawSchema(t *rapid.T, depth int) any {
	if depth <= 0 {
		return rapid.SampledFrom([]any{true, false, map[string]any{"type": "integer"}, map[string]any{"type": "string"}}).Draw(t, "leaf")
	}
	s, words := map[string]any{}, keywords()
	for range rapid.IntRange(0, 4).Draw(t, "keywords") {
		word := rapid.SampledFrom(slices.Sorted(maps.Keys(words))).Draw(t, "keyword")
		s[word] = words[word](t, depth)
	}
	return s
}

// FuzzCheck gives the checker any text, with schemas of all that it knows, and any
// text for a schema.
func FuzzCheck(f *testing.F) {
	f.Add(order, `{"id":1,"address":{"zip":"8000","parts":[[1]]},"lines":[{"sku":"A","n":2}]}`)
	f.Add(`{"$defs":{"t":{"properties":{"l":{"$ref":"#/$defs/t"}}}},"$ref":"#/$defs/t"}`, `{"l":{"l":{"l":5}}}`)
	f.Add(`{"multipleOf":0,"minimum":-1e308}`, `1e400`)
	f.Add(`{"enum":[1,[2],{"a":null}],"uniqueItems":true}`, `[1,1e-999999999,1e999999999]`)
	f.Add(`false`, `null`)
	known := parse(f, order)
	f.Fuzz(func(t *testing.T, text, params string) {
		_ = known.Check("m", []byte(params))
		s, err := schema.Parse([]byte(text))
		if err != nil {
			require.Equal(t, abstract.InvalidParams, abstract.CodeOf(err))
			return
		}
		err = s.Check("m", []byte(params))
		require.True(t, err == nil || abstract.CodeOf(err) == abstract.InvalidParams)
		require.Equal(t, err == nil, s.Check("m", []byte(params)) == nil, "it is the same each time")
		require.True(t, json.Valid(s.Skeleton()), "%s", s.Skeleton())
	})
}
