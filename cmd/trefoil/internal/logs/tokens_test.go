package logs

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTokensAreHidden(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "",
		"nothing":                       "nothing",
		"tfl_":                          "tfl_(hidden)",
		"tfl_aB3-_x":                    "tfl_(hidden)",
		`a="tfl_x" b=tfl_y, tfl_z`:      `a="tfl_(hidden)" b=tfl_(hidden), tfl_(hidden)`,
		"tfl_tfl_x":                     "tfl_(hidden)",
		"the hidden one tfl_(hidden) .": "the hidden one tfl_(hidden) .",
		"open tfl_x: no such file":      "open tfl_(hidden): no such file",
	} {
		in := []byte(text)
		assert.Equal(t, want, string(HideTokens(in)))
		assert.Equal(t, text, string(in), "the text of others is not changed")
	}
	var out bytes.Buffer
	n, err := WithoutTokens(&out).Write([]byte("a tfl_x\n"))
	require.NoError(t, err)
	assert.Equal(t, 8, n)
	assert.Equal(t, "a tfl_(hidden)\n", out.String())
}
