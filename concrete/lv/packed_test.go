package lv_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
)

// runs is the simplest Compression: a body becomes its length, and its bytes without
// the spaces at its end.
type runs struct{ limits []int }

func (*runs) Methods() []abstract.CompressMethod {
	return []abstract.CompressMethod{abstract.CompressS2}
}
func (*runs) Above() int { return 20 }

func (*runs) Compress(head []byte, m abstract.CompressMethod, body []byte) ([]byte, bool) {
	short := bytes.TrimRight(body, " ")
	out := append(binary.BigEndian.AppendUint32(bytes.Clone(head), uint32(len(body))), short...)
	return out, m == abstract.CompressS2 && len(body) > 20 && len(out)-len(head) < len(body)
}

func (r *runs) Decompress(head []byte, m abstract.CompressMethod, data []byte, limit int) ([]byte, error) {
	r.limits = append(r.limits, limit)
	if m != abstract.CompressS2 || len(data) < 4 {
		return nil, errors.New("not mine")
	}
	n := int(binary.BigEndian.Uint32(data))
	if n > limit {
		return nil, abstract.Errorf(abstract.TooLarge, "above %d", limit)
	}
	return append(append(bytes.Clone(head), data[4:]...), bytes.Repeat([]byte(" "), n-len(data)+4)...), nil
}

func TestPackedFramesComeBackAsTheyWere(t *testing.T) {
	c := new(runs)
	p := lv.New(message.New(message.Config{}), lv.Config{MaxFrame: 1000, Compression: c})
	whole := append(head(8+2+300, 2, 2), `id{"topic_key":"a","optype":4,"topic_msg":"b"}`...)
	whole = append(whole, strings.Repeat(" ", 4+8+2+300-len(whole))...)
	before := bytes.Clone(whole)

	wire := p.Pack(abstract.CompressS2, whole)
	assert.Equal(t, before, whole, "what is given is not changed")
	assert.Less(t, len(wire), 100)
	assert.Equal(t, uint32(2|2<<28), binary.BigEndian.Uint32(wire[4:]))
	assert.Equal(t, int(binary.BigEndian.Uint32(wire)), len(wire)-4, "Length is that of what is on the wire")

	m, ok, err := p.Decode(&buffer{wire})
	require.NoError(t, err)
	require.True(t, ok)
	packed, ok := m.(*lv.Packed)
	require.True(t, ok)
	assert.Equal(t, "id", packed.ID())
	assert.Equal(t, abstract.ReqTopic.With(abstract.CompressS2), packed.Type())
	assert.False(t, packed.Type().Legacy(), "it takes no short way")
	require.Error(t, packed.Check(), "nobody knows yet")

	back, err := p.Unpack(packed)
	require.NoError(t, err)
	require.NoError(t, back.Check())
	assert.Equal(t, before, back.(*message.TopicRequest).Frame(), "it can be passed on to those who take no other")
	assert.Equal(t, "id", back.ID())
	assert.Equal(t, []int{1000 - 14}, c.limits, "what a frame may have besides its head")
}

func TestWhatIsNotPacked(t *testing.T) {
	long := func(mtype uint32) []byte {
		return append(head(8+1+302, mtype, 1), "i{}"+strings.Repeat(" ", 300)...)
	}
	with := lv.New(message.New(message.Config{}), lv.Config{Compression: new(runs)})
	without := lv.New(message.New(message.Config{}), lv.Config{})
	for name, tt := range map[string]struct {
		p     *lv.Protocol
		m     abstract.CompressMethod
		frame []byte
	}{
		"no compression":     {without, abstract.CompressS2, long(0)},
		"no method":          {with, abstract.CompressNone, long(0)},
		"a method not known": {with, abstract.CompressZstd, long(0)},
		"HELLO":              {with, abstract.CompressS2, long(16)},
		"its answer":         {with, abstract.CompressS2, long(17)},
		"short":              {with, abstract.CompressS2, append(head(11, 0, 1), "i{}"...)},
		"packed already":     {with, abstract.CompressS2, long(1 << 28)},
	} {
		t.Run(name, func(t *testing.T) {
			got := tt.p.Pack(tt.m, tt.frame)
			require.Len(t, got, len(tt.frame))
			assert.Same(t, &tt.frame[0], &got[0])
		})
	}
	assert.True(t, with.Packs(21))
	assert.False(t, with.Packs(20))
	assert.False(t, without.Packs(1<<40))
	assert.Equal(t, []string{"s2"}, with.Methods())
	assert.Empty(t, without.Methods())
}

func TestTypesBelowTheMethodAreStillChecked(t *testing.T) {
	p := lv.New(message.New(message.Config{}), lv.Config{Compression: new(runs)})
	for _, mtype := range []uint32{6 | 2<<28, 15 | 7<<28, 1<<31 | 2<<28, 0xffffffff} {
		_, ok, err := p.Decode(&buffer{head(100, mtype, 1)})
		assert.False(t, ok)
		assert.ErrorContains(t, err, "no message type")
	}
}
