package message_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// walk reads a value with a Cursor, as encoding/json reads it into an any.
func walk(c *message.Cursor) any {
	switch c.Kind() {
	case message.Object:
		object := map[string]any{}
		for more := c.Open(); more; more = c.More() {
			name := strings.Clone(c.Name())
			object[name] = walk(c)
		}
		return object
	case message.Array:
		array := []any{}
		for more := c.Open(); more; more = c.More() {
			array = append(array, walk(c))
		}
		return array
	case message.String:
		return c.Text()
	case message.Null:
		c.Skip()
		return nil
	case message.Bool:
		return string(c.Skip()) == "true"
	}
	return json.Number(c.Skip())
}

func TestCursorSeesWhatEncodingJSONSees(t *testing.T) {
	var value func(t *rapid.T, depth int) any
	value = func(t *rapid.T, depth int) any {
		kind := rapid.IntRange(0, 6).Draw(t, "kind")
		switch {
		case kind == 0:
			return nil
		case kind == 1:
			return rapid.Bool().Draw(t, "bool")
		case kind == 2:
			return rapid.Int64().Draw(t, "integer")
		case kind == 3:
			return rapid.Float64Range(-1e30, 1e30).Draw(t, "number")
		case kind == 4 || depth == 0:
			return rapid.String().Draw(t, "text")
		case kind == 5:
			list := []any{}
			for range rapid.IntRange(0, 3).Draw(t, "elements") {
				list = append(list, value(t, depth-1))
			}
			return list
		}
		object := map[string]any{}
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			object[rapid.String().Draw(t, "name")] = value(t, depth-1)
		}
		return object
	}
	rapid.Check(t, func(t *rapid.T) {
		text, err := json.MarshalIndent(value(t, 4), "\r\n", rapid.SampledFrom([]string{"", " ", "\t"}).Draw(t, "indent"))
		require.NoError(t, err)
		var want any
		d := json.NewDecoder(strings.NewReader(string(text)))
		d.UseNumber()
		require.NoError(t, d.Decode(&want))
		c := message.NewCursor(text)
		require.Equal(t, want, walk(&c), "%s", text)
	})
}

// TestCursorStopsAtWhatIsNoJSON: nothing is found any more, and nothing panics or goes
// on for ever.
func TestCursorStopsAtWhatIsNoJSON(t *testing.T) {
	for _, text := range []string{``, `{`, `[`, `[1`, `[1 2]`, `{"a"`, `{"a":`, `{"a" 1}`, `{a:1}`, `{"a":1,}`, `"a`, `[,]`, `nul`, `-`} {
		c := message.NewCursor(message.Raw(text))
		_ = walk(&c)
		for range 3 {
			assert.Equal(t, message.Invalid, c.Kind(), text)
			assert.False(t, c.More(), text)
			assert.False(t, c.Open(), text)
			assert.Empty(t, c.Name(), text)
			assert.Empty(t, c.Text(), text)
			assert.Empty(t, c.Skip(), text)
		}
	}
}

func TestIntegersOf64Bits(t *testing.T) {
	tests := []struct {
		text     string
		signed   int64
		isSigned bool
		unsigned uint64
		isNot    bool // negative, or beyond 64 bits
	}{
		{"0", 0, true, 0, false},
		{"-0", 0, true, 0, false},
		{"2.0", 2, true, 2, false},
		{"1e3", 1000, true, 1000, false},
		{"-1", -1, true, 0, true},
		{"9223372036854775807", math.MaxInt64, true, math.MaxInt64, false},
		{"9223372036854775808", 0, false, 1 << 63, false},
		{"-9223372036854775808", math.MinInt64, true, 0, true},
		{"-9223372036854775809", 0, false, 0, true},
		{"18446744073709551615", 0, false, math.MaxUint64, false},
		{"1844674407370955161.5e1", 0, false, math.MaxUint64, false},
		{"18446744073709551616", 0, false, 0, true},
		{"99999999999999999999", 0, false, 0, true},
		{"1e40", 0, false, 0, true},
		{"1.5", 0, false, 0, true},
		{`"1"`, 0, false, 0, true},
		{"", 0, false, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			s, ok := message.Int(message.Raw(tt.text))
			assert.Equal(t, tt.isSigned, ok)
			if ok {
				assert.Equal(t, tt.signed, s)
			}
			u, ok := message.Uint(message.Raw(tt.text))
			assert.Equal(t, !tt.isNot, ok)
			if ok {
				assert.Equal(t, tt.unsigned, u)
			}
		})
	}
}

func TestAppendedTextIsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z ]{0,40}`)).Draw(t, "s")
		text := message.AppendText([]byte("before"), s)
		var again string
		require.NoError(t, json.Unmarshal(text[len("before"):], &again))
		require.Equal(t, strings.ToValidUTF8(s, "\ufffd"), again)
	})
}

// own writes and reads its own text.
type own struct{ text string }

func (o *own) AppendJSONText(dst []byte) ([]byte, error) {
	if o.text == "" {
		return nil, abstract.Errorf(abstract.InvalidParams, "there is nothing")
	}
	return fmt.Appendf(dst, `{"own":%q}`, o.text), nil
}

func (o *own) ReadJSONText(raw message.Raw) error {
	if string(raw) == "null" {
		return abstract.Errorf(abstract.Conflict, "null it is not")
	}
	o.text = string(raw)
	return nil
}

func TestValuesMayKnowTheirOwnText(t *testing.T) {
	buf := make([]byte, 0, 64)
	raw, err := message.EncodeTo(&buf, &own{"x"})
	require.NoError(t, err)
	assert.JSONEq(t, `{"own":"x"}`, string(raw))
	assert.Equal(t, &buf[0], &raw[0], "in the memory that was given")
	_, err = message.Encode(&own{})
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
	raw, err = message.EncodeResult(&own{"r"})
	require.NoError(t, err)
	assert.JSONEq(t, `{"own":"r"}`, string(raw))

	var o own
	require.NoError(t, message.Decode(message.Raw(`[1]`), &o))
	assert.Equal(t, `[1]`, o.text)
	require.ErrorIs(t, message.Decode(nil, &o), abstract.ErrConflict)
}
