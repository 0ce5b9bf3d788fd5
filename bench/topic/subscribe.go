package topic

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/bench/internal/harness"
)

// Subscribers are the subscribing connections of a flood, all in one process.
type Subscribers struct {
	shared  *progress
	conns   []Conn
	Latency harness.Histogram // of the messages that carry a time, from when they were meant to be sent
}

// Subscribe opens the connections and returns when the broker has all the
// subscriptions. The caller closes it.
func Subscribe(ctx context.Context, f Flood) (*Subscribers, error) {
	bus, err := BusOf(f.Bus)
	if err != nil {
		return nil, err
	}
	shared, err := openProgress(f.Progress, f.connections())
	if err != nil {
		return nil, err
	}
	s := &Subscribers{shared: shared, conns: make([]Conn, f.connections())}
	err = inParallel(ctx, len(s.conns), func(ctx context.Context, i int) error {
		c, err := bus.Dial(ctx, f.Addr)
		if err != nil {
			return err
		}
		s.conns[i] = c
		return c.Subscribe(ctx, f.Topic(i/f.Subscribers), s.receiver(&shared.slots[i]))
	})
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return s, nil
}

// receiver counts one subscriber's messages.
func (s *Subscribers) receiver(slot *slot) func([]byte, uint64) {
	return func(payload []byte, missed uint64) {
		if at := stamp(payload); at != 0 {
			s.Latency.Record(time.Duration(now() - at))
		}
		if missed > 0 {
			slot.lost.Add(missed)
		}
		slot.received.Add(1)
	}
}

// Received is how many messages have arrived at all connections.
func (s *Subscribers) Received() uint64 { return s.shared.received() }

// Lost is how many messages the broker said it had dropped.
func (s *Subscribers) Lost() uint64 { return s.shared.lost() }

// Close closes the connections.
func (s *Subscribers) Close() {
	_ = inParallel(context.Background(), len(s.conns), func(_ context.Context, i int) error {
		if s.conns[i] != nil {
			s.conns[i].Close()
		}
		return nil
	})
}

// inParallel calls fn for 0 to n-1, some at a time, and returns the first error.
func inParallel(ctx context.Context, n int, fn func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, 32) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := fn(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
