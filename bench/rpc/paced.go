package rpc

import (
	"context"
	"sync/atomic"
	"time"

	"trefoil/bench/internal/harness"
)

// Figures of a fixed-rate load beside latencies.
const (
	figTarget = "target_ops_s"     // calls per second that were meant to start
	figLate   = "pace_late_p99_us" // how late free slots were for calls they waited for
)

// afterwards is how long the calls that were due in the interval may take to start
// after its end.
const afterwards = 10 * time.Second

// pacing is a fixed-rate load: calls are due at fixed times, whatever became of
// the earlier ones, and take the next free slot. Latency counts from when a call
// was due, so waiting for a slot is part of it, and every call that was due within
// the interval counts, also when it ends long after.
type pacing struct {
	*driver
	due      *harness.Schedule
	from, to atomic.Int64 // the interval, see harness.Monotonic; 0 is not yet
	late     harness.Histogram
	giveUp   atomic.Bool
	givenUp  atomic.Uint64
}

// paced warms up, measures, and waits for the calls that were due.
func (d *driver) paced(ctx context.Context, meter *harness.Meter) (harness.Sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &pacing{driver: d, due: harness.NewSchedule(d.spec.Rate)}
	defer p.due.Close()
	for i := range d.spec.InFlight {
		s := d.slot(i)
		d.wg.Go(func() { p.serve(ctx, s) })
	}
	s, err := p.measure(ctx, meter)
	if err != nil {
		cancel()
		d.stop.Store(true)
	}
	late := time.AfterFunc(afterwards, func() { p.giveUp.Store(true) })
	defer late.Stop()
	d.wg.Wait()
	if err != nil {
		return nil, err
	}
	d.figures(s)
	s[figTarget], s[figLate] = d.spec.Rate, float64(p.late.Quantile(0.99))/1e3
	if n := p.givenUp.Load(); n > 0 {
		s[harness.FigErrors] = float64(n)
	}
	return s, d.err()
}

// measure accounts the interval.
func (p *pacing) measure(ctx context.Context, meter *harness.Meter) (harness.Sample, error) {
	if err := p.wait(ctx, p.spec.WarmUp); err != nil {
		return nil, err
	}
	if err := meter.Start(ctx); err != nil {
		return nil, err
	}
	before := p.count()
	p.from.Store(harness.Monotonic())
	if err := p.wait(ctx, p.spec.Interval); err != nil {
		return nil, err
	}
	p.to.Store(harness.Monotonic())
	return meter.Stop(ctx, func() uint64 { return p.count() - before })
}

// over says whether the call that is due at that time is not to be made any more.
func (p *pacing) over(due int64) bool {
	to := p.to.Load()
	return p.stop.Load() || to != 0 && due > to
}

// serve makes calls that are due, one at a time, in one slot.
func (p *pacing) serve(ctx context.Context, s *slot) {
	for {
		due, late, ok := p.due.Next(p.over)
		if !ok {
			return
		}
		from := p.from.Load()
		timed := from != 0 && due >= from
		if timed && late >= 0 {
			p.late.Record(late)
		}
		if p.giveUp.Load() {
			p.givenUp.Add(1) // it counts with the time it has waited in vain
		} else if err := once(ctx, s.cl, s.next()); err != nil {
			p.fail(err)
			return
		} else {
			s.count.n.Add(1)
		}
		if timed {
			s.hist.Record(time.Duration(harness.Monotonic() - due))
		}
	}
}
