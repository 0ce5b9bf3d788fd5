package workers

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEveryAcceptedFunctionRunsOnce(t *testing.T) {
	p := New(Config{Max: 4, Queue: 100_000})
	var ran atomic.Int64
	var accepted atomic.Int64
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 5_000 {
				if p.Go(func() { ran.Add(1) }) {
					accepted.Add(1)
				}
			}
		})
	}
	callers.Wait()
	p.Close()
	assert.Equal(t, int64(40_000), accepted.Load())
	assert.Equal(t, accepted.Load(), ran.Load())
	assert.Zero(t, p.Busy())
	assert.False(t, p.Go(func() {}), "a closed pool takes nothing")
}

func TestFullQueueRefuses(t *testing.T) {
	p := New(Config{Max: 1, Queue: 2})
	hold := make(chan struct{})
	started := make(chan struct{})
	require.True(t, p.Go(func() { close(started); <-hold }))
	<-started
	var order []int
	require.True(t, p.Go(func() { order = append(order, 1) }))
	require.True(t, p.Go(func() { order = append(order, 2) }))
	assert.False(t, p.Go(func() {}))
	assert.Equal(t, 3, p.Busy())
	close(hold)
	p.Close()
	assert.Equal(t, []int{1, 2}, order, "waiting functions run in order")
}

func TestABlockedFunctionHoldsUpNobody(t *testing.T) {
	p := New(Config{Max: 2})
	hold := make(chan struct{})
	p.Go(func() { <-hold })
	done := make(chan struct{})
	p.Go(func() { close(done) })
	<-done
	close(hold)
	p.Close()
}

func TestIdleGoroutinesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{IdleFor: time.Second})
		for range 10 {
			p.Go(func() { time.Sleep(time.Millisecond) })
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		assert.Zero(t, p.running)
		assert.Empty(t, p.idle)
	})
}
