//go:build unix

package server

import (
	"fmt"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/topic"
	"trefoil/concrete/message"
)

// A million subscriptions: 1,000 connections with 1,000 each. 110,000 topics, named by
// region, site and device, have nine subscribers each, and 10,000 subscriptions have
// wildcards: whatever is published, one of these matches, and so ten in all.
const (
	millionConns   = 1000
	millionRegions = 110
	millionSites   = 100
	millionDevices = 10
	millionTopics  = millionRegions * millionSites * millionDevices
	millionEach    = 9 // plain subscribers of a topic
	millionWild    = 10_000
	millionAll     = millionTopics*millionEach + millionWild
)

func millionTopic(i int) string {
	return fmt.Sprintf("region%d.site%d.device%d", i/(millionSites*millionDevices), i/millionDevices%millionSites, i%millionDevices)
}

// millionFilters match each topic once: all sites of a device in one half of the regions,
// all devices of a site in the other. The rest match nothing yet.
func millionFilters() (filters []string) {
	for region := range millionRegions {
		if region < millionRegions/2 {
			for device := range millionDevices {
				filters = append(filters, fmt.Sprintf("region%d.*.device%d", region, device))
			}
			continue
		}
		for site := range millionSites {
			filters = append(filters, fmt.Sprintf("region%d.site%d.>", region, site))
		}
	}
	for i := len(filters); i < millionWild; i++ {
		filters = append(filters, fmt.Sprintf("planned%d.*.device%d", i/millionDevices, i%millionDevices))
	}
	return filters
}

// million is a broker of topics with a million subscriptions, whose peers' sockets take
// everything at no cost.
type million struct {
	*TopicServer
	b         *testing.B
	conns     []*conn
	publisher *conn
	names     []string
}

// newMillion makes the broker with its connections and topics, and no subscriptions.
func newMillion(b *testing.B) *million {
	s, conns := inVoid(b, millionConns+1)
	s.topics = topic.NewTopicManager(topic.Config{MaxTopics: millionTopics})
	s.index.applied = s.topics.Applied
	m := &million{TopicServer: s, b: b, publisher: conns[millionConns], conns: conns[:millionConns]}
	for i := range millionTopics {
		m.names = append(m.names, millionTopic(i))
		require.NoError(b, s.create(m.publisher, &message.TopicRequest{Op: abstract.TopicCreate, Topic: m.names[i]}))
		s.index.Lock()
		_, err := s.feedOf(m.names[i])
		s.index.Unlock()
		require.NoError(b, err)
	}
	return m
}

// subscribeAll makes the subscriptions, 1,000 on each connection.
func (m *million) subscribeAll() {
	for i, filter := range millionFilters() {
		m.subscribe(m.conns[i%millionConns], filter, &message.TopicExtras{Sub: strconv.Itoa(i)})
	}
	for round := range millionEach {
		for i, name := range m.names {
			m.subscribe(m.conns[(i+round*millionConns/millionEach)%millionConns], name, nil)
		}
	}
}

func (m *million) subscribe(c *conn, filter string, x *message.TopicExtras) {
	if err := m.TopicServer.subscribe(c, &message.TopicRequest{Op: abstract.TopicSubscribe, Topic: filter, More: x}); err != nil {
		m.b.Fatal(err)
	}
	c.Flush()
}

// batch is one publish.
func (m *million) batch(i int) []abstract.BaseMessage {
	return []abstract.BaseMessage{request(m.b, m.TopicServer, abstract.TopicPublish, "p", m.names[i], `"a text of so many bytes"`)}
}

// publish serves a batch of the publisher's: what comes before the first byte is written,
// and then the writing. It returns how long the first part took.
func (m *million) publish(batch []abstract.BaseMessage) time.Duration {
	t := newTurn(m.publisher, batch)
	began := time.Now()
	t.run()
	took := time.Since(began)
	t.end()
	m.publisher.Flush()
	return took
}

// BenchmarkMillionSubscriptions is what a publish costs that ten of a million
// subscriptions match: to find them, to serve it until it is queued for all of them, and
// with the writing to ten connections, which is the network's part but for its system
// calls. B/subscription is the growth of the live heap by the subscriptions, with their
// queues, after each of them has got a message.
func BenchmarkMillionSubscriptions(b *testing.B) {
	m := newMillion(b)
	before := liveHeap()
	m.subscribeAll()
	for i := range m.names {
		m.publish(m.batch(i))
	}
	each := float64(liveHeap()-before) / millionAll
	b.Run("Find", func(b *testing.B) {
		var others []*topic.Subscription
		began := busy()
		for i := 0; b.Loop(); {
			i = (i + 7919) % millionTopics
			subs, err := m.topics.Publish(m.names[i])
			if others = m.topics.Others(others[:0], m.names[i]); err != nil || len(subs)+len(others) != millionEach+1 {
				b.Fatal(m.names[i], len(subs), len(others), err)
			}
		}
		b.ReportMetric(float64(busy()-began)/float64(b.N), "cpu-ns/op")
		b.ReportMetric(each, "B/subscription")
	})
	b.Run("Publish", func(b *testing.B) {
		batches := make([][]abstract.BaseMessage, millionTopics)
		for i := range batches {
			batches[i] = m.batch(i)
		}
		var queueing time.Duration
		began := busy()
		b.ReportAllocs()
		for i := 0; b.Loop(); {
			i = (i + 7919) % millionTopics
			queueing += m.publish(batches[i])
		}
		b.ReportMetric(float64(busy()-began)/float64(b.N), "cpu-ns/op")
		b.ReportMetric(float64(queueing)/float64(b.N), "queued-ns/op")
	})
}

// busy is the processor time of this process, which other programs do not lengthen.
func busy() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC() // what pools keep is gone with the second
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
