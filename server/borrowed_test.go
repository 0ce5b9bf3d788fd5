package server

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// crowded is a connection whose queue is full for a while.
type crowded struct {
	abstract.BaseConnection
	since time.Time
	full  time.Duration
	done  chan struct{}
}

func (c *crowded) Queue(abstract.Frame) error {
	if time.Since(c.since) < c.full {
		return abstract.ErrOverloaded
	}
	return nil
}

func (c *crowded) Flush()                {}
func (c *crowded) Done() <-chan struct{} { return c.done }

// TestAnswersWaitForRoomOnABorrowedConnection, for as long as a write may take.
func TestAnswersWaitForRoomOnABorrowedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := NewRpcServer("srv", WithWriteTimeout(time.Second))
		queue := func(full time.Duration) (time.Duration, error) {
			c := &crowded{since: time.Now(), full: full, done: make(chan struct{})}
			begun := time.Now()
			err := srv.Accept(c, 1<<20).(*borrowed).Queue(abstract.Frame{})
			return time.Since(begun), err
		}
		took, err := queue(0)
		require.NoError(t, err)
		assert.Zero(t, took)
		took, err = queue(100 * time.Millisecond)
		require.NoError(t, err)
		assert.Equal(t, 100*time.Millisecond, took)
		took, err = queue(time.Hour)
		require.ErrorIs(t, err, abstract.ErrOverloaded)
		assert.Equal(t, time.Second, took)
	})
}
