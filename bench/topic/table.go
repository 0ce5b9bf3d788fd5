package topic

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"trefoil/bench/internal/harness"
	"trefoil/bench/internal/program"
)

// Figures of this table beside the harness's.
const (
	FigCPUPublisher = "cpu_publisher_us" // of the publishing process, per delivery
	FigLost         = "lost"             // messages that the broker dropped
	FigStalls       = "stalls"           // windows given up because a subscriber stood still
	FigPublished    = "published"        // messages, from before the interval to behind it
)

// The names of the programs beside the brokers, which are named like the buses.
const (
	rolePublish   = "publish"
	roleSubscribe = "subscribe"
)

// Table is `bench topic`.
func Table() harness.Table {
	t := harness.Table{
		Name:  "topic",
		About: "publish and subscribe; figures are per delivery, client is the subscribing process",
		Floor: "floor",
		Rank:  harness.FigCPUServer,
		Columns: []harness.Column{
			{Key: harness.FigRate, Title: "deliveries/s", Higher: true, Ratio: true},
			{Key: harness.FigCPUServer, Title: "broker CPU, µs", Ratio: true},
			{Key: harness.FigCPUClient, Title: "subscriber CPU, µs", Ratio: true},
			{Key: FigCPUPublisher, Title: "publisher CPU, µs"},
			{Key: harness.FigP50, Title: "p50, µs"},
			{Key: harness.FigP99, Title: "p99, µs"},
			{Key: harness.FigP999, Title: "p99.9, µs"},
			{Key: harness.FigAllocServer, Title: "broker allocs"},
			{Key: harness.FigAllocClient, Title: "subscriber allocs"},
			{Key: harness.FigPeakServer, Title: "broker peak, KiB"},
			{Key: harness.FigPeakClient, Title: "subscriber peak, KiB"},
			{Key: FigLost, Title: "lost"},
			{Key: FigKept, Title: "rate by that without the stopped one", Higher: true},
			{Key: FigDearer, Title: "broker CPU by that"},
			{Key: FigQueue, Title: "held for the stopped one, KiB"},
			{Key: FigUntold, Title: "lost and not told"},
			{Key: harness.FigErrors, Title: "errors"},
			{Key: harness.FigGrowthFrom, Title: "broker CPU with 100, µs"},
			{Key: harness.FigGrowthTo, Title: "broker CPU with 1000, µs"},
			{Key: harness.FigGrowth, Title: "growth", Ratio: true},
		},
		Charts: []harness.Chart{
			{File: "topic-broker-cpu", Title: "Publish and subscribe: broker CPU per delivery, µs", Figure: harness.FigCPUServer,
				Cells: []string{"1x1 128B", "1x100 128B", "1x1000 128B", "10x10 128B", "1x100 1KiB", "1x1000 1KiB"}},
			{File: "topic-rate", Title: "Publish and subscribe: deliveries per second", Figure: harness.FigRate,
				Cells: []string{"1x100 128B", "1x1000 128B", "10x10 128B", "1x1000 1KiB"}},
			{File: "topic-paced", Title: "20,000 deliveries/s, one message at a time: broker CPU per delivery, µs", Figure: harness.FigCPUServer,
				Cells: []string{"1x1 128B paced", "1x100 128B paced", "1x1000 128B paced"}},
		},
		Serve: map[string]harness.ServeFunc{rolePublish: ServePublisher, roleBystander: serveBystander},
		Load:  map[string]harness.LoadFunc{roleSubscribe: loadSubscribers},
		Run:   run,
	}
	for _, b := range Buses() {
		t.Contestants = append(t.Contestants, harness.Contestant{Name: b.Name, Kind: b.Kind})
		t.Serve[b.Name] = b.Serve
	}
	return t
}

// pacedRate is how many deliveries a second paced cells aim at.
const pacedRate = 20_000

// cell is one setting of the table.
type cell struct {
	name  string
	flood Flood
	rate  float64 // deliveries/s; 0 is saturated
}

// telling is the cell that is also measured at shares of its peak.
const telling = "1x100 128B"

// shape is who publishes to how many.
type shape struct{ topics, subscribers int }

func cellsOf(o harness.Options) []cell {
	one, hundred, thousand, many := shape{1, 1}, shape{1, 100}, shape{1, 1000}, shape{10, 10}
	all := []shape{one, hundred, thousand, many}
	switch o.Scale {
	case harness.Smoke:
		small := []shape{{1, 3}, {2, 2}}
		return append(cellsFor(128, 0, small), cellsFor(128, 2000, small)...)
	case harness.Quick:
		return slices.Concat(
			cellsFor(128, 0, []shape{hundred, thousand}),
			cellsFor(128, pacedRate, []shape{hundred, thousand}),
			cellsFor(1024, 0, []shape{hundred}),
		)
	case harness.Medium:
		return slices.Concat(cellsFor(128, 0, all), cellsFor(128, pacedRate, []shape{hundred, thousand}),
			cellsFor(1024, 0, []shape{hundred, thousand}))
	}
	return slices.Concat(cellsFor(128, 0, all), cellsFor(128, pacedRate, all), cellsFor(1024, 0, all), cellsFor(1024, pacedRate, all))
}

// cellsFor are cells of one size and rate.
func cellsFor(size int, rate float64, shapes []shape) []cell {
	var cells []cell
	for _, s := range shapes {
		name := fmt.Sprintf("%dx%d %s", s.topics, s.subscribers, sizeName(size))
		if rate > 0 {
			name += " paced"
		}
		cells = append(cells, cell{name, Flood{Topics: s.topics, Subscribers: s.subscribers, Size: size}, rate})
	}
	return cells
}

func sizeName(bytes int) string {
	if bytes >= 1024 {
		return fmt.Sprintf("%dKiB", bytes/1024)
	}
	return fmt.Sprintf("%dB", bytes)
}

func run(ctx context.Context, r *harness.Runner) error {
	for _, c := range cellsOf(r.Options) {
		err := r.Rounds(ctx, c.name, func(ctx context.Context, bus string) (harness.Sample, error) {
			if b, err := BusOf(bus); err != nil || !b.in(c) {
				return nil, cmp.Or(err, harness.ErrNoRow)
			}
			return measure(ctx, r, c.flood, bus, c.rate)
		})
		if err != nil {
			return err
		}
		if c.rate > 0 {
			continue
		}
		for _, percent := range r.Options.RatesOf(c.name, telling) {
			name := fmt.Sprintf("%s at %g%%", c.name, percent)
			err := r.Rounds(ctx, name, func(ctx context.Context, bus string) (harness.Sample, error) {
				peak, ok := r.Result.Median(c.name, bus, harness.FigRate)
				if b, err := BusOf(bus); !ok || err != nil || b.Shapes != nil {
					return nil, harness.ErrNoRow
				}
				return measure(ctx, r, c.flood, bus, peak*percent/100)
			})
			if err != nil {
				return err
			}
		}
	}
	r.Growth("growth 100 to 1000", "1x100 128B", "1x1000 128B", harness.FigCPUServer)
	return runStopped(ctx, r)
}

// job is what the subscribing process is asked to do.
type job struct {
	Flood   Flood         `json:"flood"`
	Rate    float64       `json:"rate"`
	WarmUp  time.Duration `json:"warm_up"`
	Measure time.Duration `json:"measure"`
}

// measure runs one bus in one cell once.
func measure(ctx context.Context, r *harness.Runner, f Flood, bus string, rate float64) (harness.Sample, error) {
	dir, err := program.TempDir("bench-topic-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	broker, err := r.Serve(ctx, bus, nil)
	if err != nil {
		return nil, err
	}
	defer broker.Stop()
	f.Bus, f.Addr, f.Progress = bus, broker.Addr, filepath.Join(dir, "progress")
	publisher, err := r.Serve(ctx, rolePublish, f)
	if err != nil {
		return nil, err
	}
	defer publisher.Stop()
	var s harness.Sample
	err = r.Load(ctx, roleSubscribe, job{f, rate, r.Options.WarmUpTime(), r.Options.Interval()}, &s, broker, publisher)
	return s, err
}

// loadSubscribers is the subscribing process: it subscribes, lets the publishing
// one begin, and accounts the broker and itself.
func loadSubscribers(ctx context.Context, j *harness.Job) (any, error) {
	var what job
	if err := j.Decode(&what); err != nil {
		return nil, err
	}
	broker, publisher := j.Servers[0], j.Servers[1]
	meter, err := harness.NewMeter(ctx, []harness.Ready{broker})
	if err != nil {
		return nil, err
	}
	defer meter.Close()
	subs, err := Subscribe(ctx, what.Flood)
	if err != nil {
		return nil, err
	}
	if err := harness.Command(ctx, publisher, "start", Start{what.Rate}, nil); err != nil {
		return nil, err
	}
	if err := wait(ctx, what.WarmUp); err != nil {
		return nil, err
	}
	lost := subs.Lost()
	publishing, err := cpuOf(publisher)
	if err != nil {
		return nil, err
	}
	if err := meter.Start(ctx); err != nil {
		return nil, err
	}
	before := subs.Received()
	subs.Latency.Reset()
	if err := wait(ctx, what.Measure); err != nil {
		return nil, err
	}
	s, err := meter.Stop(ctx, func() uint64 { return subs.Received() - before })
	if err != nil {
		return nil, err
	}
	published, err := cpuOf(publisher)
	if err != nil {
		return nil, err
	}
	subs.Latency.Figures(s)
	s[FigCPUPublisher] = float64(published-publishing) / 1e3 / s[harness.FigOps]
	s[FigLost] = float64(subs.Lost() - lost)
	return s, finish(ctx, publisher, s)
}

// finish stops the publishers and notes what went wrong with them.
func finish(ctx context.Context, publisher harness.Ready, s harness.Sample) error {
	var p Published
	if err := harness.Command(ctx, publisher, "stop", nil, &p); err != nil {
		return err
	}
	s[FigStalls], s[harness.FigErrors], s[FigPublished] = float64(p.Stalls), float64(p.Errors), float64(p.Messages)
	if p.Errors > 0 {
		return fmt.Errorf("%d messages were not published, the first because: %s", p.Errors, p.Error)
	}
	return nil
}

func cpuOf(r harness.Ready) (sum time.Duration, err error) {
	for _, pid := range r.PIDs {
		cpu, err := harness.ProcessCPU(pid)
		if err != nil {
			return 0, err
		}
		sum += cpu
	}
	return sum, nil
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
