//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// dialFar is a client that comes back fast, over whatever is between it and the broker. A
// greeting that is lost in silence costs it a few seconds: one that is only late because
// the machine has too much to do is not to be taken for an existing program's silence.
func dialFar(t *testing.T, addr string) *client.TopicClient {
	t.Helper()
	conn, _ := dialBroker(t, addr, client.WithBackoff(5*time.Millisecond, 50*time.Millisecond), client.WithTimeout(2*time.Minute),
		client.WithConnectTimeout(patience), client.WithHelloTimeout(5*time.Second), client.WithSubscriptionQueue(256<<20))
	return client.NewTopicClient(conn)
}

// speaker publishes numbers to a topic, one after the other.
type speaker struct {
	topics  *client.TopicClient
	topic   string
	once    bool // each by its id, until it is taken; else a number in doubt is left
	number  uint64
	doubted int
}

// say publishes the next number, and returns when it is taken, or in doubt.
func (s *speaker) say(ctx context.Context) {
	s.number++
	m := numbered{N: s.number, Pad: strings.Repeat("x", rand.IntN(500))}
	for ctx.Err() == nil {
		p := client.Publishing{}
		if s.once {
			p.ID = strconv.FormatUint(s.number, 10)
		}
		_, err := s.topics.PublishWith(ctx, s.topic, m, p)
		if err == nil {
			return
		}
		if e := new(abstract.Error); !s.once && (!errors.As(err, &e) || e.Sent != abstract.SentNo) {
			s.doubted++
			return
		}
	}
}

// The topics of the fault tests: one that keeps all, one that keeps too little for some
// cuts, and one that keeps nothing.
const (
	longTopic, shortTopic, noneTopic = "cut.long", "cut.short", "cut.none"
)

func faultTopics() map[string]*abstract.TopicSettings {
	return map[string]*abstract.TopicSettings{
		longTopic:  {History: abstract.History{Count: abstract.MaxTopicHistory}, Dedup: time.Hour},
		shortTopic: {History: abstract.History{Count: 40}, Dedup: time.Hour},
		noneTopic:  nil,
	}
}

func createFaultTopics(t *testing.T, c *client.TopicClient) (names []string) {
	t.Helper()
	for name, settings := range faultTopics() {
		if settings == nil {
			require.NoError(t, c.Create(t.Context(), name))
		} else {
			require.NoError(t, c.CreateWith(t.Context(), name, *settings))
		}
		names = append(names, name)
	}
	return names
}

// TestCutsLeaveNoSilentGap cuts the connections of publishers and subscribers again and
// again. Every subscription gets all messages in order, or a notice where some are
// missing, and no notice where none are. TREFOIL_LONG=1 cuts 1,000 times.
func TestCutsLeaveNoSilentGap(t *testing.T) {
	_, broker := startFastBroker(t, anyPort, "--ping-interval", "300ms", "--ping-misses", "5")
	var cuts atomic.Int64
	proxy := func() string { return newCutter(t, broker, &cuts, 100_000).addr() }
	names := createFaultTopics(t, dialFar(t, broker))
	var records []*record
	for i := range 6 {
		far, name := dialFar(t, proxy()), "subscriber "+strconv.Itoa(i)
		for _, topic := range names {
			records = append(records, follow(t, far, name, topic), follow(t, far, name+" tagged", topic, client.FromAll()))
		}
		for _, r := range followMany(t, far, name, "cut.*", names...) {
			records = append(records, r)
		}
	}
	most := int64(long(60, 1000))
	cuts.Store(most)
	speakers := map[string]*speaker{}
	var speaking sync.WaitGroup
	for _, topic := range names {
		s := &speaker{topics: dialFar(t, proxy()), topic: topic, once: topic != noneTopic}
		speakers[topic] = s
		speaking.Go(func() {
			for cuts.Load() > 0 && t.Context().Err() == nil {
				s.say(t.Context())
			}
		})
	}
	speaking.Wait()
	settle(t, dialFar(t, broker), speakers, records)
	report(t, most, speakers, records)
}

// settle goes on publishing until every subscription has something of that.
func settle(t *testing.T, near *client.TopicClient, speakers map[string]*speaker, records []*record) {
	t.Helper()
	last := map[string]uint64{}
	for _, s := range speakers {
		s.topics, s.once = near, false
		last[s.topic] = s.number + 1
	}
	require.Eventually(t, func() bool {
		for _, s := range speakers {
			s.say(t.Context())
		}
		for _, r := range records {
			if r.at() < last[r.topic()] {
				return false
			}
		}
		return true
	}, patience, 20*time.Millisecond, "somebody is behind: %v", lazily(func() (list string) {
		for _, r := range records {
			if at := r.at(); at < last[r.topic()] {
				list += fmt.Sprintf("%s is at %d, and not at %d; ", r.name, at, last[r.topic()])
			}
		}
		return list
	}))
}

// lazily is a text for a message that is made when it is printed.
type lazily func() string

// String makes the text.
func (l lazily) String() string { return l() }

// topic is the last word of a record's name.
func (r *record) topic() string { return r.name[strings.LastIndexByte(r.name, ' ')+1:] }

// counts returns how many messages have come, how many notices, and how many places were
// left out.
func (r *record) counts() (messages, notices, holes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.messages, r.notices, r.holes
}

func report(t *testing.T, cuts int64, speakers map[string]*speaker, records []*record) {
	t.Helper()
	var messages, notices, holes int
	for _, r := range records {
		r.check(t)
		got, told, missing := r.counts()
		if r.topic() == longTopic {
			assert.Zero(t, missing+told, "%s: all of it is kept", r.name)
		}
		messages, notices, holes = messages+got, notices+told, holes+missing
	}
	published := uint64(0)
	for _, s := range speakers {
		published += s.number
	}
	t.Logf("%d cuts, %d messages, %d subscriptions, %d deliveries, %d places where some are missing, %d notices; 0 silent gaps, none twice, none out of order",
		cuts, published, len(records), messages, holes, notices)
}

// TestASecondAwayIsMadeUpFor cuts a subscriber off for a second while 10,000 messages are
// published. Where the topic keeps enough it gets all of them, and where not it is told once.
func TestASecondAwayIsMadeUpFor(t *testing.T) {
	_, broker := startFastBroker(t, anyPort)
	near := dialFar(t, broker)
	for topic, kept := range map[string]int{"ample": 20_000, "scant": 100} {
		t.Run(topic, func(t *testing.T) {
			require.NoError(t, near.CreateWith(t.Context(), topic, abstract.TopicSettings{History: abstract.History{Count: kept}}))
			line := newCutter(t, broker, new(atomic.Int64), 1)
			far := dialFar(t, line.addr())
			records := []*record{follow(t, far, "plain", topic), follow(t, far, "tagged", topic, client.FromAll())}
			s := &speaker{topics: near, topic: topic}
			speak := func(to uint64) {
				for s.number < to {
					s.say(t.Context())
				}
			}
			speak(2000)
			back := time.NewTimer(time.Second)
			line.refuse(true)
			speak(8000)
			<-back.C
			line.refuse(false)
			speak(10_000)
			for _, r := range records {
				require.Eventually(t, func() bool { return r.at() == 10_000 }, patience, 10*time.Millisecond)
				r.check(t)
				want := map[string]int{"ample": 0, "scant": 1}[topic]
				got, told, missing := r.counts()
				assert.Equal(t, want, told, "%s: how often it is told", r.name)
				assert.Equal(t, want, missing, r.name)
				t.Logf("%s: %d of 10000 messages in order, %d notices", r.name, got, told)
			}
		})
	}
}

// TestARestartedBrokerIsToldOfOnce restarts a broker that keeps its topics in memory: their
// offsets begin anew, and each subscription is told once that it has lost some.
func TestARestartedBrokerIsToldOfOnce(t *testing.T) {
	proc, broker := startFastBroker(t, anyPort)
	near := dialFar(t, broker)
	names := createFaultTopics(t, near)
	far := dialFar(t, broker)
	var records []*record
	for _, topic := range names {
		plain, tagged := follow(t, far, "plain", topic), follow(t, far, "tagged", topic, client.FromAll())
		plain.anew, tagged.anew = true, true
		records = append(records, plain, tagged)
	}
	speakers := map[string]*speaker{}
	for _, topic := range names {
		speakers[topic] = &speaker{topics: near, topic: topic}
	}
	restarts := long(2, 20)
	for i := range restarts {
		for range 100 {
			for _, s := range speakers {
				s.say(t.Context())
			}
		}
		settle(t, near, speakers, records)
		proc.signal(syscall.SIGKILL)
		proc.wait()
		proc, _ = startFastBroker(t, broker)
		settle(t, near, speakers, records)
		for _, r := range records {
			r.check(t)
			_, told, _ := r.counts()
			assert.Equal(t, i+1, told, "%s: how often it was told", r.name)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d restarts, %d subscriptions: each was told once of each", restarts, len(records))
}
