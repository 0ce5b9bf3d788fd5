//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// caller is a client of servants: a connection to the broker, a discovery and an
// RpcClient on it, and what their connections to providers have shown.
type caller struct {
	conn      *client.Conn
	discovery *client.DiscoveryClient
	calls     *client.RpcClient
	spy       *spy
	offline   atomic.Int64 // notices that a provider has gone
}

func newCaller(t *testing.T, broker string, opts ...client.Option) *caller {
	t.Helper()
	c := &caller{spy: newSpy(t)}
	c.conn, _ = dialBroker(t, broker)
	c.discovery = client.NewDiscoveryClient(c.conn)
	t.Cleanup(c.discovery.OnOffline(func(p abstract.Provider) {
		c.offline.Add(1)
		c.spy.gone(p.Host.String(), p.Instance, true)
	}))
	c.calls = client.NewRpcClient(c.discovery, append([]client.Option{client.WithTransport(c.spy.transport), client.WithTimeout(patience)}, opts...)...)
	t.Cleanup(func() { _ = c.calls.Close() })
	return c
}

// knows waits until the caller's list is these servants, held ones left out.
func (c *caller) knows(t *testing.T, servants []*servant) {
	t.Helper()
	want := make([]string, len(servants))
	for i, s := range servants {
		want[i] = s.instance
	}
	slices.Sort(want)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []string
	for p, err := range c.discovery.Watch(ctx, whoMethod) {
		require.NoError(t, err, "wanted %s, the last list was %s", want, got)
		got = got[:0]
		for _, q := range p.List {
			if !slices.Contains(p.Held, q) {
				got = append(got, q.Instance)
			}
		}
		if slices.Sort(got); slices.Equal(got, want) {
			return
		}
	}
}

func newCallers(t *testing.T, n int, broker string, opts ...client.Option) []*caller {
	t.Helper()
	list := make([]*caller, n)
	for i := range list {
		list[i] = newCaller(t, broker, opts...)
	}
	return list
}

// pressure is many callers that call who again and again.
type pressure struct {
	t       *testing.T
	running sync.WaitGroup
	quit    chan struct{}
	once    sync.Once

	ended  atomic.Int64
	again  atomic.Int64 // attempts after the first
	failed atomic.Int64

	mu   sync.Mutex
	why  map[string]int    // how the calls failed
	errs []*abstract.Error // the same, whole
	got  map[string]int    // by instance: the calls it answered
	slow time.Duration     // how long the longest call took
}

// workers of a load, and how often each of them calls.
const (
	workersOfLoad = 64
	beatOfLoad    = 16 * time.Millisecond
)

// startLoad starts 64 callers, spread over clients. Every other call takes a
// servant 2 ms; the others are answered at once.
func startLoad(t *testing.T, clients []*caller, opts ...client.CallOption) *pressure {
	t.Helper()
	l := &pressure{t: t, quit: make(chan struct{}), why: map[string]int{}, got: map[string]int{}}
	for i := range workersOfLoad {
		c := clients[i%len(clients)].calls
		l.running.Go(func() { l.work(c, opts) })
	}
	t.Cleanup(l.halt)
	l.more(workersOfLoad)
	return l
}

func (l *pressure) work(c *client.RpcClient, opts []client.CallOption) {
	beat := time.NewTicker(beatOfLoad)
	defer beat.Stop()
	for n := 0; ; n++ {
		select {
		case <-l.quit:
			return
		case <-beat.C:
		}
		var result whoResult
		begun := time.Now()
		r, err := c.CallReply(context.Background(), whoMethod, whoParams{Ms: n % 2 * 2}, opts...)
		if err == nil {
			err = r.Decode(&result)
		}
		l.note(result.Instance, r.Attempts, time.Since(begun), err)
	}
}

func (l *pressure) note(instance string, attempts int, took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow = max(l.slow, took)
	if err == nil {
		l.got[instance]++
		l.again.Add(int64(attempts - 1))
	} else {
		l.failed.Add(1)
		l.why[reasonOf(err)]++
		var e *abstract.Error
		if errors.As(err, &e) {
			l.errs = append(l.errs, e)
		}
	}
	l.ended.Add(1)
}

// reasonOf is an error without what is different each time.
func reasonOf(err error) string {
	var e *abstract.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	return fmt.Sprintf("%s, sent: %s, attempts: %d, cause: %v", e.Code, e.Sent, e.Attempts, e.Err)
}

// more waits until so many further calls have ended.
func (l *pressure) more(n int) {
	l.t.Helper()
	goal := l.ended.Load() + int64(n)
	require.Eventually(l.t, func() bool { return l.ended.Load() >= goal }, patience, time.Millisecond, "the calls have come to a halt")
}

// lasts lets the load run.
func (l *pressure) lasts(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}

func (l *pressure) halt() {
	l.once.Do(func() { close(l.quit) })
	l.running.Wait()
}

// answered is how many calls an instance has answered.
func (l *pressure) answered(instance string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.got[instance]
}

// noneFailed ends the load and holds it to that.
func (l *pressure) noneFailed() {
	l.t.Helper()
	l.halt()
	l.t.Logf("%d calls of %d callers, %d failed; %d further attempts; %d instances answered; the longest call took %v",
		l.ended.Load(), workersOfLoad, l.failed.Load(), l.again.Load(), len(l.got), l.slow)
	assert.Zero(l.t, l.failed.Load(), "calls failed: %s", l.reasons())
}

func (l *pressure) reasons() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for _, why := range slices.Sorted(maps.Keys(l.why)) {
		fmt.Fprintf(&b, "\n%d times %s", l.why[why], why)
	}
	return b.String()
}
