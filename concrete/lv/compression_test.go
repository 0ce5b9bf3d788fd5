package lv_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
)

// silentRuns compresses nothing and offers nothing, and makes whole what others have compressed.
type silentRuns struct{ runs }

func (*silentRuns) Methods() []abstract.CompressMethod { return nil }
func (*silentRuns) Above() int                         { return 1 << 30 }

func TestCompressionChangesWhileFramesTravel(t *testing.T) {
	p := lv.New(message.New(message.Config{}), lv.Config{})
	frame := append(head(8+1+302, 18, 1), "i{}"+strings.Repeat(" ", 300)...)
	assert.Nil(t, p.Compression())

	p.SetCompression(new(runs))
	assert.True(t, p.Packs(21))
	assert.Equal(t, []string{"s2"}, p.Methods())
	wire := p.Pack(abstract.CompressS2, frame)
	require.Less(t, len(wire), len(frame))
	m, ok, err := p.Decode(&buffer{wire})
	require.NoError(t, err)
	require.True(t, ok)

	p.SetCompression(new(silentRuns))
	assert.False(t, p.Packs(1<<20))
	assert.Empty(t, p.Methods())
	_, err = p.Unpack(m.(*lv.Packed))
	require.NoError(t, err, "what was agreed upon before is understood")

	p.SetCompression(nil)
	_, err = p.Unpack(m.(*lv.Packed))
	assert.ErrorIs(t, err, abstract.ErrUnsupported)
	assert.Len(t, p.Pack(abstract.CompressS2, frame), len(frame))
}
