package message_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

func TestElements(t *testing.T) {
	for text, want := range map[string][]string{
		`[]`:    nil,
		` [ ] `: nil,
		`[1]`:   {`1`},
		"\t[ 1 , [2,{\"a\":[]}],\"]\" , null,{ } ]\n": {`1`, `[2,{"a":[]}]`, `"]"`, `null`, `{ }`},
	} {
		var got []string
		require.NoError(t, message.Elements(message.Raw(text), func(v message.Raw) bool { got = append(got, string(v)); return true }), text)
		assert.Equal(t, want, got)
	}
	for _, bad := range []string{``, `{}`, `[`, `[1`, `[1,`, `[1,]`, `[,]`, `[1]]`, `[1 2]`, `5`} {
		err := message.Elements(message.Raw(bad), func(message.Raw) bool { return true })
		assert.Equal(t, abstract.ParseFailed, abstract.CodeOf(err), bad)
	}
	n := 0
	require.NoError(t, message.Elements(message.Raw(`[1,2,x`), func(message.Raw) bool { n++; return n < 2 }), "what follows is not looked at")
	assert.Equal(t, 2, n)
}

func FuzzElements(f *testing.F) {
	f.Add(`[1,{"a":[2]}, "x"]`)
	f.Fuzz(func(t *testing.T, text string) {
		var want []json.RawMessage
		theirs := json.Unmarshal([]byte(text), &want)
		got := []json.RawMessage{}
		ours := message.Elements(message.Raw(text), func(v message.Raw) bool { got = append(got, v); return true })
		if message.KindOf(message.Raw(text)) != message.Array {
			require.Error(t, ours)
			return
		}
		require.Equal(t, theirs == nil, ours == nil, "%s: %v, %v", text, theirs, ours)
		if ours == nil {
			require.Len(t, got, len(want))
			for i := range got {
				require.JSONEq(t, string(want[i]), string(got[i]))
			}
		}
	})
}
