package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"trefoil/client"
)

// dialAtOnce is how many connections are opened or closed at the same time.
const dialAtOnce = 32

// benchConns are connections to the broker. Safe for concurrent use.
type benchConns struct {
	list    []*client.Conn
	closing sync.Once
}

// dialBench opens n connections, or none.
func (a *app) dialBench(ctx context.Context, s *settings, n int) (*benchConns, error) {
	b := &benchConns{list: make([]*client.Conn, n)}
	err := inParallel(n, func(i int) (err error) {
		b.list[i], err = a.dial(ctx, s)
		return err
	})
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// close closes them all. What stands on them ends.
func (b *benchConns) close() {
	b.closing.Do(func() {
		_ = inParallel(len(b.list), func(i int) error {
			if b.list[i] == nil {
				return nil
			}
			return b.list[i].Close()
		})
	})
}

// inParallel calls fn for 0 to n-1, some at a time. After an error no further call
// begins; it returns the first.
func inParallel(n int, fn func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Bool
	errs := make([]error, n)
	var wg sync.WaitGroup
	for range min(n, dialAtOnce) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !failed.Load(); i = int(next.Add(1)) - 1 {
				if errs[i] = fn(i); errs[i] != nil {
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

var errBenchEnded = errors.New("the bench has ended")
