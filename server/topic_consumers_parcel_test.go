package server

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// dealer is a consumer that delivers what it has, and notes what is acknowledged.
type dealer struct {
	idle
	gate chan error // Ack returns what it receives from it; nil: nothing

	mu      sync.Mutex
	waiting []abstract.LogDelivery
	acks    []int // how many deliveries each had
	nacked  int
}

// dealtEntry is one of its deliveries.
type dealtEntry struct {
	abstract.LogDelivery
	of    *dealer
	entry abstract.LogEntry
}

func (d *dealtEntry) Entry() abstract.LogEntry { return d.entry }
func (d *dealtEntry) Delivered() int           { return 1 }
func (d *dealtEntry) Nack(context.Context, time.Duration) error {
	d.of.mu.Lock()
	defer d.of.mu.Unlock()
	d.of.nacked++
	return nil
}

func (d *dealer) Fetch(ctx context.Context, most int) ([]abstract.LogDelivery, error) {
	d.mu.Lock()
	n := min(most, len(d.waiting))
	list := d.waiting[:n:n]
	d.waiting = d.waiting[n:]
	d.mu.Unlock()
	if n == 0 {
		return d.idle.Fetch(ctx, most)
	}
	return list, nil
}

func (d *dealer) Ack(_ context.Context, list ...abstract.LogDelivery) error {
	d.mu.Lock()
	d.acks = append(d.acks, len(list))
	d.mu.Unlock()
	if d.gate == nil {
		return nil
	}
	return <-d.gate
}

func (d *dealer) acknowledged() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]int(nil), d.acks...)
}

// deals makes a server whose consumers deliver messages of a size.
func deals(t *testing.T, n, size int) (*TopicServer, *dealer) {
	t.Helper()
	d := &dealer{}
	s := durableServer(t, &fakeLogs{deal: d})
	for i := range n {
		m := request(t, s, abstract.TopicPublish, strconv.Itoa(i+1), "t", strconv.Quote(strings.Repeat("x", size))).(*message.TopicRequest)
		d.waiting = append(d.waiting, &dealtEntry{of: d, entry: abstract.LogEntry{Offset: uint64(i + 1), Data: m.Frame()}})
	}
	return s, d
}

// consumes makes a member with a window.
func consumes(t *testing.T, s *TopicServer, maxFrame, window int) (*conn, *fakeConn) {
	t.Helper()
	c, out := connect(t, s, maxFrame)
	c.OnMessages(asks(t, s, abstract.TopicSubscribe, "s", "t", "", message.TopicExtras{Sub: "a", Name: "k", Window: window}))
	synctest.Wait()
	t.Cleanup(func() { leaves(t, s, c) })
	return c, out
}

func leaves(t *testing.T, s *TopicServer, c *conn) {
	c.OnMessages(asks(t, s, abstract.TopicCancel, "c", "t", "", message.TopicExtras{Sub: "a"}))
	synctest.Wait()
}

func acks(t *testing.T, s *TopicServer, first, last uint64) []abstract.BaseMessage {
	t.Helper()
	var list []uint64
	for n := first; n <= last; n++ {
		list = append(list, n)
	}
	return asks(t, s, abstract.TopicAck, "0", "t", "", message.TopicExtras{Sub: "a", Deliveries: list})
}

func TestWhatAMemberGetsTogetherIsOneParcel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 100
		s, d := deals(t, many, 10)
		c, out := consumes(t, s, bigFrames, many)
		frames := out.drain()
		list := said(t, s, frames)
		require.Len(t, list, 1+many)
		for i, line := range list[1:] {
			assert.Equal(t, "push "+strconv.Itoa(i+1), line)
		}
		assert.LessOrEqual(t, len(frames), 10, "the answer, and a frame for each fetch")
		c.OnMessages(acks(t, s, 1, many))
		synctest.Wait()
		assert.Equal(t, []int{many}, d.acknowledged(), "all at once")
		leaves(t, s, c)
		assert.Zero(t, d.nacked, "there was nothing to give back")
	})
}

func TestAParcelIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := deals(t, 40, 10_000)
		_, out := consumes(t, s, bigFrames, 100)
		frames := out.drain()
		for _, f := range frames {
			assert.LessOrEqual(t, len(f.Bytes), pushBytes)
		}
		assert.Len(t, said(t, s, frames), 1+40)
	})
}

// TestParcelsOfManyMembersHoldNoMoreThanTheyCount: what a member does not read is counted by
// its bytes, so a parcel must not keep memory for what went to others.
func TestParcelsOfManyMembersHoldNoMoreThanTheyCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const members, size = 40, 1000
		s, d := deals(t, members, size)
		list := d.waiting
		d.waiting = nil
		var outs []*fakeConn
		for range members {
			_, out := consumes(t, s, bigFrames, 1)
			out.drain()
			outs = append(outs, out)
		}
		s.index.Lock()
		k := slices.Collect(maps.Values(s.served))[0]
		s.index.Unlock()
		s.takeFetched(k, list)
		for i, out := range outs {
			frames := out.drain()
			require.Len(t, frames, 1, i)
			assert.LessOrEqual(t, cap(frames[0].Bytes), 3*size, i)
		}
	})
}

func TestAMemberIsNotGivenWhatIsTooLongForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := deals(t, 3, 10_000)
		_, out := consumes(t, s, 4096, 100)
		assert.Equal(t, []string{"rsp s 0"}, out.said(t, s))
		synctest.Wait()
		assert.Equal(t, 3, d.nacked)
		assert.EqualValues(t, 3, s.Skipped())
	})
}

func TestAcknowledgementsGatherWhileTheLogIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := deals(t, 60, 10)
		d.gate = make(chan error)
		c, out := consumes(t, s, bigFrames, 10)
		assert.Len(t, out.said(t, s), 1+10)
		next := uint64(1)
		for range 5 {
			c.OnMessages(acks(t, s, next, next+9))
			next += 10
			synctest.Wait()
		}
		assert.Equal(t, []int{10}, d.acknowledged(), "the others wait for the first ones")
		assert.Len(t, out.said(t, s), 50, "and the member gets more meanwhile")
		d.gate <- abstract.Errorf(abstract.Unavailable, "not now")
		synctest.Wait()
		assert.Equal(t, []int{10, 40}, d.acknowledged(), "together, whatever became of the first ones")
		d.gate <- nil
		synctest.Wait()
		c.OnMessages(acks(t, s, next, next+9))
		synctest.Wait()
		d.gate <- nil
		synctest.Wait()
		assert.Equal(t, []int{10, 40, 10}, d.acknowledged())
		s.index.Lock()
		defer s.index.Unlock()
		require.Len(t, s.served, 1)
		for _, k := range s.served {
			assert.Zero(t, k.bytes, "all is counted out")
		}
	})
}
