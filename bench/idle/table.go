package idle

import (
	"context"
	"maps"
	"os"
	"time"

	"trefoil/bench/internal/harness"
	"trefoil/bench/rpc"
)

// The cells.
const (
	cellConnections = "connections"
	cellSessions    = "sessions"
	cellBurst       = "burst"
)

// The contestants.
const (
	floor   = "floor-net" // one goroutine with a 64 KiB read buffer per connection
	trefoil = "trefoil"
)

// contestants are rows of the rpc table; ours also holds sessions and bursts.
var contestants = []harness.Contestant{
	{Name: floor, Kind: harness.Floor},
	{Name: trefoil, Kind: harness.Ours},
	{Name: "nats", Kind: harness.Peer},
	{Name: "grpc", Kind: harness.Peer},
}

// Programs beside those of the rpc table.
const (
	roleBroker   = "broker"
	roleBinary   = "trefoil broker"
	roleSessions = "sessions"
	roleBurst    = "burst"
)

// Table is the idle table.
func Table() harness.Table {
	t := harness.Table{
		Name:   "idle",
		About:  "memory of idle connections and sessions, and of a broker after a burst",
		Rounds: 3,
		Rank:   harness.FigPerConn,
		Charts: []harness.Chart{{
			File: "idle-memory", Title: "Server memory per idle connection or session, KiB",
			Cells: []string{cellConnections, cellSessions}, OneScale: true,
		}},
		Contestants: contestants,
		Floor:       floor,
		Columns: []harness.Column{
			{Key: figConns, Title: "connections", Higher: true},
			{Key: harness.FigPerConn, Title: "RSS, KiB each", Ratio: true},
			{Key: figUnsettled, Title: "before giving back, KiB each"},
			{Key: harness.FigHeapConn, Title: "heap, KiB each"},
			{Key: figGoroutines, Title: "goroutines each"},
			{Key: figBurstMiB, Title: "burst, MiB", Higher: true},
			{Key: figHeapBefore, Title: "live heap before, KiB"},
			{Key: figHeapAfter, Title: "live heap after, KiB"},
			{Key: harness.FigHeapRatio, Title: "after/before"},
			{Key: figRSSBefore, Title: "RSS before, KiB"},
			{Key: figRSSPeak, Title: "RSS peak, KiB"},
			{Key: figRSSAfter, Title: "RSS after, KiB"},
			{Key: harness.FigRSSRatio, Title: "after/before"},
		},
		Serve: map[string]harness.ServeFunc{roleBroker: serveBroker, roleBinary: serveBinary},
		Load:  map[string]harness.LoadFunc{roleSessions: loadSessions, roleBurst: loadBurst},
		Run:   run,
	}
	for _, c := range contestants {
		e, ok := rpc.EchoOf(c.Name)
		if !ok {
			continue
		}
		maps.Copy(t.Serve, e.Serve())
		t.Load[c.Name] = loadConnections(e)
	}
	return t
}

// The figures of this table besides those that budgets name.
const (
	figConns      = "connections"
	figUnsettled  = "unsettled_kib_conn"
	figGoroutines = "goroutines_conn"
	figBurstMiB   = "burst_mib"
	figHeapBefore = "heap_before_kib"
	figHeapAfter  = "heap_after_kib"
	figRSSBefore  = "rss_before_kib"
	figRSSPeak    = "rss_peak_kib"
	figRSSAfter   = "rss_after_kib"
)

func run(ctx context.Context, r *harness.Runner) error {
	hold := holdSpec{Count: r.Options.Pick(10_000, 1000, 20), Pause: pick(r, 5*time.Second, time.Second, 10*time.Millisecond)}
	err := r.Rounds(ctx, cellConnections, func(ctx context.Context, name string) (harness.Sample, error) {
		e, ok := rpc.EchoOf(name)
		if !ok {
			return nil, harness.ErrNoRow
		}
		return measure(ctx, r, name, hold, e.Start)
	})
	if err != nil {
		return err
	}
	err = r.Rounds(ctx, cellSessions, ours(func(ctx context.Context) (harness.Sample, error) {
		return measure(ctx, r, roleSessions, hold, startBroker)
	}))
	if err != nil {
		return err
	}
	return bursts(ctx, r)
}

// bursts are measured in the broker as it is run, which gives memory back; a round
// takes more than a minute, so shorter runs have but one.
func bursts(ctx context.Context, r *harness.Runner) error {
	if !r.Wants(cellBurst) || !r.WantsContestant(trefoil) {
		return nil
	}
	if r.Options.Scale != harness.Full {
		r = r.Once()
	}
	dir, err := os.MkdirTemp("", "bench-idle-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, buildErr := build(ctx, dir)
	burst := burstSpec{MiB: r.Options.Pick(1024, 128, 1), Pause: pick(r, time.Minute, 35*time.Second, 10*time.Millisecond)}
	return r.Rounds(ctx, cellBurst, ours(func(ctx context.Context) (harness.Sample, error) {
		if buildErr != nil {
			return nil, buildErr
		}
		return measure(ctx, r, roleBurst, burst, startBinary(binary))
	}))
}

func pick(r *harness.Runner, full, quick, smoke time.Duration) time.Duration {
	return time.Duration(r.Options.Pick(int(full), int(quick), int(smoke)))
}

// ours measures in Trefoil only.
func ours(measure func(context.Context) (harness.Sample, error)) func(context.Context, string) (harness.Sample, error) {
	return func(ctx context.Context, name string) (harness.Sample, error) {
		if name != trefoil {
			return nil, harness.ErrNoRow
		}
		return measure(ctx)
	}
}

// measure runs one load against fresh servers.
func measure(ctx context.Context, r *harness.Runner, role string, spec any,
	start func(context.Context, *harness.Runner) ([]*harness.Process, error)) (harness.Sample, error) {
	servers, err := start(ctx, r)
	defer func() {
		for _, p := range servers {
			p.Stop()
		}
	}()
	if err != nil {
		return nil, err
	}
	s := make(harness.Sample)
	err = r.Load(ctx, role, spec, &s, servers...)
	return s, err
}
