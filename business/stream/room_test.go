package stream_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"trefoil/business/stream"
)

const (
	portion  = 4 << 10 // what somebody gets who has waited
	portions = 16      // that there are
	small    = portion / 4
)

// fullRoom is a Room, and the streams that have filled it with one message each.
func fullRoom(t *testing.T) (*stream.Room, []*stream.Share) {
	r := stream.NewRoom(portions * portion)
	by := make([]*stream.Share, portions)
	for i := range by {
		by[i] = new(stream.Share)
		require.True(t, r.Enter(by[i], portion, nil))
	}
	return r, by
}

// sender enters small messages as long as it can, and says so.
func sender(r *stream.Room, over <-chan struct{}) (s *stream.Share, entered *int) {
	s, entered = new(stream.Share), new(int)
	go func() {
		for r.Enter(s, small, over) {
			*entered++
		}
	}()
	synctest.Wait()
	return s, entered
}

// TestWhoHasWaitedGetsRoomForSeveral: it is woken once for some messages, and waits behind
// the others then.
func TestWhoHasWaitedGetsRoomForSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, by := fullRoom(t)
		over := make(chan struct{})
		_, a := sender(r, over)
		_, b := sender(r, over)
		for i, want := range [][2]int{{0, 0}, {4, 0}, {4, 4}, {8, 4}, {8, 8}} {
			if i > 0 {
				r.Leave(by[i], portion)
				synctest.Wait()
			}
			require.Equal(t, want, [2]int{*a, *b}, "after %d have left", i)
		}
		close(over)
		synctest.Wait()
	})
}

// TestRoomThatIsNotUsedGoesToOthers: with the last message of whom it was lent to.
func TestRoomThatIsNotUsedGoesToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, by := fullRoom(t)
		over, once := make(chan struct{}), new(stream.Share)
		go r.Enter(once, small, over)
		synctest.Wait()
		s, n := sender(r, over)
		r.Leave(by[0], portion)
		synctest.Wait()
		require.Zero(t, *n, "the room is that of whom it was lent to")
		r.Leave(once, small)
		synctest.Wait()
		require.Equal(t, 4, *n)
		for range 4 {
			r.Leave(s, small)
			synctest.Wait()
		}
		require.Equal(t, 8, *n, "what has left made room for as much, and no more")
		close(over)
		synctest.Wait()
	})
}

// TestWhoGivesUpKeepsNoRoom: neither when it waits, nor when it is let in meanwhile.
func TestWhoGivesUpKeepsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, by := fullRoom(t)
		never := make(chan struct{})
		close(never)
		for i := range 200 {
			s, over, entered := new(stream.Share), make(chan struct{}), make(chan bool)
			go func() { entered <- r.Enter(s, small, over) }()
			synctest.Wait()
			close(over)
			r.Leave(by[0], portion)
			if <-entered {
				r.Leave(s, small)
			}
			require.True(t, r.Enter(by[0], portion, never), "in round %d", i)
			require.False(t, r.Enter(s, small, never), "in round %d", i)
		}
	})
}
