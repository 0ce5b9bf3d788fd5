package topic

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// waitFor bounds waiting for messages that nobody else tells us of.
const (
	waitFor = 2 * time.Minute
	tick    = time.Millisecond
)

func TestStampsSurviveTheirMessage(t *testing.T) {
	for _, at := range []int64{1, 1234567890123, 1<<63 - 1} {
		p := newPayload(128)
		putStamp(p, at)
		assert.Equal(t, at, stamp(p))
		assert.Len(t, p, 128)
		assert.True(t, p[0] == '"' && p[127] == '"', "it is a JSON string")
	}
	p := newPayload(0)
	assert.Len(t, p, minPayload, "there is always room for the time")
	putStamp(p, 5)
	untimed(p)
	assert.Zero(t, stamp(p))
}

func TestWindowStopsAtTheSlowestSubscriber(t *testing.T) {
	slots := make([]slot, 3)
	w := newWindow(4, slots)
	for i := range 4 {
		n, ok := w.take(func() { t.Error("there is room, nobody waits") })
		assert.True(t, ok)
		assert.EqualValues(t, i+1, n)
	}
	waits, took := make(chan struct{}), make(chan bool)
	go func() {
		_, ok := w.take(func() { close(waits) })
		took <- ok
	}()
	<-waits
	slots[0].received.Store(4)
	slots[1].received.Store(2)
	w.look()
	assert.EqualValues(t, 4, w.limit.Load(), "the third has seen nothing yet")
	slots[2].lost.Store(1)
	w.look()
	assert.True(t, <-took, "what is lost is not waited for")
}

func TestWindowEndsWhoeverWaits(t *testing.T) {
	w := newWindow(1, make([]slot, 1))
	_, ok := w.take(func() {})
	require.True(t, ok)
	took := make(chan bool)
	waits := make(chan struct{})
	go func() {
		_, ok := w.take(func() { close(waits) })
		took <- ok
	}()
	<-waits
	w.end()
	assert.False(t, <-took)
}

func TestWindowsStayBelowWhatBusesHold(t *testing.T) {
	for _, c := range []struct{ size, subscribers, want int }{
		{128, 1, 2048}, {1024, 1, 256}, {128, 1000, 131}, {128, 10_000, 16}, {1 << 20, 100_000, 16},
	} {
		assert.Equal(t, c.want, windowSize(c.size, c.subscribers), "%d bytes to %d", c.size, c.subscribers)
	}
}

func TestBusesCarryMessagesToEverySubscriberOfTheTopic(t *testing.T) {
	for _, bus := range Buses() {
		t.Run(bus.Name, func(t *testing.T) {
			served, err := bus.Serve(t.Context(), nil)
			if err != nil {
				t.Skip(err)
			}
			defer served.Stop()
			f := Flood{Bus: bus.Name, Addr: served.Addr, Topics: 2, Subscribers: 2, Size: 64, Progress: filepath.Join(t.TempDir(), "progress")}
			p, err := newPublisher(t.Context(), f)
			require.NoError(t, err)
			defer p.close()

			const each = 3
			var wrong atomic.Int64
			got := make(chan int, f.connections()*each)
			for i := range f.connections() {
				c, err := bus.Dial(t.Context(), served.Addr)
				require.NoError(t, err)
				defer c.Close()
				want := []byte{byte('0' + i/f.Subscribers)}
				require.NoError(t, c.Subscribe(t.Context(), f.Topic(i/f.Subscribers), func(payload []byte, missed uint64) {
					if len(payload) != f.Size || missed > 0 || !bytes.Contains(payload, want) {
						wrong.Add(1)
					}
					got <- i
				}))
			}
			for i, c := range p.conns {
				payload := bytes.ReplaceAll(newPayload(f.Size), []byte("x"), []byte{byte('0' + i)})
				for range each {
					require.NoError(t, c.Publish(t.Context(), f.Topic(i), payload))
				}
				require.NoError(t, c.Flush())
			}
			seen := map[int]int{}
			for range f.connections() * each {
				seen[<-got]++
			}
			assert.Equal(t, map[int]int{0: each, 1: each, 2: each, 3: each}, seen)
			assert.Zero(t, wrong.Load())
		})
	}
}

func TestFloorWritesWholeFramesHoweverTheyArrive(t *testing.T) {
	served, err := serveFloor(t.Context(), nil)
	require.NoError(t, err)
	defer served.Stop()
	sub, err := dialFloor(t.Context(), served.Addr)
	require.NoError(t, err)
	defer sub.Close()
	got := make(chan string, 2)
	require.NoError(t, sub.Subscribe(t.Context(), "x.7", func(b []byte, _ uint64) { got <- string(b) }))

	c, err := net.Dial("tcp", served.Addr)
	require.NoError(t, err)
	defer c.Close()
	for _, part := range []string{"\x00\x00", "\x00\x05p\x07abc\x00\x00\x00\x04", "p\x07de"} {
		_, err := c.Write([]byte(part))
		require.NoError(t, err)
	}
	assert.Equal(t, "abc", <-got)
	assert.Equal(t, "de", <-got)
}

func TestPublisherPublishesOneFloodAtATime(t *testing.T) {
	served, err := serveFloor(t.Context(), nil)
	require.NoError(t, err)
	defer served.Stop()
	f := Flood{Bus: "floor", Addr: served.Addr, Topics: 1, Subscribers: 1, Size: 64, Progress: filepath.Join(t.TempDir(), "progress")}
	subs, err := Subscribe(t.Context(), f)
	require.NoError(t, err)
	defer subs.Close()
	p, err := newPublisher(t.Context(), f)
	require.NoError(t, err)
	defer p.close()
	for _, rate := range []float64{5000, 0} {
		before := subs.Received()
		require.NoError(t, p.start(context.WithoutCancel(t.Context()), rate))
		assert.Error(t, p.start(t.Context(), rate), "it publishes already")
		require.Eventually(t, func() bool { return subs.Received() > before+10 }, waitFor, tick)
		out, err := p.stop()
		require.NoError(t, err)
		assert.Zero(t, out.Errors)
		assert.Positive(t, out.Messages)
	}
}
