//go:build unix

package main

import (
	"context"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// member is a servant in the test's own process.
type member struct {
	srv      *server.RpcServer
	instance string
	weight   int
}

// startMembers starts servants in this process, with weights, one of which may
// take longer for its answers than the others. Like all members of a group
// they have been there before the caller comes.
func startMembers(t *testing.T, broker string, takes []time.Duration, weights []int) []*member {
	t.Helper()
	var list []*member
	for i := range takes {
		conn, _ := dialBroker(t, broker)
		m := &member{weight: 100}
		if weights != nil {
			m.weight = weights[i]
		}
		srv, registry, err := newServant(conn, anyPort, takes[i], server.WithTraits(abstract.Traits{Weight: m.weight}))
		require.NoError(t, err)
		require.NoError(t, srv.Announce(t.Context()))
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve() }()
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			assert.NoError(t, srv.Shutdown(ctx))
			assert.NoError(t, <-ended)
		})
		m.srv, m.instance = srv, registry.instance.Load().(string)
		list = append(list, m)
	}
	return list
}

// rush makes so many calls from so many callers, each of them one at a beat at most, and
// returns who answered how many of them and how long they took.
func rush(t *testing.T, calls *client.RpcClient, callers, n int, beat time.Duration) (got map[string]int, took []time.Duration) {
	t.Helper()
	got = map[string]int{}
	var mu sync.Mutex
	var left atomic.Int64
	left.Store(int64(n))
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			ticker := time.NewTicker(beat)
			defer ticker.Stop()
			for left.Add(-1) >= 0 {
				<-ticker.C
				var who whoResult
				begun := time.Now()
				err := calls.Call(context.Background(), whoMethod, nil, &who)
				mu.Lock()
				took = append(took, time.Since(begun))
				got[who.Instance]++
				mu.Unlock()
				assert.NoError(t, err)
			}
		})
	}
	all.Wait()
	slices.Sort(took)
	return got, took
}

// TestSlowInstanceOfTenGetsFewCalls has one provider of ten that takes 1 s where the
// others take 10 ms. One that gets less than a hundredth of the calls does not decide
// their 99th percentile. On a machine with too much to do the others take longer, and
// it is not a hundred times as slow; then it may get as many more.
func TestSlowInstanceOfTenGetsFewCalls(t *testing.T) {
	_, broker := startFastBroker(t, anyPort)
	takes := slices.Repeat([]time.Duration{10 * time.Millisecond}, 10)
	takes[3] *= 100
	slow := startMembers(t, broker, takes, nil)[3].instance
	n := long(4000, 100_000)
	share := func(rule string, callers int) (share, most float64) {
		c := newCaller(t, broker, client.WithBalancing(rule))
		rush(t, c.calls, callers, n/4, beatOfLoad) // it knows nobody yet
		got, took := rush(t, c.calls, callers, n, beatOfLoad)
		t.Logf("%s, %d callers: %d of %d calls went to the slow one; p50 %v, p99 %v", rule, callers, got[slow], n, took[n/2], took[n*99/100])
		return float64(got[slow]) / float64(n), 0.01 * max(1, float64(took[n/2])/float64(10*time.Millisecond))
	}
	for _, rule := range []string{"least-pending", "latency"} {
		got, most := share(rule, workersOfLoad)
		assert.Less(t, got, most, rule)
	}
	n = 500 // before it is left out, as one that is far slower than the others
	got, _ := share("round-robin", workersOfLoad)
	assert.Greater(t, got, 0.01, "planted")
}

// TestWeightsAreKeptBetweenProcesses counts the calls of providers with weights.
func TestWeightsAreKeptBetweenProcesses(t *testing.T) {
	_, broker := startFastBroker(t, anyPort)
	members := startMembers(t, broker, make([]time.Duration, 5), []int{100, 200, 300, 150, 250})
	n := long(4000, 200_000)
	off := func(rule string) (worst float64) {
		c := newCaller(t, broker, client.WithBalancing(rule))
		got, _ := rush(t, c.calls, 16, n, time.Microsecond)
		for _, m := range members {
			want := float64(n) * float64(m.weight) / 1000
			worst = max(worst, math.Abs(float64(got[m.instance])-want)/want)
		}
		t.Logf("%s: off by %.2f %% at most", rule, 100*worst)
		return worst
	}
	assert.LessOrEqual(t, off("weighted"), 0.03)
	assert.Greater(t, off("round-robin"), 0.03, "planted")
}

// TestFewKeysMoveWhenAnInstanceLeaves asks by keys, before and after one of ten
// providers has gone.
func TestFewKeysMoveWhenAnInstanceLeaves(t *testing.T) {
	_, broker := startFastBroker(t, anyPort)
	members := startMembers(t, broker, make([]time.Duration, 10), nil)
	keys := long(8000, 50_000) // the share of one of ten is off by a fifth once in 10^9 runs
	homes := func(c *caller, keys int) []string {
		at := make([]string, keys)
		for i := range at {
			var who whoResult
			require.NoError(t, c.calls.Call(t.Context(), whoMethod, nil, &who, client.Key("key "+strconv.Itoa(i))))
			at[i] = who.Instance
		}
		return at
	}
	hash, random := newCaller(t, broker, client.WithBalancing("hash")), newCaller(t, broker, client.WithBalancing("random"))
	for _, c := range []*caller{hash, random} { // calls go elsewhere while connecting takes long
		for _, m := range members {
			require.NoError(t, c.calls.Call(t.Context(), whoMethod, nil, nil, client.OnInstance(m.instance)))
		}
	}
	before, planted := homes(hash, keys), homes(random, keys/10)
	require.Equal(t, before[:keys/10], homes(hash, keys/10), "the same key goes to the same one")
	require.NoError(t, members[4].srv.Shutdown(t.Context()))
	for _, c := range []*caller{hash, random} {
		require.Eventually(t, func() bool {
			list, err := c.discovery.Discover(t.Context(), whoMethod)
			return err == nil && len(list) == 9
		}, patience, time.Millisecond)
	}
	moved := func(a, b []string) (n int) {
		for i := range a {
			if a[i] != b[i] {
				n++
			}
		}
		return n
	}
	n := moved(before, homes(hash, keys))
	t.Logf("%d of %d keys moved when one of ten left, %.2f of 1/10", n, keys, 10*float64(n)/float64(keys))
	assert.LessOrEqual(t, float64(n), 1.2/10*float64(keys))
	assert.Greater(t, float64(moved(planted, homes(random, keys/10))), 1.2/10*float64(keys/10), "planted: random")
}
