package discovery

import (
	"context"
	"fmt"
	"time"

	"trefoil/bench/internal/harness"
)

// The names of the programs beside the registries, which are named as themselves.
const (
	roleProvide       = "provide"
	roleLookups       = "lookups"
	roleRegistrations = "registrations"
	roleChanges       = "changes"
	roleSessions      = "sessions"
)

// Table is `bench discovery`.
func Table() harness.Table {
	t := harness.Table{
		Name:  "discovery",
		About: "service discovery: look-ups, registrations, how soon watchers are told, memory per session",
		Rank:  harness.FigRate,
		Columns: []harness.Column{
			{Key: harness.FigRate, Title: "ops/s", Higher: true, Ratio: true},
			{Key: harness.FigCPUServer, Title: "server CPU, µs", Ratio: true},
			{Key: harness.FigCPUClient, Title: "client CPU, µs"},
			{Key: harness.FigP50, Title: "p50, µs"},
			{Key: harness.FigP99, Title: "p99, µs"},
			{Key: harness.FigP999, Title: "p99.9, µs"},
			{Key: harness.FigAllocServer, Title: "server allocs"},
			{Key: harness.FigAllocClient, Title: "client allocs"},
			{Key: FigRegisterFirst, Title: "registration, first, ms", Ratio: true},
			{Key: FigRegisterLast, Title: "registration, last, ms", Ratio: true},
			{Key: FigCloseLast, Title: "close, last, ms", Ratio: true},
			{Key: FigKillFirst, Title: "SIGKILL, first, ms", Ratio: true},
			{Key: FigKillLast, Title: "SIGKILL, last, ms", Ratio: true},
			{Key: FigSessions, Title: "sessions"},
			{Key: harness.FigPerConn, Title: "RSS per session, KiB", Ratio: true},
			{Key: harness.FigHeapConn, Title: "heap per session, KiB"},
			{Key: harness.FigPeakServer, Title: "server peak, KiB"},
			{Key: harness.FigPeakClient, Title: "client peak, KiB"},
		},
		Charts: []harness.Chart{
			{File: "discovery-rate", Title: "Service discovery: operations per second, 64 sessions", Figure: harness.FigRate,
				Cells: []string{"look-ups", "registrations"}},
			{File: "discovery-told", Title: "Until the last watcher is told of a registration, ms", Figure: FigRegisterLast,
				Cells: []string{"told to 1", "told to 1000"}},
		},
		Serve: map[string]harness.ServeFunc{roleProvide: serveProvider},
		Load: map[string]harness.LoadFunc{
			roleLookups:       loadLookups,
			roleRegistrations: loadRegistrations,
			roleChanges:       loadChanges,
			roleSessions:      loadSessions,
		},
		Run: run,
	}
	for _, r := range Registries() {
		t.Contestants = append(t.Contestants, harness.Contestant{Name: r.Name, Kind: r.Kind})
		t.Serve[r.Name] = r.Serve
	}
	return t
}

// cell is one setting of the table. Providers are processes to kill, besides one
// that comes and goes.
type cell struct {
	name, role string
	load       load
	victims    int
}

func cellsOf(o harness.Options) []cell {
	sessions := o.Pick(64, 64, 4)
	repeats, victims := o.Pick(15, 5, 2), o.Pick(2, 1, 1)
	cells := []cell{
		{"look-ups", roleLookups, load{Sessions: sessions}, 0},
		{"registrations", roleRegistrations, load{Sessions: sessions, Each: o.Pick(1000, 200, 20)}, 0},
	}
	for _, n := range []int{1, o.Pick(1000, 1000, 5)} {
		cells = append(cells, cell{fmt.Sprintf("told to %d", n), roleChanges, load{Sessions: n, Repeats: repeats}, victims})
	}
	n := o.Pick(10_000, 500, 20)
	return append(cells, cell{fmt.Sprintf("memory of %d sessions", n), roleSessions, load{Sessions: n}, 0})
}

func run(ctx context.Context, r *harness.Runner) error {
	for _, c := range cellsOf(r.Options) {
		err := r.Rounds(ctx, c.name, func(ctx context.Context, registry string) (harness.Sample, error) {
			return measure(ctx, r, c, registry)
		})
		if err != nil {
			return err
		}
	}
	for _, reg := range Registries() {
		if reg.MaxSessions > 0 && r.Options.Scale == harness.Full {
			r.Note("%s is measured with %d sessions where the others have 10,000: more would keep this machine busy for minutes", reg.Name, reg.MaxSessions)
		}
	}
	return nil
}

// measure runs one registry in one cell once.
func measure(ctx context.Context, r *harness.Runner, c cell, registry string) (harness.Sample, error) {
	server, err := r.Serve(ctx, registry, nil)
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	servers := []*harness.Process{server}
	if c.role == roleChanges {
		for range 1 + c.victims {
			p, err := r.Serve(ctx, roleProvide, provide{registry, server.Addr})
			if err != nil {
				return nil, err
			}
			defer p.Stop()
			servers = append(servers, p)
		}
	}
	reg, err := registryOf(registry)
	if err != nil {
		return nil, err
	}
	l := c.load
	l.Registry, l.WarmUp, l.Measure = registry, r.Options.WarmUpTime()*time.Duration(max(1, reg.WarmUp)), r.Options.Interval()
	var s harness.Sample
	err = r.Load(ctx, c.role, l, &s, servers...)
	return s, err
}
