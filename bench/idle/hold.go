package idle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/bench/internal/harness"
	"trefoil/bench/rpc"
	"trefoil/client"
)

// holdSpec is a load that opens connections and then does nothing with them.
type holdSpec struct {
	Count int
	Pause time.Duration // between the last call and the measurement
}

const (
	callsEach  = 3   // calls on each connection before it idles
	callSize   = 128 // bytes
	openAtOnce = 64  // connections being opened at the same time
)

// loadConnections opens connections of an rpc contestant.
func loadConnections(e rpc.Echo) harness.LoadFunc {
	return func(ctx context.Context, job *harness.Job) (any, error) {
		return hold(ctx, job, func(ctx context.Context, addr string, _ int) (func(), error) {
			conn, err := e.Dial(ctx, addr, callSize)
			if err != nil {
				return nil, err
			}
			for range callsEach {
				if err := conn.Call(ctx); err != nil {
					return conn.Close, err
				}
			}
			return conn.Close, nil
		})
	}
}

// loadSessions opens sessions at a broker and registers one provider in each.
func loadSessions(ctx context.Context, job *harness.Job) (any, error) {
	return hold(ctx, job, func(ctx context.Context, addr string, i int) (func(), error) {
		conn, err := client.Dial(ctx, addr, client.WithLogger(quiet()))
		if err != nil {
			return nil, err
		}
		p := abstract.Provider{
			Method:   fmt.Sprintf("bench%d.echo", i),
			Host:     abstract.Host{IP: "127.0.0.1", Port: 7000},
			Instance: fmt.Sprintf("provider-%d", i),
		}
		err = client.NewRegistryClient(conn).Register(ctx, p)
		return func() { _ = conn.Close() }, err
	})
}

// hold opens what open opens, waits, and compares the first server's memory with
// what it was before.
func hold(ctx context.Context, job *harness.Job, open func(ctx context.Context, addr string, i int) (close func(), err error)) (any, error) {
	var spec holdSpec
	if err := job.Decode(&spec); err != nil {
		return nil, err
	}
	control, err := harness.OpenControl(ctx, job.Servers[0])
	if err != nil {
		return nil, err
	}
	defer control.Close()
	before, err := control.Snapshot(ctx, true)
	if err != nil {
		return nil, err
	}
	closers, err := openAll(spec.Count, func(i int) (func(), error) { return open(ctx, job.Servers[0].Addr, i) })
	defer closeAll(closers)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, spec.Pause); err != nil {
		return nil, err
	}
	unsettled, err := control.Snapshot(ctx, false)
	if err != nil {
		return nil, err
	}
	after, err := control.Snapshot(ctx, true)
	if err != nil {
		return nil, err
	}
	n := float64(spec.Count)
	return harness.Sample{
		figConns:            n,
		figUnsettled:        (unsettled.RSSKiB - before.RSSKiB) / n,
		harness.FigPerConn:  (after.RSSKiB - before.RSSKiB) / n,
		harness.FigHeapConn: (after.HeapKiB - before.HeapKiB) / n,
		figGoroutines:       float64(after.Procs-before.Procs) / n,
	}, nil
}

// openAll opens n of something, some at a time. What was opened is returned also
// with an error.
func openAll(n int, open func(i int) (func(), error)) ([]func(), error) {
	var (
		mu      sync.Mutex
		closers []func()
		errs    []error
		wg      sync.WaitGroup
	)
	next := make(chan int)
	for range openAtOnce {
		wg.Go(func() {
			for i := range next {
				closer, err := open(i)
				mu.Lock()
				if closer != nil {
					closers = append(closers, closer)
				}
				if err != nil {
					errs = append(errs, err)
				}
				mu.Unlock()
			}
		})
	}
	for i := range n {
		next <- i
		mu.Lock()
		failed := len(errs) > 0
		mu.Unlock()
		if failed {
			break
		}
	}
	close(next)
	wg.Wait()
	return closers, errors.Join(errs...)
}

// closeAll closes everything, some at a time: a polite close takes a round trip.
func closeAll(closers []func()) {
	next := make(chan func())
	var wg sync.WaitGroup
	for range openAtOnce {
		wg.Go(func() {
			for closer := range next {
				closer()
			}
		})
	}
	for _, c := range closers {
		next <- c
	}
	close(next)
	wg.Wait()
}

// pause waits while nothing happens.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
