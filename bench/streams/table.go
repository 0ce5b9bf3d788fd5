package streams

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"trefoil/bench/internal/harness"
)

// The contestants: the same streams, all of them read, and with one more that is not.
const (
	allRead = "all-read"
	unread  = "one-unread"
)

// Figures beside those of the harness; the names of phases begin those of latencies.
const (
	figHeap   = "heap_server_kib" // live heap of the server, while the streams run
	figBeside = "beside"          // rate of the streams beside one more, by that without it, in the same process
	quiet     = "quiet_"          // the other streams are silent
	steady    = "steady_"         // they send at a fixed rate
	busy      = "busy_"           // they send as fast as they can
)

// The names of the programs.
const (
	roleServe = "serve"
	roleCall  = "call"
)

// settings are the table's own flags.
type settings struct {
	streams int
	rate    float64
}

// Table is `bench streams`.
func Table() harness.Table {
	set := &settings{}
	return harness.Table{
		Name:        "streams",
		About:       "999 streams on one connection, with and without one that is never read",
		Contestants: []harness.Contestant{{Name: allRead, Kind: harness.Floor}, {Name: unread, Kind: harness.Ours}},
		Floor:       allRead,
		Rank:        busy + harness.FigRate,
		Columns: []harness.Column{
			{Key: steady + harness.FigRate, Title: "messages/s of all, paced", Higher: true, Ratio: true},
			{Key: steady + harness.FigCPUServer, Title: "server CPU, µs"},
			{Key: steady + figHeap, Title: "server heap, KiB"},
			{Key: busy + harness.FigRate, Title: "messages/s of all, saturated", Higher: true, Ratio: true},
			{Key: busy + figBeside, Title: "beside one more stream / without, in turns"},
			{Key: busy + harness.FigCPUServer, Title: "server CPU, µs"},
			{Key: busy + figHeap, Title: "server heap, KiB"},
			{Key: quiet + harness.FigP50, Title: "cancel, others silent: p50, µs"},
			{Key: quiet + harness.FigP99, Title: "p99, µs"},
			{Key: steady + harness.FigP50, Title: "paced: p50, µs"},
			{Key: steady + harness.FigP99, Title: "p99, µs"},
			{Key: busy + harness.FigP50, Title: "saturated: p50, µs"},
			{Key: busy + harness.FigP99, Title: "p99, µs"},
		},
		Serve: map[string]harness.ServeFunc{roleServe: serve},
		Load:  map[string]harness.LoadFunc{roleCall: load},
		Run:   func(ctx context.Context, r *harness.Runner) error { return set.run(ctx, r) },
		Flags: func(fs *flag.FlagSet) {
			fs.IntVar(&set.streams, "streams", 999, "streams that are read")
			fs.Float64Var(&set.rate, "messages", 20_000, "messages per second of all streams together, where they are paced")
		},
	}
}

func (set *settings) run(ctx context.Context, r *harness.Runner) error {
	n := r.Options.Pick(set.streams, set.streams, min(set.streams, 10))
	cancels := r.Options.Pick(300, 100, 5)
	if n < 1 || set.rate <= 0 {
		return errors.New("this table needs a stream, and a positive rate; see --streams and --messages")
	}
	r.Note("%d streams that are read on one connection, messages of %d bytes, %g a second where they are paced, up to %d cancels in each phase", n, len(text), set.rate, cancels)
	return r.Rounds(ctx, fmt.Sprintf("%d streams", n), func(ctx context.Context, contestant string) (harness.Sample, error) {
		server, err := r.Serve(ctx, roleServe, nil)
		if err != nil {
			return nil, err
		}
		defer server.Stop()
		what := job{n, contestant == unread, cancels, set.rate, r.Options.WarmUpTime(), r.Options.Interval()}
		var s harness.Sample
		err = r.Load(ctx, roleCall, what, &s, server)
		return s, err
	})
}
