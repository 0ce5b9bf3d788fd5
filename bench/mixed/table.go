package mixed

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"trefoil/bench/internal/harness"
	"trefoil/bench/internal/program"
	"trefoil/bench/topic"
)

// Figures of a phase beside latencies; see the phases.
const (
	figRate  = "deliveries_s"
	figRatio = "p99_ratio" // p99 by that without a flood, in the same run
)

// The names of the programs beside the brokers, which are named like the
// contestants.
const (
	rolePublish   = "publish"
	roleSubscribe = "subscribe"
	roleCalls     = "calls"
)

// floodCell is the table's one cell.
const floodCell = "flood"

// settings are the table's own flags.
type settings struct {
	subscribers int
	calls       float64
}

// Table is `bench mixed`.
func Table() harness.Table {
	set := &settings{}
	t := harness.Table{
		Name:    "mixed",
		About:   "calls at a fixed rate while a topic is flooded through the same broker",
		Rank:    half + harness.FigP99,
		Columns: columns(),
		Charts: []harness.Chart{
			{File: "mixed-p99", Title: "p99 of calls beside a flood at half its saturated rate, by p99 without one", Figure: half + figRatio,
				Cells: []string{floodCell}},
		},
		Serve: map[string]harness.ServeFunc{rolePublish: topic.ServePublisher, roleSubscribe: serveSubscribers},
		Load:  map[string]harness.LoadFunc{roleCalls: loadCalls},
		Run:   func(ctx context.Context, r *harness.Runner) error { return set.run(ctx, r) },
		Flags: func(fs *flag.FlagSet) {
			fs.IntVar(&set.subscribers, "subscribers", 10_000, "connections that are flooded, in a full run")
			fs.Float64Var(&set.calls, "calls", 500, "calls per second")
		},
	}
	for _, s := range Systems() {
		t.Contestants = append(t.Contestants, harness.Contestant{Name: s.Name, Kind: s.Kind})
		t.Serve[s.Name] = s.Serve
	}
	return t
}

func columns() []harness.Column {
	list := []harness.Column{
		{Key: full + figRate, Title: "deliveries/s at saturation", Higher: true},
		{Key: half + figRate, Title: "at half", Higher: true},
	}
	for _, phase := range []struct{ key, title string }{{quiet, "quiet"}, {half, "half"}, {full, "saturated"}} {
		list = append(list,
			harness.Column{Key: phase.key + harness.FigP50, Title: phase.title + " p50, µs"},
			harness.Column{Key: phase.key + harness.FigP99, Title: "p99, µs"},
			harness.Column{Key: phase.key + harness.FigP999, Title: "p99.9, µs"},
		)
	}
	return append(list,
		harness.Column{Key: half + figRatio, Title: "half, x quiet p99"},
		harness.Column{Key: full + figRatio, Title: "saturated, x quiet p99"},
		harness.Column{Key: full + topic.FigLost, Title: "pushes dropped at saturation"},
		harness.Column{Key: full + harness.FigErrors, Title: "calls failed at saturation"},
		harness.Column{Key: harness.FigPeakServer, Title: "broker peak, KiB"},
	)
}

func (set *settings) run(ctx context.Context, r *harness.Runner) error {
	subscribers := r.Options.Pick(set.subscribers, min(set.subscribers, 500), min(set.subscribers, 10))
	r.Note("%d subscribing connections, %g calls per second over one connection, phases of %s", subscribers, set.calls, phaseTime(r.Options))
	return r.Rounds(ctx, floodCell, func(ctx context.Context, system string) (harness.Sample, error) {
		return set.measure(ctx, r, system, subscribers)
	})
}

// phaseTime is how long a phase is measured. A p99 needs some more calls than
// there are in short intervals, which is the price of a low rate.
func phaseTime(o harness.Options) time.Duration {
	return max(o.Interval(), time.Duration(o.Pick(int(leastPhase), 0, 0)))
}

const leastPhase = 3 * time.Second

// measure runs one contestant once.
func (set *settings) measure(ctx context.Context, r *harness.Runner, system string, subscribers int) (harness.Sample, error) {
	sys, err := systemOf(system)
	if err != nil {
		return nil, err
	}
	dir, err := program.TempDir("bench-mixed-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	broker, err := r.Serve(ctx, system, nil)
	if err != nil {
		return nil, err
	}
	defer broker.Stop()
	flood := topic.Flood{Bus: sys.Bus, Addr: broker.Addr, Topics: 1, Subscribers: subscribers, Size: 128, Progress: filepath.Join(dir, "progress")}
	publishers, err := r.Serve(ctx, rolePublish, flood) // first: it makes the topic
	if err != nil {
		return nil, err
	}
	defer publishers.Stop()
	subs, err := r.Serve(ctx, roleSubscribe, flood)
	if err != nil {
		return nil, fmt.Errorf("%d subscribers: %w", subscribers, err)
	}
	defer subs.Stop()
	what := job{system, flood.Topic(0), set.calls, r.Options.WarmUpTime(), phaseTime(r.Options)}
	var s harness.Sample
	err = r.Load(ctx, roleCalls, what, &s, broker, publishers, subs)
	return s, err
}
