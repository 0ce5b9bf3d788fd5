package message_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/concrete/message"
)

// TestDecodeTakesTheTypesThatEncodingJSONTakes has the odd ones.
func TestDecodeTakesTheTypesThatEncodingJSONTakes(t *testing.T) {
	type inner struct{ X int }
	type dash struct {
		A int `json:"-,"` //nolint:staticcheck // odd is the point
	}
	type quoted struct {
		I inner `json:",string"` //nolint:staticcheck // odd is the point
	}
	for name, v := range map[string]func() any{
		"dash":                func() any { return new(dash) },
		"number":              func() any { return new(struct{ N json.Number }) },
		"string on a struct":  func() any { return new(quoted) },
		"pointer to a struct": func() any { return new(struct{ *inner }) },
	} {
		for _, text := range []string{`{"-":1,"a":2,"N":3,"I":{"X":4}}`, `{"-":1}`, `{"N":12345678901234567890}`} {
			want, got := v(), v()
			wantErr := json.Unmarshal([]byte(text), want)
			gotErr := message.Decode(message.Raw(text), got)
			assert.Equal(t, wantErr == nil, gotErr == nil, "%s %s: %v", name, text, gotErr)
			if wantErr == nil && gotErr == nil {
				assert.Equal(t, want, got, "%s %s", name, text)
			}
		}
	}
}

func TestDecodeTakesNamesByTheirCaseAtAnyDepth(t *testing.T) {
	type deep struct {
		List []struct {
			Num int `json:"num"`
		} `json:"list"`
		Kelvin int `json:"k"`
	}
	var v deep
	require.NoError(t, message.Decode(message.Raw(`{"list":[{"num":1,"NUM":2},{"Num":3}],"\u212a":4,"K":5}`), &v))
	assert.Equal(t, 1, v.List[0].Num)
	assert.Zero(t, v.List[1].Num)
	assert.Zero(t, v.Kelvin)
}
