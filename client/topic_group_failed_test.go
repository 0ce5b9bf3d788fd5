package client_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/client"
)

// attempts are when a message was tried.
type attempts []time.Time

// rests are the times between them.
func (a attempts) rests() (list []time.Duration) {
	for i := 1; i < len(a); i++ {
		list = append(list, a[i].Sub(a[i-1]))
	}
	return list
}

// fails subscribes a member that gives every message back that says "bad", and returns when
// it was tried, what became of the others, and what the member was told to be lost.
func fails(w *world, opts ...client.SubscribeOption) (bad *attempts, good *[]string, lost *uint64) {
	w.Helper()
	bad, good, lost = new(attempts), new([]string), new(uint64)
	c, ctx := w.topics(), w.Context()
	_, err := c.Subscribe(ctx, "jobs", func(m client.Message) {
		if string(m.Data) != `"bad"` {
			*good = append(*good, string(m.Data))
			assert.NoError(w, m.Ack(ctx))
			return
		}
		*bad = append(*bad, time.Now())
		assert.Equal(w, len(*bad), m.Delivered)
		assert.NoError(w, m.Nack(ctx, 0))
	}, append(opts, client.QueueGroup("team"), client.ManualAck(), client.OnGap(func(g client.Gap) { *lost += g.Missed }))...)
	require.NoError(w, err)
	return bad, good, lost
}

// TestWhatAlwaysFailsInAGroupIsDroppedAfterAWhile has one message that nobody can do, among
// others that it must not hold up.
func TestWhatAlwaysFailsInAGroupIsDroppedAfterAWhile(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c, ctx := w.topics(), w.Context()
		require.NoError(t, c.Create(ctx, "jobs"))
		bad, good, lost := fails(w)
		begun := time.Now()
		for _, text := range []string{"bad", "a", "b"} {
			require.NoError(t, c.Publish(ctx, "jobs", text))
		}
		synctest.Wait()
		require.Equal(t, begun, time.Now())
		assert.Equal(t, []string{`"a"`, `"b"`}, *good, "it holds nobody up while it rests")
		assert.Len(t, *bad, 2, "the second try comes at once")
		info, err := c.Info(ctx, "jobs")
		require.NoError(t, err)
		assert.Equal(t, []client.GroupInfo{{Group: "team", Members: 1, Resting: 1}}, info.Groups)

		time.Sleep(time.Hour)
		synctest.Wait()
		ms := time.Millisecond
		assert.Equal(t, []time.Duration{
			0, 10 * ms, 20 * ms, 40 * ms, 80 * ms, 160 * ms, 320 * ms, 640 * ms,
			time.Second, time.Second, time.Second, time.Second, time.Second, time.Second, time.Second,
		}, bad.rests(), "16 tries")
		assert.EqualValues(t, 1, *lost, "the member is told")
		info, err = c.Info(ctx, "jobs")
		require.NoError(t, err)
		assert.Equal(t, []client.GroupInfo{{Group: "team", Members: 1, Failed: 1}}, info.Groups)
	})
}

func TestAMemberOfAGroupSaysHowLongAMessageRests(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c, ctx := w.topics(), w.Context()
		require.NoError(t, c.Create(ctx, "jobs"))
		var tried attempts
		waits := []time.Duration{3 * time.Second, time.Hour, 0}
		_, err := c.Subscribe(ctx, "jobs", func(m client.Message) {
			if tried = append(tried, time.Now()); len(tried) > len(waits) {
				assert.NoError(t, m.Ack(ctx))
				return
			}
			assert.NoError(t, m.Nack(ctx, waits[len(tried)-1]))
		}, client.QueueGroup("team"), client.ManualAck())
		require.NoError(t, err)
		require.NoError(t, c.Publish(ctx, "jobs", "x"))
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		assert.Equal(t, []time.Duration{3 * time.Second, time.Minute, 20 * time.Millisecond}, tried.rests(), "a minute is the most")
	})
}

// TestWhatRestsGoesWithTheLastMember leaves a message resting, and comes back.
func TestWhatRestsGoesWithTheLastMember(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c, ctx := w.topics(), w.Context()
		require.NoError(t, c.Create(ctx, "jobs"))
		gone := w.topics()
		tries := 0
		sub, err := gone.Subscribe(ctx, "jobs", func(m client.Message) {
			tries++
			assert.NoError(t, m.Nack(ctx, time.Second))
		}, client.QueueGroup("team"), client.ManualAck())
		require.NoError(t, err)
		require.NoError(t, c.Publish(ctx, "jobs", "bad"))
		synctest.Wait()
		require.NoError(t, sub.Cancel(ctx))
		bad, good, _ := fails(w)
		time.Sleep(time.Minute)
		require.NoError(t, c.Publish(ctx, "jobs", "good"))
		synctest.Wait()
		assert.Equal(t, 1, tries)
		assert.Empty(t, *bad, "a group without members keeps nothing")
		assert.Equal(t, []string{`"good"`}, *good)
	})
}
