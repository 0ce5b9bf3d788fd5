package discovery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/bench/internal/harness"
)

// load is what a load program is asked to do; each program reads its part.
type load struct {
	Registry string        `json:"registry"`
	Sessions int           `json:"sessions"`
	Each     int           `json:"each"` // registrations of one session in one batch
	WarmUp   time.Duration `json:"warm_up"`
	Measure  time.Duration `json:"measure"`
	Repeats  int           `json:"repeats"` // registrations and closes to time
}

// open is what all load programs begin with.
func open(ctx context.Context, j *harness.Job) (l load, r Registry, addr string, meter *harness.Meter, err error) {
	if err = j.Decode(&l); err != nil {
		return
	}
	if r, err = registryOf(l.Registry); err != nil {
		return
	}
	addr = j.Servers[0].Addr
	meter, err = harness.NewMeter(ctx, j.Servers[:1])
	return
}

// dialAll opens sessions, some at a time.
func dialAll(ctx context.Context, r Registry, addr string, n int, patience Patience) ([]Session, error) {
	sessions := make([]Session, n)
	err := inParallel(ctx, n, 32, func(ctx context.Context, i int) (err error) {
		sessions[i], err = r.Dial(ctx, addr, patience)
		return err
	})
	if err != nil {
		closeAll(sessions)
		return nil, fmt.Errorf("open %d sessions: %w", n, err)
	}
	return sessions, nil
}

// closeAll closes what has been opened. What fails has been measured already.
func closeAll(sessions []Session) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_ = inParallel(ctx, len(sessions), 32, func(ctx context.Context, i int) error {
		if sessions[i] != nil {
			_ = sessions[i].Close(ctx)
		}
		return nil
	})
}

// inParallel calls fn for 0 to n-1, some at a time, and returns the first error.
func inParallel(ctx context.Context, n, some int, fn func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, some) {
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

func serviceName(i int) string { return fmt.Sprintf("bench.svc.%d", i) }

// firstPort is the port of the first provider; there are fewer than 50,000.
const firstPort = 10_000

// loadLookups lets every session look up one service after the other, one
// look-up at a time.
func loadLookups(ctx context.Context, j *harness.Job) (any, error) {
	l, r, addr, meter, err := open(ctx, j)
	if err != nil {
		return nil, err
	}
	defer meter.Close()
	sessions, err := dialAll(ctx, r, addr, l.Sessions, Patient)
	if err != nil {
		return nil, err
	}
	defer closeAll(sessions)
	err = inParallel(ctx, len(sessions), 32, func(ctx context.Context, i int) error {
		return errors.Join(sessions[i].Prepare(ctx, serviceName(i)), sessions[i].Register(ctx, serviceName(i), firstPort+i))
	})
	if err != nil {
		return nil, err
	}
	looking, stop := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop(nil)
	var done atomic.Uint64
	var latency harness.Histogram
	for i, s := range sessions {
		wg.Go(func() {
			for n := i; looking.Err() == nil; n++ {
				began := time.Now()
				found, err := s.Lookup(ctx, serviceName(n%l.Sessions))
				if err != nil || found != 1 {
					stop(fmt.Errorf("a look-up found %d providers in place of 1: %w", found, err))
					return
				}
				latency.Record(time.Since(began))
				done.Add(1)
			}
		})
	}
	if err := wait(looking, l.WarmUp); err != nil {
		return nil, err
	}
	if err := meter.Start(ctx); err != nil {
		return nil, err
	}
	latency.Reset()
	before := done.Load()
	if err := wait(looking, l.Measure); err != nil {
		return nil, err
	}
	s, err := meter.Stop(ctx, func() uint64 { return done.Load() - before })
	if err == nil {
		latency.Figures(s)
	}
	return s, err
}

// instances is how many providers of one service a session registers.
const instances = 10

// loadRegistrations registers in batches: fresh sessions, each with a fixed number
// of registrations one after the other. Opening and closing them is not measured.
// The warm-up is batches too, at least one.
func loadRegistrations(ctx context.Context, j *harness.Job) (any, error) {
	l, r, addr, meter, err := open(ctx, j)
	if err != nil {
		return nil, err
	}
	defer meter.Close()
	if err := prepare(ctx, r, addr, l); err != nil {
		return nil, err
	}
	var latency harness.Histogram
	if _, err := batches(ctx, r, addr, l, meter, &latency, l.WarmUp); err != nil {
		return nil, err
	}
	latency.Reset()
	s, err := batches(ctx, r, addr, l, meter, &latency, l.Measure)
	if err == nil {
		latency.Figures(s)
	}
	return s, err
}

// batches registers until what was measured of it has taken at least d.
func batches(ctx context.Context, r Registry, addr string, l load, meter *harness.Meter, latency *harness.Histogram, d time.Duration) (harness.Sample, error) {
	var sum total
	for sum.ops == 0 || sum.seconds < d.Seconds() {
		s, err := batch(ctx, r, addr, l, meter, latency)
		if err != nil {
			return nil, err
		}
		sum.add(s)
	}
	return sum.sample(), nil
}

// prepare makes the services, where a registry wants that.
func prepare(ctx context.Context, r Registry, addr string, l load) error {
	s, err := r.Dial(ctx, addr, Patient)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close(ctx) }()
	var names []string
	for i := range l.Sessions {
		for k := 0; k < l.Each; k += instances {
			names = append(names, batchService(i, k))
		}
	}
	return inParallel(ctx, len(names), 32, func(ctx context.Context, i int) error { return s.Prepare(ctx, names[i]) })
}

func batchService(session, k int) string { return fmt.Sprintf("bench.reg.%d.%d", session, k/instances) }

func batch(ctx context.Context, r Registry, addr string, l load, meter *harness.Meter, latency *harness.Histogram) (harness.Sample, error) {
	sessions, err := dialAll(ctx, r, addr, l.Sessions, Patient)
	if err != nil {
		return nil, err
	}
	defer closeAll(sessions)
	if err := meter.Start(ctx); err != nil {
		return nil, err
	}
	err = inParallel(ctx, len(sessions), len(sessions), func(ctx context.Context, i int) error {
		for k := range l.Each {
			began := time.Now()
			if err := sessions[i].Register(ctx, batchService(i, k), firstPort+k); err != nil {
				return err
			}
			latency.Record(time.Since(began))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return meter.Stop(ctx, func() uint64 { return uint64(l.Sessions * l.Each) })
}

// total puts measured intervals together.
type total struct {
	ops, seconds float64
	perOp        harness.Sample // figures per operation, times operations
	last         harness.Sample
}

// perOperation are the figures that are weighted by the operations.
var perOperation = [...]string{harness.FigCPU, harness.FigCPUClient, harness.FigCPUServer, harness.FigAllocClient, harness.FigAllocServer}

func (t *total) add(s harness.Sample) {
	if t.perOp == nil {
		t.perOp = harness.Sample{}
	}
	t.ops += s[harness.FigOps]
	t.seconds += s[harness.FigSeconds]
	for _, key := range perOperation {
		if v, ok := s[key]; ok {
			t.perOp[key] += v * s[harness.FigOps]
		}
	}
	t.last = s
}

func (t *total) sample() harness.Sample {
	s := t.last
	for key, v := range t.perOp {
		s[key] = v / t.ops
	}
	s[harness.FigOps], s[harness.FigSeconds], s[harness.FigRate] = t.ops, t.seconds, t.ops/t.seconds
	return s
}

// wait waits, or returns why it could not.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
