package rpc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/bench/internal/harness"
)

// loadSpec is what a load program is told.
type loadSpec struct {
	InFlight int
	Conns    int
	Shared   int // connections of the cell: Conns, but for who opens more because its calls do not share one
	Size     int
	Slow     float64
	Rate     float64 // calls per second meant to start; 0: as fast as they go
	WarmUp   time.Duration
	Interval time.Duration
}

// driver runs a load against the clients of one contestant.
type driver struct {
	spec    loadSpec
	clients []caller
	fast    payload
	slow    payload

	counts    []counter // one per call slot
	latencies []*harness.Histogram
	measuring atomic.Bool
	stop      atomic.Bool
	failed    atomic.Pointer[error]
	wg        sync.WaitGroup
}

// counter is padded, so that slots do not share cache lines.
type counter struct {
	n atomic.Uint64
	_ [56]byte
}

// Calls that share their writes with others, several to a connection, and are
// small, are so cheap that reading the clock would be a visible part of what they
// cost: only every sampleEvery-th call of a slot is timed then.
const (
	cheapInFlight = 4 // on each connection
	cheapSize     = 4 << 10
	sampleEvery   = 8
)

// load is the load program of a contestant.
func (c contestant) load(ctx context.Context, job *harness.Job) (any, error) {
	var spec loadSpec
	if err := job.Decode(&spec); err != nil {
		return nil, err
	}
	d := &driver{spec: spec, fast: newPayload(spec.Size, fastMark), slow: newPayload(spec.Size, slowMark)}
	defer d.close()
	for range spec.Conns {
		cl, err := c.dial(ctx, job.Servers[0].Addr)
		if err != nil {
			return nil, fmt.Errorf("connect: %w", err)
		}
		d.clients = append(d.clients, cl)
		d.latencies = append(d.latencies, &harness.Histogram{})
		if err := once(ctx, cl, d.fast); err != nil { // so that connecting is no part of the load
			return nil, fmt.Errorf("first call: %w", err)
		}
	}
	meter, err := harness.NewMeter(ctx, job.Servers)
	if err != nil {
		return nil, err
	}
	defer meter.Close()
	return d.run(ctx, meter)
}

// once makes one call and waits for it, whatever the caller's way to call is.
func once(ctx context.Context, cl caller, p payload) error {
	if l, ok := cl.(launcher); ok {
		return await(ctx, l, p)
	}
	return cl.Call(ctx, p)
}

func (d *driver) close() {
	for _, cl := range d.clients {
		cl.Close()
	}
}

// run starts the load, lets it warm up, measures and stops it.
func (d *driver) run(ctx context.Context, meter *harness.Meter) (harness.Sample, error) {
	d.counts = make([]counter, d.spec.InFlight)
	if d.spec.Rate > 0 {
		return d.paced(ctx, meter)
	}
	d.saturate(ctx)
	if err := d.wait(ctx, d.spec.WarmUp); err != nil {
		return nil, err
	}
	if err := meter.Start(ctx); err != nil {
		return nil, err
	}
	before := d.count()
	d.measuring.Store(true)
	if err := d.wait(ctx, d.spec.Interval); err != nil {
		return nil, err
	}
	s, err := meter.Stop(ctx, func() uint64 { return d.count() - before })
	d.measuring.Store(false)
	d.stop.Store(true)
	if err != nil {
		return nil, err
	}
	d.wg.Wait()
	d.figures(s)
	return s, d.err()
}

// figures puts the latencies of all connections into s.
func (d *driver) figures(s harness.Sample) {
	all := d.latencies[0]
	for _, h := range d.latencies[1:] {
		all.Add(h)
	}
	all.Figures(s)
}

func (d *driver) wait(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return d.err()
	case <-ctx.Done():
		d.stop.Store(true)
		return ctx.Err()
	}
}

func (d *driver) count() uint64 {
	var n uint64
	for i := range d.counts {
		n += d.counts[i].n.Load()
	}
	return n
}

func (d *driver) err() error {
	if err := d.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (d *driver) fail(err error) {
	d.failed.CompareAndSwap(nil, &err)
	d.stop.Store(true)
}

// slot is one of the calls in flight: as soon as it ends, the next one starts.
type slot struct {
	*driver
	cl       caller
	count    *counter
	hist     *harness.Histogram
	rng      *rand.Rand
	sampling uint64
}

func (d *driver) slot(i int) *slot {
	k := i % len(d.clients)
	s := &slot{driver: d, cl: d.clients[k], count: &d.counts[i], hist: d.latencies[k], rng: rand.New(rand.NewPCG(uint64(i), 1)), sampling: 1}
	if d.cheap() {
		s.sampling = sampleEvery
	}
	return s
}

// cheap says whether calls are expected to cost so little that timing each of
// them would show.
func (d *driver) cheap() bool {
	return d.spec.InFlight >= cheapInFlight*d.spec.Shared && d.spec.Size <= cheapSize && d.spec.Slow == 0
}

// next is the text of the slot's next call.
func (s *slot) next() payload {
	if s.spec.Slow > 0 && s.rng.Float64()*100 < s.spec.Slow {
		return s.slow
	}
	return s.fast
}

// saturate starts the slots.
func (d *driver) saturate(ctx context.Context) {
	for i := range d.spec.InFlight {
		s := d.slot(i)
		d.wg.Add(1)
		if l, ok := s.cl.(launcher); ok {
			s.chain(ctx, l, 0)
		} else {
			go s.loop(ctx)
		}
	}
}

// loop makes one call after the other.
func (s *slot) loop(ctx context.Context) {
	defer s.wg.Done()
	for i := uint64(0); !s.stop.Load(); i++ {
		timed := i%s.sampling == 0
		var begin time.Time
		if timed {
			begin = time.Now()
		}
		if err := s.cl.Call(ctx, s.next()); err != nil {
			s.fail(err)
			return
		}
		if timed && s.measuring.Load() {
			s.hist.Record(time.Since(begin))
		}
		s.count.n.Add(1)
	}
}

// chain makes a call and, in its callback, the next one.
func (s *slot) chain(ctx context.Context, l launcher, i uint64) {
	if s.stop.Load() {
		s.wg.Done()
		return
	}
	timed := i%s.sampling == 0
	var begin time.Time
	if timed {
		begin = time.Now()
	}
	l.Launch(ctx, s.next(), func(err error) {
		if err != nil {
			s.fail(err)
			s.wg.Done()
			return
		}
		if timed && s.measuring.Load() {
			s.hist.Record(time.Since(begin))
		}
		s.count.n.Add(1)
		s.chain(ctx, l, i+1)
	})
}

// await makes one call of a launcher and waits for it.
func await(ctx context.Context, l launcher, p payload) error {
	ended := make(chan error, 1)
	l.Launch(ctx, p, func(err error) { ended <- err })
	return <-ended
}
