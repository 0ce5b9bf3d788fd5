package durable

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/bench/internal/harness"
)

// The load programs.
const (
	rolePublish = "publish"
	roleConsume = "consume"
)

// Table is `bench durable`.
func Table() harness.Table {
	t := harness.Table{
		Name:   "durable",
		About:  "durable topics: published and kept, consumed and acknowledged",
		Rounds: 3,
		Rank:   harness.FigRate,
		Columns: []harness.Column{
			{Key: harness.FigRate, Title: "messages/s", Higher: true, Ratio: true},
			{Key: harness.FigCPUServer, Title: "server CPU, µs", Ratio: true},
			{Key: harness.FigCPUClient, Title: "client CPU, µs"},
			{Key: harness.FigP50, Title: "p50, µs", Ratio: true},
			{Key: harness.FigP99, Title: "p99, µs"},
			{Key: harness.FigAllocServer, Title: "server allocs"},
			{Key: harness.FigPeakServer, Title: "server peak, KiB"},
		},
		Serve: make(map[string]harness.ServeFunc),
		Load:  map[string]harness.LoadFunc{rolePublish: loadPublishers, roleConsume: loadConsumer},
		Run:   run,
	}
	for _, k := range Keepers() {
		t.Contestants = append(t.Contestants, harness.Contestant{Name: k.Name, Kind: k.Kind})
		t.Serve[k.Name] = k.Serve
	}
	return t
}

// cell is some publishers and when the server syncs.
type cell struct {
	publishers int
	sync       string
}

func (c cell) name() string {
	return fmt.Sprintf("%d publishing, sync %s", c.publishers, c.sync)
}

func cells(o harness.Options) []cell {
	if o.Scale == harness.Smoke {
		return []cell{{2, "always"}, {2, "os"}}
	}
	return []cell{{1, "always"}, {64, "always"}, {1, "interval=200ms"}, {64, "interval=200ms"}, {1, "os"}, {64, "os"}}
}

func run(ctx context.Context, r *harness.Runner) error {
	for _, c := range cells(r.Options) {
		err := r.Rounds(ctx, c.name(), func(ctx context.Context, keeper string) (harness.Sample, error) {
			what := job{Keeper: keeper, Publishers: c.publishers, WarmUp: r.Options.WarmUpTime(), Measure: r.Options.Interval()}
			return measure(ctx, r, rolePublish, what, c.sync)
		})
		if err != nil {
			return err
		}
	}
	kept := r.Options.Pick(20_000, 5_000, 200)
	return r.Rounds(ctx, fmt.Sprintf("%d consumed", kept), func(ctx context.Context, keeper string) (harness.Sample, error) {
		return measure(ctx, r, roleConsume, job{Keeper: keeper, Publishers: 16, Kept: kept}, "os")
	})
}

// job is what a load program is asked to do.
type job struct {
	Keeper     string        `json:"keeper"`
	Publishers int           `json:"publishers"`
	WarmUp     time.Duration `json:"warm_up"`
	Measure    time.Duration `json:"measure"`
	Kept       int           `json:"kept,omitempty"` // messages that are there to be consumed
}

func measure(ctx context.Context, r *harness.Runner, role string, what job, sync string) (harness.Sample, error) {
	srv, err := r.Serve(ctx, what.Keeper, store{sync})
	if err != nil {
		return nil, err
	}
	defer srv.Stop()
	var s harness.Sample
	err = r.Load(ctx, role, what, &s, srv)
	return s, err
}

// payload is a JSON string of 128 bytes.
func payload() []byte { return []byte(`"` + strings.Repeat("x", 126) + `"`) }

// publishers are those of a load program, each on a connection of its own.
type publishers struct {
	conns   []Conn
	count   atomic.Uint64
	Latency harness.Histogram
	failed  atomic.Pointer[error]
	running sync.WaitGroup
}

func dialPublishers(ctx context.Context, j *harness.Job, what *job) (*publishers, error) {
	keeper, err := KeeperOf(what.Keeper)
	if err != nil {
		return nil, err
	}
	p := &publishers{}
	for range what.Publishers {
		c, err := keeper.Dial(ctx, j.Servers[0].Addr)
		if err != nil {
			p.close()
			return nil, err
		}
		p.conns = append(p.conns, c)
	}
	if err := p.conns[0].Create(ctx); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *publishers) close() {
	for _, c := range p.conns {
		c.Close()
	}
}

// start publishes until ctx ends, something fails, or most messages have been published.
func (p *publishers) start(ctx context.Context, most uint64) {
	var begun atomic.Uint64
	for _, c := range p.conns {
		p.running.Go(func() {
			message := payload()
			for ctx.Err() == nil && begun.Add(1) <= most {
				began := time.Now()
				if err := c.Publish(ctx, message); err != nil {
					if ctx.Err() == nil {
						p.failed.CompareAndSwap(nil, &err)
					}
					return
				}
				p.Latency.Record(time.Since(began))
				p.count.Add(1)
			}
		})
	}
}

// loadPublishers accounts publishers and their server.
func loadPublishers(ctx context.Context, j *harness.Job) (any, error) {
	var what job
	if err := j.Decode(&what); err != nil {
		return nil, err
	}
	meter, err := harness.NewMeter(ctx, j.Servers)
	if err != nil {
		return nil, err
	}
	defer meter.Close()
	p, err := dialPublishers(ctx, j, &what)
	if err != nil {
		return nil, err
	}
	defer p.close()
	publishing, stop := context.WithCancel(ctx)
	defer p.running.Wait()
	defer stop()
	p.start(publishing, math.MaxUint64)
	if err := wait(ctx, what.WarmUp); err != nil {
		return nil, err
	}
	p.Latency.Reset()
	before := p.count.Load()
	if err := meter.Start(ctx); err != nil {
		return nil, err
	}
	if err := wait(ctx, what.Measure); err != nil {
		return nil, err
	}
	s, err := meter.Stop(ctx, func() uint64 { return p.count.Load() - before })
	if failed := p.failed.Load(); failed != nil {
		return nil, fmt.Errorf("a message was not published: %w", *failed)
	}
	if err == nil {
		p.Latency.Figures(s)
	}
	return s, err
}

// loadConsumer accounts a consumer of messages that are there, and its server.
func loadConsumer(ctx context.Context, j *harness.Job) (any, error) {
	var what job
	if err := j.Decode(&what); err != nil {
		return nil, err
	}
	meter, err := harness.NewMeter(ctx, j.Servers)
	if err != nil {
		return nil, err
	}
	defer meter.Close()
	p, err := dialPublishers(ctx, j, &what)
	if err != nil {
		return nil, err
	}
	defer p.close()
	p.start(ctx, uint64(what.Kept))
	p.running.Wait()
	if failed := p.failed.Load(); failed != nil {
		return nil, fmt.Errorf("a message was not published: %w", *failed)
	}
	if err := meter.Start(ctx); err != nil {
		return nil, err
	}
	got, all := 0, make(chan struct{})
	err = p.conns[0].Consume(ctx, func() {
		if got++; got == what.Kept {
			close(all)
		}
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-all:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return meter.Stop(ctx, func() uint64 { return uint64(what.Kept) })
}

// wait waits, or returns why it could not.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
