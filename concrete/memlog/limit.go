package memlog

import (
	"math"
	"slices"
)

// What logs keep together is bounded. When it is more, the largest logs give up what they
// have kept for longest, all down to the same size: a topic that keeps little loses
// nothing because of one that keeps much. It is done for many messages at once, as it
// looks at every log.

// DefaultMaxBytes is what logs keep together when Config says nothing.
const DefaultMaxBytes = 256 << 20

const (
	entryCost = 192 // bytes that an entry counts besides its Data
	idCost    = 384 // and what an id counts that is remembered
	spareRoom = 16  // the part of the bound that is made free at a time
)

// weight is what the log counts. It is called with the lock held, as what follows.
func (g *log) weight() int64 {
	return g.bytes + int64(len(g.entries))*entryCost + int64(len(g.seen))*idCost
}

// settle tells all logs how large this one has become.
func (g *log) settle() {
	now := g.weight()
	g.logs.total.Add(now - g.counted)
	g.counted = now
}

// lower lets go of the oldest entries, and then of the oldest ids, down to a weight.
func (g *log) lower(level int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for over := g.weight() - level; over > 0 && n < len(g.entries); n++ {
		over -= int64(len(g.entries[n].Data)) + entryCost
	}
	g.drop(n)
	for len(g.seen) > 0 && g.weight() > level {
		g.forget()
	}
	g.settle()
}

// relieve makes room when all logs together are too large. It is called without locks.
func (l *Logs) relieve() {
	if l.total.Load() <= l.most {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total.Load() <= l.most { // somebody else has
		return
	}
	weights := make([]int64, 0, len(l.logs))
	for _, g := range l.logs {
		g.mu.Lock()
		weights = append(weights, g.weight())
		g.mu.Unlock()
	}
	level := waterLevel(weights, l.most-l.most/spareRoom)
	for _, g := range l.logs {
		g.lower(level)
	}
}

// waterLevel returns the largest level for which the weights, none counted above it, are
// no more than most together.
func waterLevel(weights []int64, most int64) int64 {
	slices.Sort(weights)
	for i, w := range weights {
		share := most / int64(len(weights)-i)
		if w > share {
			return share
		}
		most -= w
	}
	return math.MaxInt64
}

// Bytes is what all logs count together.
func (l *Logs) Bytes() int64 { return l.total.Load() }
