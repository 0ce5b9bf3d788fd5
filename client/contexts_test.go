package client

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// watchedCall is a call in flight that nobody waits for.
func watchedCall(ctx context.Context, c *RpcClient) *call {
	k := &call{client: c}
	k.watch(ctx)
	return k
}

func TestCallsOfOneContextShareAWatch(t *testing.T) {
	c := newRpcClient(defaults())
	defer c.callbacks.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var all []*call
	for range 5 {
		all = append(all, watchedCall(context.WithValue(ctx, new(int), 1), c))
	}
	other := watchedCall(t.Context(), c)
	assert.Len(t, c.contexts.groups, 2)
	all[1].finish(Reply{}, nil) // in the middle
	all[4].finish(Reply{}, nil) // the last that came
	all[0].finish(Reply{}, nil) // the first
	cancel()
	for _, k := range all {
		<-k.Done()
	}
	require.NoError(t, all[1].err)
	require.Error(t, all[2].err)
	require.Error(t, all[3].err)
	assert.False(t, other.ended)
	other.finish(Reply{}, nil)
	c.contexts.close()
	assert.Empty(t, c.contexts.groups)
}

func TestContextsWithoutCallsAreForgotten(t *testing.T) {
	c := newRpcClient(defaults())
	defer c.callbacks.Close()
	defer c.contexts.close()
	for range 3 * keptGroups {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		t.Cleanup(cancel)
		watchedCall(ctx, c).finish(Reply{}, nil)
	}
	assert.LessOrEqual(t, len(c.contexts.groups), keptGroups)
}

// TestCancelAndAnswerMeet ends calls from both sides at once: each ends exactly once.
func TestCancelAndAnswerMeet(t *testing.T) {
	c := newRpcClient(defaults())
	defer c.callbacks.Close()
	defer c.contexts.close()
	for range 500 {
		ctx, cancel := context.WithCancel(context.Background())
		k, l := watchedCall(ctx, c), watchedCall(ctx, c)
		var both sync.WaitGroup
		both.Go(cancel)
		both.Go(func() { k.finish(Reply{}, nil) })
		both.Go(func() { l.finish(Reply{}, nil) })
		both.Wait()
		<-k.Done()
		<-l.Done()
	}
}

// TestManyWaitForOneFuture: the first waiter, others, and one who has given up
// before.
func TestManyWaitForOneFuture(t *testing.T) {
	c := newRpcClient(defaults())
	defer c.callbacks.Close()
	f := &Future{call: call{client: c}}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, f.Wait(gone, nil))
	var waiters sync.WaitGroup
	for range 4 {
		waiters.Go(func() { assert.NoError(t, f.Wait(t.Context(), nil)) })
	}
	require.Eventually(t, func() bool {
		f.call.mu.Lock()
		defer f.call.mu.Unlock()
		return f.call.wake != nil && f.call.done != nil
	}, time.Minute, time.Millisecond)
	f.call.finish(Reply{}, nil)
	waiters.Wait()
	<-f.Done()
	require.NoError(t, f.Wait(gone, nil))
}
