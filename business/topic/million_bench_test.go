//go:build unix

package topic

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"trefoil/abstract"
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

// millionFilters are one for each topic of the first half, all sites of a device; one for
// those of the second half, all devices of a site; and filters that match nothing yet.
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

// BenchmarkMillion is what finding who gets a message costs, in time and in processor
// time, and says what a subscription takes of memory here: its queue is not counted.
func BenchmarkMillion(b *testing.B) {
	m := NewTopicManager(Config{MaxTopics: millionTopics})
	names := make([]string, millionTopics)
	for i := range names {
		names[i] = millionTopic(i)
		m.Apply(abstract.Change{Revision: int64(i + 1), Events: []abstract.Event{{KV: abstract.KV{Key: keyOf(names[i]), CreateRevision: int64(i + 1)}}}})
	}
	filters := millionFilters()
	before := liveHeap()
	conn := ConnID(0)
	next := func() ConnID { conn = (conn + 1) % millionConns; return conn }
	for i, filter := range filters {
		must(b, func() (*Subscription, error) { return m.SubscribeAs(next(), fmt.Sprint(i), filter) })
	}
	for round := range millionEach {
		for i := range names {
			conn = ConnID((i + round*millionConns/millionEach) % millionConns)
			must(b, func() (*Subscription, error) { return m.Subscribe(conn, names[i]) })
		}
	}
	each := float64(liveHeap()-before) / millionAll
	b.Run("Publish", func(b *testing.B) {
		b.ReportAllocs()
		var others []*Subscription
		i, before := 0, busy()
		for b.Loop() {
			i = (i + 7919) % millionTopics
			subs, err := m.Publish(names[i])
			if others = m.Others(others[:0], names[i]); err != nil || len(subs)+len(others) != millionEach+1 {
				b.Fatal(names[i], len(subs), len(others), err)
			}
		}
		b.ReportMetric(float64(busy()-before)/float64(b.N), "cpu-ns/op")
		b.ReportMetric(each, "B/subscription")
	})
}

func must(b *testing.B, subscribe func() (*Subscription, error)) {
	if _, err := subscribe(); err != nil {
		b.Fatal(err)
	}
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
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
