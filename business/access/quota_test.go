package access

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func withQuota(t testing.TB, quota string) *Guard {
	t.Helper()
	return NewGuard(parse(t, `{"identities": {"a": {"quota": `+quota+`}}}`), nil)
}

func TestEachQuotaHolds(t *testing.T) {
	for r := range resources {
		t.Run(r.String(), func(t *testing.T) {
			a := withQuota(t, fmt.Sprintf(`{%q: 2}`, r)).Account("a")
			require.NoError(t, a.Acquire(r))
			require.NoError(t, a.Acquire(r))
			err := a.Acquire(r)
			require.ErrorIs(t, err, abstract.ErrOverloaded)
			assert.ErrorContains(t, err, fmt.Sprintf(`identity "a" is at its quota %v of 2 `, r))
			assert.ErrorContains(t, err, "try again in")
			var e *abstract.Error
			require.ErrorAs(t, err, &e)
			var details struct {
				Quota string `json:"quota"`
				Limit int    `json:"limit"`
				Retry int    `json:"retry_after_ms"`
			}
			require.NoError(t, json.Unmarshal(e.Details, &details))
			assert.Equal(t, r.String(), details.Quota)
			assert.Equal(t, 2, details.Limit)
			assert.Positive(t, details.Retry)
			for other := range resources {
				if other != r {
					require.NoError(t, a.Acquire(other), "the others have no limit")
				}
			}
			a.Release(r)
			require.NoError(t, a.Acquire(r))
			assert.Equal(t, int64(2), a.Used(r))
		})
	}
}

func TestQuotaOfZeroLetsNothingThrough(t *testing.T) {
	a := withQuota(t, `{"connections": 0, "bytes_per_second": 0}`).Account("a")
	require.ErrorContains(t, a.Acquire(Connections), "ask the operator")
	require.ErrorContains(t, a.AcquireBytes(1, noon), "ask the operator")
}

func TestReleasingTooOftenWidensNothing(t *testing.T) {
	a := withQuota(t, `{"nodes": 1}`).Account("a")
	a.Release(Nodes)
	require.NoError(t, a.Acquire(Nodes))
	require.Error(t, a.Acquire(Nodes))
}

func TestQuotaHoldsAgainstManyAtOnce(t *testing.T) {
	a := withQuota(t, `{"in_flight": 5}`).Account("a")
	var now, most atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				if a.Acquire(InFlight) != nil {
					continue
				}
				if n := now.Add(1); n > 5 {
					most.Store(n)
				}
				now.Add(-1)
				a.Release(InFlight)
			}
		})
	}
	wg.Wait()
	assert.Zero(t, most.Load(), "more than five at a time")
	assert.Zero(t, a.Used(InFlight))
}

func TestBytesPassAtTheirRate(t *testing.T) {
	a := withQuota(t, `{"bytes_per_second": 1000, "burst_bytes": 500}`).Account("a")
	now := noon
	require.NoError(t, a.AcquireBytes(500, now))
	err := a.AcquireBytes(100, now)
	require.ErrorIs(t, err, abstract.ErrOverloaded)
	assert.ErrorContains(t, err, "quota bytes_per_second of 1000")
	var e *abstract.Error
	require.ErrorAs(t, err, &e)
	var details struct {
		Retry int `json:"retry_after_ms"`
	}
	require.NoError(t, json.Unmarshal(e.Details, &details))
	now = now.Add(time.Duration(details.Retry) * time.Millisecond)
	require.NoError(t, a.AcquireBytes(100, now), "it was told when to try again")
	now = now.Add(time.Hour)
	require.NoError(t, a.AcquireBytes(500, now))
	require.Error(t, a.AcquireBytes(1, now), "an hour of silence saves up no more than the burst")
	now = now.Add(time.Second)
	require.NoError(t, a.AcquireBytes(2500, now), "more than the burst passes when the bucket is full")
	require.Error(t, a.AcquireBytes(1, now.Add(2*time.Second)), "and is paid for after it")
	require.NoError(t, a.AcquireBytes(1, now.Add(3*time.Second)))
	require.NoError(t, a.AcquireBytes(1, now.Add(-time.Hour)), "a clock that goes back does no harm")
}

func TestLongRunStaysAtTheRate(t *testing.T) {
	a := withQuota(t, `{"bytes_per_second": 10000}`).Account("a")
	passed, now := 0, noon
	for range 10_000 { // ten seconds
		now = now.Add(time.Millisecond)
		if a.AcquireBytes(37, now) == nil {
			passed += 37
		}
	}
	assert.InDelta(t, 10_000*11, passed, 100, "ten seconds and one burst")
}

func TestQuotaComesFromTheIdentityThenTheLargestOfItsGroups(t *testing.T) {
	g := NewGuard(parse(t, `{
		"identities": {"a": {"groups": ["small", "large"], "quota": {"nodes": 1}}, "anonymous": {"quota": {"connections": 3}}},
		"groups": {"small": {"quota": {"nodes": 9, "in_flight": 1, "bytes_per_second": 10, "burst_bytes": 5}},
			"large": {"quota": {"in_flight": 2, "bytes_per_second": 20}}, "authenticated": {"quota": {"subscriptions": 4}}}}`), nil)
	q := g.Account("a").quota.Load()
	assert.Equal(t, [resources]limit{InFlight: {true, 2}, Subscriptions: {true, 4}, Nodes: {true, 1}}, q.most)
	assert.Equal(t, limit{true, 20}, q.bytes)
	assert.InDelta(t, 20, q.bucket(), 0, "the burst belongs to its rate")
	assert.Equal(t, limit{true, 4}, g.Account("not named").quota.Load().most[Subscriptions])
	anonymous := g.Account(Anonymous).quota.Load()
	assert.Equal(t, [resources]limit{Connections: {true, 3}}, anonymous.most)
}

func TestReloadChangesQuotasAndKeepsWhatIsCounted(t *testing.T) {
	g := withQuota(t, `{"nodes": 5, "bytes_per_second": 10}`)
	a := g.Account("a")
	for range 3 {
		require.NoError(t, a.Acquire(Nodes))
	}
	require.NoError(t, a.AcquireBytes(10, noon))
	g.Reload(parse(t, `{"identities": {"a": {"quota": {"nodes": 2, "bytes_per_second": 10}}}}`), nil)
	assert.Same(t, a, g.Account("a"))
	assert.Equal(t, int64(3), a.Used(Nodes))
	a.Release(Nodes)
	require.Error(t, a.Acquire(Nodes))
	a.Release(Nodes)
	require.NoError(t, a.Acquire(Nodes))
	require.Error(t, a.AcquireBytes(10, noon), "the same rate does not begin anew")
	g.Reload(nil, nil)
	require.NoError(t, a.Acquire(Nodes))
	require.NoError(t, a.AcquireBytes(1<<30, noon))
	assert.Equal(t, []*Account{a}, g.Accounts())
	assert.Contains(t, a.String(), "nodes 3")
}

func TestAcquireDoesNotAllocate(t *testing.T) {
	a := withQuota(t, `{"in_flight": 5, "bytes_per_second": 1000000000}`).Account("a")
	now := noon
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		now = now.Add(time.Millisecond)
		if a.Acquire(InFlight) != nil || a.AcquireBytes(10, now) != nil {
			panic("refused")
		}
		a.Release(InFlight)
	}))
}

func BenchmarkAcquire(b *testing.B) {
	a := withQuota(b, `{"in_flight": 5}`).Account("a")
	for b.Loop() {
		_ = a.Acquire(InFlight)
		a.Release(InFlight)
	}
}
