package client_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A subscriber that reads nothing holds nobody up, takes no more of the broker's memory
// than its queue, and is told what it has lost as soon as it reads again.
func TestStoppedSubscriberIsToldWhatItHasLost(t *testing.T) {
	const (
		messages = 6000
		size     = 1 << 10
		queue    = 1 << 20
		between  = 768 << 10 // on its way: in the pipe, in one write, and in the reader's hands
	)
	inWorld(t, func(w *world) {
		w.broker()
		publisher, ctx := w.topics(), w.Context()
		require.NoError(t, publisher.Create(ctx, "news"))
		var others []*inbox
		for range 20 {
			in, _ := w.subscribe(w.topics(), "news")
			others = append(others, in)
		}
		stopped, machine := w.topicsOn()
		late, _ := w.subscribe(stopped, "news")
		machine.Stall(true)

		text := strings.Repeat("x", size)
		for i := range messages {
			require.NoError(t, publisher.Publish(ctx, "news", text))
			if i%100 == 0 {
				synctest.Wait() // those who read have read
			}
		}
		for _, in := range others {
			assert.Len(t, in.all(), messages)
			assert.Empty(t, in.lost())
		}
		assert.Empty(t, late.all())

		machine.Stall(false)
		require.NoError(t, publisher.Publish(ctx, "news", "the last"))
		synctest.Wait()
		got := late.all()
		require.NotEmpty(t, got)
		assert.Equal(t, `news "the last"`, got[len(got)-1])
		assert.LessOrEqual(t, len(got)*size, queue+between, "so much was kept for it")
		var missed uint64
		for _, gap := range late.lost() {
			assert.False(t, gap.Unrecovered)
			missed += gap.Missed
		}
		assert.Equal(t, messages+1, len(got)+int(missed), "what it has not got it was told of")
	})
}
