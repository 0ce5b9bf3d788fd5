//go:build unix

package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/client"
)

// TestCreationInDoubtIsDoneOnceByItsKey kills a broker under creations that are asked
// for again, by the same key, until they are acknowledged. Their sessions own no node.
func TestCreationInDoubtIsDoneOnceByItsKey(t *testing.T) {
	args := []string{"--data", t.TempDir(), "--session-interval", "400ms", "--session-misses", "10", "--log-level", "error"}
	proc, broker := startBroker(t, append([]string{"--listen", "127.0.0.1:0"}, args...)...)
	conn, nodes := dialBroker(t, broker)
	_, err := nodes.Create(t.Context(), "/queue", nil)
	require.NoError(t, err)

	var mu sync.Mutex
	made := map[string]string{} // by key: the path that was acknowledged
	var done, again atomic.Int64
	var stop atomic.Bool
	var running sync.WaitGroup
	conns := []*client.Conn{conn}
	for i := range 4 {
		own, creator := dialBroker(t, broker)
		conns = append(conns, own)
		running.Go(func() {
			for n := 0; !stop.Load() && t.Context().Err() == nil; n++ {
				key := fmt.Sprintf("%d-%d", i, n)
				for t.Context().Err() == nil {
					path, err := creator.Create(t.Context(), "/queue/n-", []byte(key), client.Sequential(), client.OnceAs(key))
					if err == nil {
						mu.Lock()
						made[key] = path
						mu.Unlock()
						done.Add(1)
						break
					}
					again.Add(1)
				}
			}
		})
	}
	ids := func() (list []string) {
		for _, c := range conns[1:] {
			list = append(list, c.SessionID())
		}
		return list
	}
	before := ids()
	for range long(3, 200) {
		more := done.Load() + int64(20+rand.IntN(200))
		require.Eventually(t, func() bool { return done.Load() > more }, patience, time.Millisecond)
		proc.signal(syscall.SIGKILL)
		proc.wait()
		proc, _ = startBroker(t, append([]string{"--listen", broker}, args...)...)
		for _, c := range conns {
			require.Eventually(t, c.Connected, patience, time.Millisecond)
		}
	}
	stop.Store(true)
	running.Wait()
	list, err := nodes.List(t.Context(), "/queue", client.WithData(), client.Linearizable())
	require.NoError(t, err)
	there := map[string][]string{}
	for _, n := range list {
		there[string(n.Data)] = append(there[string(n.Data)], n.Path)
	}
	twice := 0
	for key, paths := range there {
		if len(paths) > 1 {
			twice++
			t.Log("made " + strconv.Itoa(len(paths)) + " times: " + key)
		}
	}
	assert.Zero(t, twice, "a creation with a key was done twice")
	for key, path := range made {
		assert.Contains(t, there[key], path, "acknowledged and lost")
	}
	t.Logf("%d creations, %d asked for again; sessions before %v and after %v", done.Load(), again.Load(), before, ids())
}
