package server

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/stream"
	"trefoil/concrete/message"
)

// counting is a connection that writes nothing, and counts how often it is told to.
type counting struct {
	mute
	flushes int
}

func (c *counting) Flush() { c.flushes++ }

// TestStreamsOfACrowdAreWrittenTogether: where streams wait for room, and somebody is about
// to write, others leave their messages to that; but not what a stream ends with.
func TestStreamsOfACrowdAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewRpcServer("x", WithMaxQueued(100_000)) // room for half of that
		below := new(counting)
		c := s.ep.open(below).(*conn)
		set := c.streams.all(&s.ep.cfg)
		flushes := func(m abstract.BaseMessage, written func()) int {
			before := below.flushes
			require.NoError(t, c.SendStream(m, written))
			return below.flushes - before
		}
		data := &message.StreamMessage{Header: message.ID("1"), Data: message.Raw(`1`)}
		written := func() {}

		c.streams.flushing.Store(true)
		require.Equal(t, 1, flushes(data, written), "nobody waits")

		ctx, cancel := context.WithCancel(t.Context())
		end, err := stream.NewEnd(stream.Config{ID: "1", Context: ctx, Wire: c, Set: set, Credit: 1 << 30})
		require.NoError(t, err)
		sent := make(chan error)
		go func() {
			large := message.Raw(`"` + string(bytes.Repeat([]byte("x"), 40_000)) + `"`)
			for range 2 { // there is room for one
				err = end.SendRaw(large)
			}
			sent <- err
		}()
		synctest.Wait()
		require.True(t, set.Crowded())
		require.Zero(t, flushes(data, written), "somebody is about to write")
		require.Equal(t, 1, flushes(&message.EndNotice{Header: message.ID("2")}, nil))
		c.streams.flushing.Store(false)
		require.Equal(t, 1, flushes(data, written), "and nobody else is")

		cancel()
		require.ErrorIs(t, <-sent, abstract.ErrCancelled)
		require.False(t, set.Crowded())
	})
}
