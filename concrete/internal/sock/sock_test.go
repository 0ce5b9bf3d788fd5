package sock

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReadBufferGrowsUnderLoadAndShrinksAfterIt(t *testing.T) {
	s := newPlainSource(nil, ServerBuffer)
	s.resize(ServerBuffer)
	assert.Len(t, s.buf, 4*ServerBuffer)
	s.resize(4 * ServerBuffer)
	s.resize(fullBuffer)
	assert.Len(t, s.buf, fullBuffer)
	for range calmReads - 1 {
		s.resize(10)
	}
	s.resize(ServerBuffer + 1) // load again: the counting starts anew
	for range calmReads {
		assert.Len(t, s.buf, fullBuffer)
		s.resize(10)
	}
	assert.Len(t, s.buf, ServerBuffer)
}

// hidden is a connection without a socket of its own, as TLS has none.
type hidden struct{ net.Conn }

func TestConnectionWithoutSocketIsReadAndWrittenPlainly(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	w := NewWire(hidden{a}, 1e9)
	n, err := w.TryWrite([][]byte{{1}})
	assert.Zero(t, n, "cannot try")
	assert.NoError(t, err)
	assert.Error(t, w.CloseWrite())
	src := NewSource(hidden{b}, ServerBuffer)
	got := make(chan []byte)
	go func() {
		p, _ := src.Next()
		got <- p
	}()
	require.NoError(t, w.Write([][]byte{[]byte("hi")}))
	assert.Equal(t, "hi", string(<-got))
}
