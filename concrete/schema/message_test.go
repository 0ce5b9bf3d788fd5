package schema

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func TestFaultsOfMessagesNameTheirPlace(t *testing.T) {
	s, err := Parse([]byte(`{"type":"object","properties":{"id":{"type":"integer"},"lines":{"items":{"type":"string"}}},"required":["id"]}`))
	require.NoError(t, err)
	require.NoError(t, s.CheckMessage("t", []byte(`{"id":1,"lines":["a"]}`)))
	for text, want := range map[string]string{
		`{`:                    `the message to topic "t" is no JSON`,
		`[]`:                   `the message to topic "t" must be object, not array`,
		`{}`:                   `a message to topic "t" needs a member "id" (integer)`,
		`{"id":"x"}`:           `"id" in the message to topic "t" must be integer, not string`,
		`{"id":1,"lines":[1]}`: `"lines[0]" in the message to topic "t" must be string, not integer`,
	} {
		err := s.CheckMessage("t", []byte(text))
		assert.ErrorIs(t, err, abstract.ErrInvalidParams, text)
		assert.ErrorContains(t, err, want, text)
	}
}

// Somebody may make a topic with a regular expression that is slow, and somebody publish
// what it is slow with.
func TestRegularExpressionsHaveABoundedCost(t *testing.T) {
	s, err := Parse([]byte(`{"pattern":"(x?y?z?){300}$"}`))
	require.NoError(t, err)
	short, long := `"`+strings.Repeat("xyz", 5)+`"`, `"`+strings.Repeat("xyz", 100_000)+`"`
	require.NoError(t, s.CheckMessage("t", []byte(short)))
	assert.ErrorContains(t, s.CheckMessage("t", []byte(long)), "takes too long to check")
	s, err = Parse([]byte(`{"pattern":"^[a-z]+@[a-z.]+$"}`))
	require.NoError(t, err)
	require.NoError(t, s.CheckMessage("t", []byte(`"`+strings.Repeat("a", 100_000)+`@b.c"`)), "what is quick may be long")
	s, err = Parse([]byte(`{"patternProperties":{"(x?y?z?){300}$":{}}}`))
	require.NoError(t, err)
	assert.ErrorContains(t, s.CheckMessage("t", []byte(`{`+long+`:1}`)), "takes too long to check")
}
