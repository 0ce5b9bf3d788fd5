package client_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/server"
)

// inbox keeps what a subscription gets.
type inbox struct {
	mu   sync.Mutex
	got  []string
	gaps []client.Gap
}

func (i *inbox) take(m client.Message) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.got = append(i.got, m.Topic+" "+string(m.Data))
}

func (i *inbox) gap(g client.Gap) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.gaps = append(i.gaps, g)
}

// all returns what has come, once everything is quiet, and forgets it.
func (i *inbox) all() []string {
	synctest.Wait()
	i.mu.Lock()
	defer i.mu.Unlock()
	got := i.got
	i.got = nil
	return got
}

func (i *inbox) lost() []client.Gap {
	synctest.Wait()
	i.mu.Lock()
	defer i.mu.Unlock()
	gaps := i.gaps
	i.gaps = nil
	return gaps
}

func (w *world) subscribe(c *client.TopicClient, topic string, opts ...client.SubscribeOption) (*inbox, *client.Subscription) {
	w.Helper()
	in := new(inbox)
	sub, err := c.Subscribe(context.Background(), topic, in.take, append(opts, client.OnGap(in.gap))...)
	require.NoError(w, err)
	return in, sub
}

func (w *world) topics(opts ...client.Option) *client.TopicClient {
	return client.NewTopicClient(w.dial(opts...))
}

// topicsOn is a client on a machine of its own.
func (w *world) topicsOn(opts ...client.Option) (*client.TopicClient, *mem.Machine) {
	w.Helper()
	machine := w.net.Machine()
	c, err := client.Dial(context.Background(), "broker", append(opts, client.WithTransport(machine.Client), client.WithLogger(quiet))...)
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, c.Close()) })
	return client.NewTopicClient(c), machine
}

func (w *world) publish(c *client.TopicClient, topic string, from, to int) {
	w.Helper()
	for i := from; i <= to; i++ {
		require.NoError(w, c.Publish(context.Background(), topic, i))
	}
}

func numbered(topic string, from, to int) (list []string) {
	for i := from; i <= to; i++ {
		list = append(list, topic+" "+strconv.Itoa(i))
	}
	return list
}

func TestFiltersNameManyTopics(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c, ctx := w.topics(), w.Context()
		require.NoError(t, c.Create(ctx, "orders.eu"))
		one, _ := w.subscribe(c, "orders.*")
		all, sub := w.subscribe(c, ">")
		plain, _ := w.subscribe(c, "orders.eu")
		require.NoError(t, c.Create(ctx, "orders.us"), "it is subscribed to before it is there")
		require.NoError(t, c.Create(ctx, "orders.us.ny"))
		for _, topic := range []string{"orders.eu", "orders.us", "orders.us.ny"} {
			w.publish(c, topic, 1, 1)
		}
		assert.Equal(t, []string{"orders.eu 1", "orders.us 1"}, one.all())
		assert.Equal(t, []string{"orders.eu 1", "orders.us 1", "orders.us.ny 1"}, all.all())
		assert.Equal(t, []string{"orders.eu 1"}, plain.all())
		require.NoError(t, sub.Cancel(ctx))
		w.publish(c, "orders.eu", 2, 2)
		assert.Empty(t, all.all())
		assert.Equal(t, []string{"orders.eu 2"}, one.all())
		_, err := c.Subscribe(ctx, "orders.*", nil, client.FromOffset(3))
		assert.ErrorIs(t, err, abstract.ErrInvalidOp, "an offset is one topic's own")
	})
}

func TestSubscriptionsBeginWhereTheyWant(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c, ctx := w.topics(), w.Context()
		require.NoError(t, c.CreateWith(ctx, "t", abstract.TopicSettings{History: abstract.History{Count: 5}}))
		w.publish(c, "t", 1, 3)
		time.Sleep(time.Second)
		noon := time.Now()
		time.Sleep(time.Second)
		w.publish(c, "t", 4, 8)
		for name, tc := range map[string]struct {
			opt  client.SubscribeOption
			want []string
			gaps []client.Gap
		}{
			"new":              {client.FromNew(), nil, nil},
			"last":             {client.FromLast(), numbered("t", 8, 8), nil},
			"all":              {client.FromAll(), numbered("t", 4, 8), nil},
			"an offset":        {client.FromOffset(6), numbered("t", 6, 8), nil},
			"the next one":     {client.FromOffset(9), nil, nil},
			"an offset gone":   {client.FromOffset(2), numbered("t", 4, 8), []client.Gap{{Topic: "t", Unrecovered: true}}},
			"a time":           {client.FromTime(noon), numbered("t", 4, 8), nil},
			"a time to come":   {client.FromTime(noon.Add(time.Hour)), nil, nil},
			"what it does not": {client.Queue(1 << 20), nil, nil},
		} {
			in, sub := w.subscribe(c, "t", tc.opt)
			assert.Equal(t, tc.want, in.all(), name)
			assert.Equal(t, tc.gaps, in.lost(), name)
			require.NoError(t, sub.Cancel(ctx))
		}
		in, _ := w.subscribe(c, "t", client.FromAll())
		w.publish(c, "t", 9, 10)
		assert.Equal(t, numbered("t", 4, 10), in.all(), "what is kept, and what follows, in one order")
		read, err := c.Read(ctx, "t", 9, 0)
		require.NoError(t, err)
		require.Len(t, read, 2)
		assert.Equal(t, uint64(9), read[0].Offset)
		assert.WithinDuration(t, time.Now(), read[0].Time, time.Second)
	})
}

func TestRetainedMessageComesFirst(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c, ctx := w.topics(), w.Context()
		require.NoError(t, c.CreateWith(ctx, "state", abstract.TopicSettings{Retain: true}))
		w.publish(c, "state", 1, 2)
		plain, _ := w.subscribe(c, "state")
		other := w.topics()
		tagged, _ := w.subscribe(other, "state", client.Where(nil))
		wild, _ := w.subscribe(other, "*", client.FromLast())
		fresh, _ := w.subscribe(other, "state", client.FromNew())
		w.publish(c, "state", 3, 3)
		assert.Equal(t, numbered("state", 2, 3), plain.all())
		assert.Equal(t, numbered("state", 2, 3), tagged.all())
		assert.Equal(t, numbered("state", 2, 3), wild.all())
		assert.Equal(t, numbered("state", 3, 3), fresh.all())
	})
}

func TestSubscriptionsGoOnAfterACut(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		publisher, ctx := w.topics(), w.Context()
		require.NoError(t, publisher.CreateWith(ctx, "kept", abstract.TopicSettings{History: abstract.History{Count: 100}}))
		require.NoError(t, publisher.CreateWith(ctx, "short", abstract.TopicSettings{History: abstract.History{Count: 3}}))
		require.NoError(t, publisher.Create(ctx, "plain"))
		cuttable, machine := w.topicsOn()
		var ins []*inbox
		for _, topic := range []string{"kept", "short", "plain"} {
			shared, _ := w.subscribe(cuttable, topic)
			own, _ := w.subscribe(cuttable, topic, client.Where(nil))
			ins = append(ins, shared, own)
		}
		for _, topic := range []string{"kept", "short", "plain"} {
			w.publish(publisher, topic, 1, 2)
		}
		synctest.Wait()
		machine.Refuse(true)
		machine.Cut()
		for _, topic := range []string{"kept", "short", "plain"} {
			w.publish(publisher, topic, 3, 8)
		}
		machine.Refuse(false)
		time.Sleep(time.Minute) // it is back
		for _, topic := range []string{"kept", "short", "plain"} {
			w.publish(publisher, topic, 9, 9)
		}
		for i, in := range ins {
			got, gaps := in.all(), in.lost()
			switch i / 2 {
			case 0:
				assert.Equal(t, numbered("kept", 1, 9), got, "%d", i)
				assert.Empty(t, gaps, "%d", i)
			case 1:
				assert.Equal(t, append(numbered("short", 1, 2), numbered("short", 6, 9)...), got, "%d", i)
				assert.Equal(t, []client.Gap{{Topic: "short", Unrecovered: true}}, gaps, "%d", i)
			case 2:
				assert.Equal(t, append(numbered("plain", 1, 2), numbered("plain", 9, 9)...), got, "%d", i)
				assert.Equal(t, []client.Gap{{Topic: "plain", Unrecovered: true}}, gaps, "%d", i)
			}
		}
	})
}

func TestABrokerThatForgotIsAnHonestGap(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.broker()
		c, ctx := w.topics(), w.Context()
		require.NoError(t, c.CreateWith(ctx, "t", abstract.TopicSettings{History: abstract.History{Count: 10}}))
		in, _ := w.subscribe(c, "t", client.FromAll())
		w.publish(c, "t", 1, 3)
		assert.Equal(t, numbered("t", 1, 3), in.all())
		b.stop()
		w.broker()
		time.Sleep(time.Minute)
		info, err := c.Info(ctx, "t")
		require.NoError(t, err, "its creator has made it again")
		assert.Equal(t, 10, info.Settings.History.Count, "as it was")
		w.publish(c, "t", 4, 5)
		assert.Equal(t, numbered("t", 4, 5), in.all())
		assert.Equal(t, []client.Gap{{Topic: "t", Unrecovered: true}}, in.lost())
	})
}

func TestGroupsShareMessages(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c, ctx := w.topics(), w.Context()
		require.NoError(t, c.Create(ctx, "jobs"))
		var mu sync.Mutex
		done := map[string]int{}
		slow, release := make(chan struct{}), make(chan struct{})
		defer close(release)
		member := func(hang bool) *mem.Machine {
			c, machine := w.topicsOn()
			_, err := c.Subscribe(ctx, "jobs", func(m client.Message) {
				if hang {
					close(slow)
					<-release
					return
				}
				mu.Lock()
				defer mu.Unlock()
				done[string(m.Data)]++
			}, client.QueueGroup("workers"))
			require.NoError(t, err)
			return machine
		}
		hung := member(true)
		member(false)
		member(false)
		everything, _ := w.subscribe(c, "jobs")
		w.publish(c, "jobs", 1, 100)
		synctest.Wait()
		<-slow
		assert.Len(t, done, 99, "nobody waits for the slow one")
		assert.Len(t, everything.all(), 100, "others get all")
		hung.Refuse(true)
		hung.Cut()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		assert.Len(t, done, 100, "what it had in hand goes to another member")
	})
}

func TestMessagesAreTakenOnceAndOnlyWhereTheyFit(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c, ctx := w.topics(), w.Context()
		require.NoError(t, c.CreateWith(ctx, "t", abstract.TopicSettings{Dedup: time.Minute, MaxBytes: 5, TTL: time.Hour, History: abstract.History{Count: 10}}))
		in, _ := w.subscribe(c, "t")
		first, err := c.PublishWith(ctx, "t", 1, client.Publishing{ID: "one"})
		require.NoError(t, err)
		assert.Equal(t, client.Receipt{Offset: 1, Subscribers: 1}, first)
		again, err := c.PublishWith(ctx, "t", 1, client.Publishing{ID: "one"})
		require.NoError(t, err)
		assert.Equal(t, client.Receipt{Offset: 1, Duplicate: true}, again)
		time.Sleep(time.Minute)
		later, err := c.PublishWith(ctx, "t", 2, client.Publishing{ID: "one"})
		require.NoError(t, err)
		assert.Equal(t, uint64(2), later.Offset)
		assert.ErrorIs(t, c.Publish(ctx, "t", "too long"), abstract.ErrTooLarge)
		assert.Equal(t, numbered("t", 1, 2), in.all())
		_, err = c.PublishWith(ctx, "t", 3, client.Publishing{Delay: time.Second})
		assert.ErrorIs(t, err, abstract.ErrUnsupported, "it would be lost with the broker")
		_, err = c.PublishWith(ctx, "t", 3, client.Publishing{TTL: time.Minute})
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		old, _ := w.subscribe(c, "t", client.FromAll())
		assert.Equal(t, numbered("t", 1, 2), old.all(), "the third is too old")
		require.NoError(t, c.Send(ctx, "t", 4))
		require.NoError(t, c.Send(ctx, "nowhere", 4))
		assert.Equal(t, numbered("t", 4, 4), old.all())
	})
}

func TestARemovedTopicEndsItsSubscriptionsAndTheNextIsAnother(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c, other, ctx := w.topics(), w.topics(), w.Context()
		require.NoError(t, c.Create(ctx, "t"))
		info, err := c.Info(ctx, "t")
		require.NoError(t, err)
		ended := make(chan error, 2)
		for _, opts := range [][]client.SubscribeOption{nil, {client.Where(nil)}} {
			sub, err := other.Subscribe(ctx, "t", nil, opts...)
			require.NoError(t, err)
			go func() {
				for _, err := range sub.Messages(ctx) {
					if err != nil {
						ended <- err
					}
				}
			}()
		}
		w.publish(c, "t", 1, 1)
		require.NoError(t, c.Remove(ctx, "t"))
		assert.ErrorIs(t, <-ended, abstract.ErrTopicNotFound)
		assert.ErrorIs(t, <-ended, abstract.ErrTopicNotFound)
		require.NoError(t, c.Create(ctx, "t"))
		_, err = c.PublishWith(ctx, "t", 1, client.Publishing{Epoch: info.Epoch})
		assert.ErrorIs(t, err, abstract.ErrConflict)
	})
}

func TestSlowSubscribersAreTreatedAsTheTopicSays(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker(server.WithSubscriberQueue(16 << 10))
		c, ctx := w.topics(), w.Context()
		text := string(make([]byte, 1<<10))
		for policy, after := range map[abstract.SlowPolicy]func(in *inbox, sub *client.Subscription){
			abstract.SlowDropOldest: func(in *inbox, _ *client.Subscription) { assert.NotEmpty(t, in.lost()) },
			abstract.SlowDropNewest: func(in *inbox, _ *client.Subscription) { assert.NotEmpty(t, in.lost()) },
		} {
			topic := policy.String()
			require.NoError(t, c.CreateWith(ctx, topic, abstract.TopicSettings{Slow: policy}))
			slow, machine := w.topicsOn()
			in, sub := w.subscribe(slow, topic)
			machine.Stall(true)
			for range 100 {
				require.NoError(t, c.Publish(ctx, topic, text))
			}
			machine.Stall(false)
			w.publish(c, topic, 1, 1)
			assert.NotEmpty(t, in.all(), topic)
			after(in, sub)
		}
	})
}

func TestPresenceIsTold(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c, ctx := w.topics(), w.Context()
		require.NoError(t, c.CreateWith(ctx, "room", abstract.TopicSettings{Presence: true}))
		var mu sync.Mutex
		var seen []string
		_, err := c.Subscribe(ctx, "room", func(client.Message) {}, client.OnPresence(func(p client.Presence) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, fmt.Sprint(p.Joined, p.Peer != ""))
		}))
		require.NoError(t, err)
		guest := w.dial()
		_, err = client.NewTopicClient(guest).Subscribe(ctx, "room", func(client.Message) {})
		require.NoError(t, err)
		info, err := c.Info(ctx, "room")
		require.NoError(t, err)
		assert.Len(t, info.Present, 2)
		require.NoError(t, guest.Close())
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		assert.Equal(t, []string{"true true", "false true"}, seen)
	})
}

func TestTopicsAreListed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		c, ctx := w.topics(), w.Context()
		var want []string
		for i := range 1200 {
			want = append(want, fmt.Sprintf("many.%d", i))
			require.NoError(t, c.Create(ctx, want[i]))
		}
		require.NoError(t, c.Create(ctx, "one"))
		slices.Sort(want)
		var got []string
		for name, err := range c.List(ctx, "many.*") {
			require.NoError(t, err)
			got = append(got, name)
		}
		assert.Equal(t, want, got)
	})
}
