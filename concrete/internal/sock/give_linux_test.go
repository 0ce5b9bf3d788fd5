package sock

import (
	"bytes"
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/concrete/internal/link"
)

// A Unix socket has all of a write by the time it returns, and gives it in one read.
func TestFullReadBufferIsGivenAwayAndASmallOneIsNot(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer ln.Close()
	out, err := net.Dial("unix", ln.Addr().String())
	require.NoError(t, err)
	defer out.Close()
	in, err := ln.Accept()
	require.NoError(t, err)
	defer in.Close()
	src := NewSource(in, ClientBuffer)
	giver := src.(link.Giver)
	read := func(fill byte, n int) []byte {
		_, err := out.Write(bytes.Repeat([]byte{fill}, n))
		require.NoError(t, err)
		p, err := src.Next()
		require.NoError(t, err)
		require.Len(t, p, n)
		return p
	}
	first := read('a', keepFrom)
	require.True(t, giver.Give())
	second := read('b', fullBuffer)
	require.True(t, giver.Give())
	read('c', keepFrom-1)
	assert.False(t, giver.Give())
	read('d', 10)
	assert.False(t, giver.Give())
	assert.Equal(t, bytes.Repeat([]byte{'a'}, keepFrom), first, "nobody else writes there")
	assert.Equal(t, bytes.Repeat([]byte{'b'}, fullBuffer), second)
}
