package mixed

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCallersGetTheirOwnTextBack(t *testing.T) {
	for _, s := range Systems() {
		t.Run(s.Name, func(t *testing.T) {
			served, err := s.Serve(t.Context(), nil)
			require.NoError(t, err)
			defer served.Stop()
			c, err := s.dial(t.Context(), served.Addr)
			require.NoError(t, err)
			defer c.close()
			for range 3 {
				require.NoError(t, c.call(t.Context()))
			}
		})
	}
}

func TestSystemsAreFoundByName(t *testing.T) {
	for _, s := range Systems() {
		found, err := systemOf(s.Name)
		require.NoError(t, err)
		assert.Equal(t, s.Same, found.Same)
	}
	_, err := systemOf("nobody")
	assert.ErrorContains(t, err, "nobody")
}
