package mem_test

import (
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/concrete/mem"
)

func TestReadsAndWritesEndAtTheirDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := mem.NewNetwork()
		ln, err := n.Machine().Listen("a")
		require.NoError(t, err)
		defer ln.Close()
		c, err := n.Dial(t.Context(), "a")
		require.NoError(t, err)
		defer c.Close()
		s, err := ln.Accept()
		require.NoError(t, err)
		defer s.Close()
		assert.Equal(t, "a", ln.Addr().String())

		b := make([]byte, 1<<20) // more than a connection holds
		begun := time.Now()
		in := begun.Add
		require.NoError(t, c.SetReadDeadline(in(time.Second)))
		_, err = c.Read(b)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, in(time.Second), time.Now())
		_, err = c.Read(b)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "it has passed")

		require.NoError(t, c.SetDeadline(in(3*time.Second)))
		time.AfterFunc(time.Second, func() { _, _ = s.Write([]byte("x")) })
		got, err := c.Read(b)
		require.NoError(t, err)
		assert.Equal(t, 1, got)
		sent, err := c.Write(b)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, in(3*time.Second), time.Now())
		assert.Positive(t, sent)
		assert.Less(t, sent, len(b))

		require.NoError(t, c.SetDeadline(time.Time{}))
		time.AfterFunc(time.Hour, func() { assert.NoError(t, c.SetReadDeadline(time.Now())) })
		_, err = c.Read(b)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "also one that is set meanwhile")
		assert.Equal(t, in(time.Hour+3*time.Second), time.Now())
	})
}
