package schema_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/concrete/schema"
)

// TestCheckingCostsByTheText: a large schema for members without a name, or a long list
// of numbers, is not gone through again for each member and each number.
func TestCheckingCostsByTheText(t *testing.T) {
	const members = 1000
	var named strings.Builder
	for i := range members {
		fmt.Fprintf(&named, `"m%d":{},`, i)
	}
	tests := map[string]struct{ schema, params string }{
		"members": {
			`{"additionalProperties":{"type":"object","properties":{"x":{"enum":["` + strings.Repeat(`many","`, 1000) + `words"]}}}}`,
			`{` + named.String() + `"last":{}}`,
		},
		"numbers": {
			`{"properties":{"n":{"enum":[` + strings.Repeat("1,", 5*members) + `2]}}}`,
			`{"n":2}`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := schema.Parse([]byte(tt.schema))
			require.NoError(t, err)
			assert.Less(t, testing.AllocsPerRun(3, func() { err = s.Check("m", []byte(tt.params)) }), 15.0*members)
			require.NoError(t, err)
		})
	}
	for _, params := range []string{`{"a":1}`, `{"b":{}}`} {
		s, err := schema.Parse([]byte(`{"properties":{"a":{"additionalProperties":false}},"additionalProperties":{"not":{"required":["b"]}}}`))
		require.NoError(t, err)
		require.NoError(t, s.Check("m", []byte(params)), "what is not false is looked at")
	}
}
