package main

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"trefoil/abstract"
)

const (
	// maxLatency is the longest latency that is told apart; operations end earlier.
	maxLatency = 2 * time.Hour
	// latencyDigits is how many digits of a latency are exact.
	latencyDigits = 3
	// maxShards bounds the memory of a tally: a shard takes 200 KB.
	maxShards = 16
)

// tally counts operations and their latencies. Safe for concurrent use.
type tally struct {
	shards []shard
	ok     atomic.Int64
}

// shard is the part of a tally that some of the workers share.
type shard struct {
	mu        sync.Mutex
	latencies *hdrhistogram.Histogram
	failed    map[abstract.RCode]*failure
}

// failure is one kind of error.
type failure struct {
	count   int64
	example error // the first
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(time.Microsecond), int64(maxLatency), latencyDigits)
}

func newTally(workers int) *tally {
	t := &tally{shards: make([]shard, max(1, min(workers, maxShards)))}
	for i := range t.shards {
		t.shards[i].latencies = newHistogram()
		t.shards[i].failed = make(map[abstract.RCode]*failure)
	}
	return t
}

// done counts an operation that succeeded.
func (t *tally) done(worker int, took time.Duration) {
	took = min(max(took, 0), maxLatency)
	sh := &t.shards[worker%len(t.shards)]
	sh.mu.Lock()
	_ = sh.latencies.RecordValue(int64(took)) // in range
	sh.mu.Unlock()
	t.ok.Add(1)
}

// fail counts an operation that failed.
func (t *tally) fail(worker int, err error) {
	sh := &t.shards[worker%len(t.shards)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	code := abstract.CodeOf(err)
	if sh.failed[code] == nil {
		sh.failed[code] = &failure{example: err}
	}
	sh.failed[code].count++
}

// sum is what all shards have.
func (t *tally) sum() (*hdrhistogram.Histogram, map[abstract.RCode]failure) {
	all, failed := newHistogram(), make(map[abstract.RCode]failure)
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		all.Merge(sh.latencies)
		for code, f := range sh.failed {
			one := failed[code]
			if one.example == nil {
				one.example = f.example
			}
			one.count += f.count
			failed[code] = one
		}
		sh.mu.Unlock()
	}
	return all, failed
}
