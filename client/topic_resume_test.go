package client_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// diary keeps what a subscription is told, in order: messages, and "lost" or a count for
// what is missing.
type diary struct {
	mu   sync.Mutex
	said []string
	hold chan struct{} // closed when the callback may return
}

func (d *diary) take(m client.Message) {
	if d.hold != nil {
		<-d.hold
	}
	d.say(string(m.Data))
}

func (d *diary) gap(g client.Gap) {
	if g.Unrecovered {
		d.say("lost")
		return
	}
	d.say("-" + strconv.FormatUint(g.Missed, 10))
}

func (d *diary) say(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.said = append(d.said, what)
}

func (d *diary) text() string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.said, " ")
}

func (w *world) keep(c *client.TopicClient, topic string, opts ...client.SubscribeOption) *diary {
	w.Helper()
	d := new(diary)
	w.keepIn(d, c, topic, opts...)
	return d
}

func (w *world) keepIn(d *diary, c *client.TopicClient, topic string, opts ...client.SubscribeOption) {
	w.Helper()
	_, err := c.Subscribe(context.Background(), topic, d.take, append(opts, client.OnGap(d.gap))...)
	require.NoError(w, err)
}

// away cuts a machine off while something is published, and brings it back.
func (w *world) away(machine interface {
	Refuse(bool)
	Cut()
}, meanwhile func()) {
	machine.Refuse(true)
	machine.Cut()
	meanwhile()
	machine.Refuse(false)
	time.Sleep(time.Minute)
}

func TestTheNoticeOfALossStandsWhereTheLossIs(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		publisher, ctx := w.topics(), w.Context()
		require.NoError(t, publisher.CreateWith(ctx, "t", abstract.TopicSettings{History: abstract.History{Count: 3}}))
		far, machine := w.topicsOn()
		plain, tagged := &diary{hold: make(chan struct{})}, &diary{hold: make(chan struct{})}
		w.keepIn(plain, far, "t")
		w.keepIn(tagged, far, "t", client.FromAll())
		w.publish(publisher, "t", 1, 3) // wait for the callback while the rest happens
		synctest.Wait()
		w.away(machine, func() { w.publish(publisher, "t", 4, 8) })
		w.away(machine, func() { w.publish(publisher, "t", 9, 9) })
		w.away(machine, func() { w.publish(publisher, "t", 10, 14) })
		close(plain.hold)
		close(tagged.hold)
		assert.Equal(t, "1 2 3 lost 6 7 8 9 lost 12 13 14", plain.text())
		assert.Equal(t, "1 2 3 lost 6 7 8 9 lost 12 13 14", tagged.text())
	})
}

func TestALossIsToldOnceHoweverOftenTheConnectionIsLost(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.broker()
		publisher, ctx := w.topics(), w.Context()
		for topic, kept := range map[string]int{"short": 2, "none": 0, "long": 100} {
			require.NoError(t, publisher.CreateWith(ctx, topic, abstract.TopicSettings{History: abstract.History{Count: kept}}))
		}
		far, machine := w.topicsOn()
		diaries := map[string]*diary{}
		for _, topic := range []string{"short", "none", "long"} {
			diaries[topic], diaries[topic+" tagged"] = w.keep(far, topic), w.keep(far, topic, client.Where(nil))
			w.publish(publisher, topic, 1, 9)
		}
		synctest.Wait()
		b.stop()
		w.broker() // counts from 1 again, and has nothing
		time.Sleep(time.Minute)
		for range 3 { // nothing is published, and nothing is lost
			w.away(machine, func() {})
		}
		for name, d := range diaries {
			assert.Equal(t, "1 2 3 4 5 6 7 8 9 lost", d.text(), name)
		}
		w.away(machine, func() {
			for topic := range diaries {
				if !strings.Contains(topic, " ") {
					w.publish(publisher, topic, 1, 3)
				}
			}
		})
		for range 3 {
			w.away(machine, func() {})
		}
		for topic, want := range map[string]string{"short": " lost 2 3", "none": " lost", "long": " 1 2 3"} {
			assert.Equal(t, "1 2 3 4 5 6 7 8 9 lost"+want, diaries[topic].text(), topic)
			assert.Equal(t, "1 2 3 4 5 6 7 8 9 lost"+want, diaries[topic+" tagged"].text(), topic)
		}
	})
}

func TestAFilterOfManyTopicsIsToldThatItWasAway(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		publisher := w.topics()
		require.NoError(t, publisher.Create(w.Context(), "a.b"))
		far, machine := w.topicsOn()
		all := w.keep(far, "a.*")
		w.publish(publisher, "a.b", 1, 2)
		synctest.Wait()
		w.away(machine, func() { w.publish(publisher, "a.b", 3, 4) })
		w.publish(publisher, "a.b", 5, 5)
		assert.Equal(t, "1 2 lost 5", all.text())
	})
}

func TestOffsetsGoOnWhenATopicBeginsToKeepMessages(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		publisher, ctx := w.topics(), w.Context()
		require.NoError(t, publisher.Create(ctx, "t"))
		far, machine := w.topicsOn()
		d := w.keep(far, "t")
		keeps, forgets := abstract.TopicSettings{History: abstract.History{Count: 10}}, abstract.TopicSettings{}
		w.publish(publisher, "t", 1, 5)
		require.NoError(t, publisher.Set(ctx, "t", keeps))
		info, err := publisher.Info(ctx, "t")
		require.NoError(t, err)
		assert.Equal(t, []uint64{6, 5}, []uint64{info.First, info.Last})
		w.publish(publisher, "t", 6, 7)
		synctest.Wait()
		w.away(machine, func() { w.publish(publisher, "t", 8, 9) })
		require.NoError(t, publisher.Set(ctx, "t", forgets))
		w.publish(publisher, "t", 10, 11)
		require.NoError(t, publisher.Set(ctx, "t", keeps))
		w.publish(publisher, "t", 12, 12)
		assert.Equal(t, "1 2 3 4 5 6 7 8 9 10 11 12", d.text())
		kept, err := publisher.Read(ctx, "t", 1, 0)
		require.NoError(t, err)
		require.Len(t, kept, 1)
		assert.EqualValues(t, 12, kept[0].Offset)
	})
}

func TestMessagesThatASubscriberCannotTakeAreMissed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		publisher, ctx := w.topics(), w.Context()
		require.NoError(t, publisher.CreateWith(ctx, "t", abstract.TopicSettings{History: abstract.History{Count: 10}}))
		small := w.topics(client.WithMaxFrame(1024))
		live, tagged := w.keep(small, "t"), w.keep(small, "t", client.Where(nil))
		w.publish(publisher, "t", 1, 1)
		require.NoError(t, publisher.Publish(ctx, "t", strings.Repeat("x", 2000)))
		w.publish(publisher, "t", 3, 3)
		later := w.keep(small, "t", client.FromAll())
		for name, d := range map[string]*diary{"live": live, "tagged": tagged, "later": later} {
			assert.Equal(t, "1 -1 3", d.text(), name)
		}
	})
}
