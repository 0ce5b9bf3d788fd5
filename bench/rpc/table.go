package rpc

import (
	"context"
	"fmt"

	"trefoil/bench/internal/harness"
)

// Table is the rpc table.
func Table() harness.Table {
	t := harness.Table{
		Name:  "rpc",
		About: "remote calls: an echo by size, calls in flight and connections",
		Floor: floorNet,
		Rank:  harness.FigCPU,
		Charts: []harness.Chart{
			{
				File: "rpc-cpu", Title: "Remote calls: CPU per call, µs, client and server together",
				Cells: []string{"1x1 128B", "64x16 128B", "1000x16 128B", "64x16 1KiB", "1000x16 1KiB"},
			},
			{
				File: "rpc-rate", Title: "Remote calls per second", Figure: harness.FigRate,
				Cells: []string{"1x1 128B", "64x16 128B", "1000x16 128B", "64x16 1KiB", "1000x16 1KiB"},
			},
			{
				File: "rpc-latency", Title: "Remote calls: median latency, µs", Figure: harness.FigP50,
				Cells: []string{"1x1 128B", "64x16 128B", "64x1 128B slow 10%"},
			},
			{
				File: "rpc-fixed-rate", Title: "Remote calls: p99 at a share of each one's own peak, µs", Figure: harness.FigP99,
				Cells:       []string{telling + " at 25%", telling + " at 50%", telling + " at 75%"},
				Contestants: []string{floorNet, "trefoil", "nats", "grpc", "net/rpc", "fasthttp", "arpc"},
			},
			{
				File: "rpc-growth", Title: "Remote calls: growth of CPU per call from 16 to 1,000 connections, one call in flight each",
				Figure: harness.FigGrowth, Cells: []string{"growth 16 to 1000"},
			},
		},
		Columns: []harness.Column{
			{Key: harness.FigRate, Title: "calls/s", Higher: true, Ratio: true},
			{Key: harness.FigCPU, Title: "CPU, s/1M", Ratio: true},
			{Key: harness.FigCPUClient, Title: "client"},
			{Key: harness.FigCPUServer, Title: "server"},
			{Key: figTarget, Title: "calls/s meant", Higher: true},
			{Key: harness.FigP50, Title: "p50, µs"},
			{Key: harness.FigP99, Title: "p99, µs"},
			{Key: harness.FigP999, Title: "p99.9, µs"},
			{Key: harness.FigErrors, Title: "never started"},
			{Key: figLate, Title: "load late p99, µs"},
			{Key: harness.FigAllocClient, Title: "allocs client"},
			{Key: harness.FigAllocServer, Title: "allocs server"},
			{Key: harness.FigPeakClient, Title: "peak client, KiB"},
			{Key: harness.FigPeakServer, Title: "peak server, KiB"},
			{Key: harness.FigGrowthFrom, Title: "CPU with fewest, s/1M"},
			{Key: harness.FigGrowthTo, Title: "CPU with most, s/1M"},
			{Key: harness.FigGrowth, Title: "growth", Ratio: true},
		},
		Serve: helpers(),
		Load:  make(map[string]harness.LoadFunc),
		Run:   run,
	}
	for _, c := range contestants() {
		t.Contestants = append(t.Contestants, harness.Contestant{Name: c.name, Kind: c.kind})
		t.Serve[c.name] = c.serveFunc()
		t.Load[c.name] = c.load
	}
	return t
}

// run measures every cell, and each cell at shares of its peak when asked to.
func run(ctx context.Context, r *harness.Runner) error {
	for _, c := range contestants() {
		if c.note != "" && r.WantsContestant(c.name) {
			r.Note("%s %s", c.name, c.note)
		}
	}
	for _, l := range cells(r.Options) {
		if err := r.Rounds(ctx, l.name(), func(ctx context.Context, name string) (harness.Sample, error) {
			return measure(ctx, r, l, name, 0)
		}); err != nil {
			return err
		}
		for _, percent := range r.Options.RatesOf(l.name(), telling) {
			if err := atRate(ctx, r, l, percent); err != nil {
				return err
			}
		}
	}
	conns := connections(r.Options.Scale)
	fewest, most := conns[0], conns[len(conns)-1]
	r.Growth(fmt.Sprintf("growth %d to %d", fewest, most), few(fewest).name(), few(most).name(), harness.FigCPU)
	return nil
}

// atRate measures latency at a share of each contestant's own peak.
func atRate(ctx context.Context, r *harness.Runner, l cell, percent float64) error {
	name := fmt.Sprintf("%s at %g%%", l.name(), percent)
	return r.Rounds(ctx, name, func(ctx context.Context, contestant string) (harness.Sample, error) {
		peak, ok := r.Result.Median(l.name(), contestant, harness.FigRate)
		if !ok {
			return nil, harness.ErrNoRow
		}
		return measure(ctx, r, l, contestant, peak*percent/100)
	})
}

// measure runs one load against fresh servers.
func measure(ctx context.Context, r *harness.Runner, l cell, name string, rate float64) (harness.Sample, error) {
	c, ok := find(name)
	if !ok || !c.has(l) {
		return nil, harness.ErrNoRow
	}
	servers, err := c.start(ctx, r, l)
	defer func() {
		for _, p := range servers {
			p.Stop()
		}
	}()
	if err != nil {
		return nil, err
	}
	spec := loadSpec{
		InFlight: l.inFlight, Conns: c.conns(l), Shared: l.conns, Size: l.size, Slow: l.slow, Rate: rate,
		WarmUp: r.Options.WarmUpTime(), Interval: r.Options.Interval(),
	}
	s := make(harness.Sample)
	err = r.Load(ctx, name, spec, &s, servers...)
	return s, err
}

// start starts the contestant's servers; the one that clients connect to is the
// first. What was started is returned also with an error.
func (c contestant) start(ctx context.Context, r *harness.Runner, l cell) ([]*harness.Process, error) {
	var servers []*harness.Process
	spec := serveSpec{Slow: l.slow > 0, ConnBytes: l.size * l.inFlight / max(l.conns, 1)}
	if c.helper != "" {
		p, err := r.Serve(ctx, c.helper, serveSpec{})
		if err != nil {
			return servers, err
		}
		servers = append(servers, p)
		spec.Helper = p.Addr
	}
	p, err := r.Serve(ctx, c.name, spec)
	if err != nil {
		return servers, err
	}
	return append(servers, p), nil
}
