package link

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestBufferHandsOutWhatItWasFed(t *testing.T) {
	var b Buffer
	b.Feed([]byte("hello "))
	b.Feed([]byte("world"))
	assert.Equal(t, 11, b.Len())
	for _, tt := range []struct {
		name string
		n    int
		ok   bool
	}{{"nothing", 0, true}, {"all", 11, true}, {"too much", 12, false}, {"negative", -1, false}} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := b.Peek(tt.n)
			assert.Equal(t, tt.ok, err == nil)
			assert.Equal(t, "hello world"[:len(p)], string(p))
		})
	}
	p, err := b.Next(6)
	require.NoError(t, err)
	assert.Equal(t, "hello ", string(p))
	_, err = b.Next(6)
	require.Error(t, err)
	p, err = b.Next(5)
	require.NoError(t, err)
	assert.Equal(t, "world", string(p))
}

func TestEmptyBufferHoldsNothing(t *testing.T) {
	var b Buffer
	b.Feed(make([]byte, 1000))
	_, err := b.Next(1000)
	require.NoError(t, err)
	assert.Nil(t, b.buf)
}

func TestBufferCopiesWhatItIsFed(t *testing.T) {
	var b Buffer
	p := []byte("abc")
	b.Feed(p)
	copy(p, "xyz")
	got, err := b.Next(3)
	require.NoError(t, err)
	assert.Equal(t, "abc", string(got))
}

// TestHandedOutBytesAreNeverWritten feeds and takes at random, keeps all that came
// out, and compares it with what went in. Capacity must not show bytes behind it.
func TestHandedOutBytesAreNeverWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Buffer
		var in, out []byte
		var kept [][]byte
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "feed") {
				most := rapid.SampledFrom([]int{50, 2 * mergeBytes}).Draw(t, "most")
				p := rapid.SliceOfN(rapid.Byte(), 0, most).Draw(t, "bytes")
				in = append(in, p...)
				if rapid.Bool().Draw(t, "adopt") {
					b.adopt(bytes.Clone(p))
				} else {
					b.Feed(p)
				}
				continue
			}
			p, err := b.Next(rapid.IntRange(0, b.Len()).Draw(t, "n"))
			if err != nil || cap(p) != len(p) {
				t.Fatalf("err %v, len %d, cap %d", err, len(p), cap(p))
			}
			kept = append(kept, p)
		}
		for _, p := range kept {
			out = append(out, p...)
		}
		if !bytes.Equal(in[:len(out)], out) || b.Len() != len(in)-len(out) {
			t.Fatalf("got %x of %x, %d left", out, in, b.Len())
		}
	})
}

func TestBufferGrowsWithWhatArrived(t *testing.T) {
	for _, size := range []int{1, 100, 3000} {
		var b Buffer
		for n := 1; n <= 4000; n++ {
			b.Feed(make([]byte, size))
			held := cap(b.buf)
			for _, p := range b.more {
				held += cap(p) + 24
			}
			require.LessOrEqual(t, held, 2*size*n+mergeBytes)
		}
	}
}

// TestBufferCopiesNoMoreThanItIsAsked: a frame that lies in two chunks costs its
// own size, not that of the chunks.
func TestBufferCopiesNoMoreThanItIsAsked(t *testing.T) {
	var b Buffer
	first, second := bytes.Repeat([]byte("a"), 2000), bytes.Repeat([]byte("b"), 2000)
	b.adopt(first)
	b.adopt(second)
	_, err := b.Next(1990)
	require.NoError(t, err)
	across, err := b.Next(20)
	require.NoError(t, err)
	assert.Equal(t, "aaaaaaaaaabbbbbbbbbb", string(across))
	rest, err := b.Next(1990)
	require.NoError(t, err)
	assert.Same(t, &second[10], &rest[0])
	assert.Zero(t, b.Len())
}
