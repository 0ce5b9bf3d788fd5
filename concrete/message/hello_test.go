package message

import (
	"testing"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// TestErrorsShowNoSecrets: what cannot be read is quoted, but for what is secret.
func TestErrorsShowNoSecrets(t *testing.T) {
	codec := New(Config{})
	for body, types := range map[string][]abstract.MType{
		`{"version":1,"session":{"secret":"abcdef"}`: {abstract.ReqHello, abstract.RspHello},
		`{"token":"tfl_abcdef"`:                      {abstract.ReqHello, abstract.ReqRPC, abstract.ReqTopic},
		`tfl_abcdef`:                                 {abstract.ReqHello, abstract.ReqNode},
		`{"method":tfl_abcdef}`:                      {abstract.ReqRPC},
	} {
		for _, mtype := range types {
			_, err := codec.Unmarshal(mtype, "1", []byte(body), nil)
			require.ErrorIs(t, err, abstract.ErrParseFailed)
			require.NotContains(t, err.Error(), "abcdef", "%s as %s", body, mtype)
		}
	}
	_, err := codec.Unmarshal(abstract.ReqRPC, "1", []byte(`{"method":?}`), nil)
	require.ErrorContains(t, err, "method", "and other things are")
}
