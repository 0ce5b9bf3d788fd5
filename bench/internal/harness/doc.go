// Package harness is what all tables of the benchmark stand on: processes,
// rounds, accounting, results, budgets and charts.
//
// A table is a [Table] value. It names its contestants, the programs that run in
// processes of their own, and a Run function that measures. The processes are
// this same executable, started again with the hidden subcommands serve and load:
//
//	parent   bench rpc                        Table.Run(ctx, *Runner)
//	child    bench serve rpc nats {spec}      Table.Serve["nats"](ctx, spec) -> *Served
//	child    bench load  rpc nats {spec}      Table.Load["nats"](ctx, *Job) -> result
//
// A served program prints one JSON line, its [Ready], when it takes connections,
// and lives until the parent closes its standard input, kills it, or dies. It
// also answers control commands: Snapshot is built in, others come from
// Served.Commands. A load program does one measurement, prints its result as one
// JSON line and ends. Load programs and the parent may both send commands, and a
// load program gets the Ready of every server it loads in its [Job].
//
// Run's usual shape:
//
//	func run(ctx context.Context, r *harness.Runner) error {
//		for _, cell := range cells {
//			err := r.Rounds(ctx, cell.Name, func(ctx context.Context, contestant string) (harness.Sample, error) {
//				srv, err := r.Serve(ctx, contestant, serveSpec{...})
//				if err != nil {
//					return nil, err
//				}
//				defer srv.Stop()
//				var s harness.Sample
//				err = r.Load(ctx, contestant, loadSpec{...}, &s, srv)
//				return s, err
//			})
//			if err != nil {
//				return err // only when ctx ended: what fails or is absent is noted and skipped
//			}
//		}
//		return nil
//	}
//
// Rounds goes through the contestants in turn, in another order each round, and
// keeps one [Sample] per contestant and round. When Run returns, the harness
// makes medians, spreads, ratios to the floor and to the best peer (paired round
// by round), writes results/<table>.json and prints a Markdown table and the
// budgets that name this table.
//
// Inside a load program, the measured interval is a [Meter]'s: Start it after the
// warm-up, Stop it with the number of operations; it accounts the CPU time of the
// servers and of this process to those operations, with their memory and
// allocations. CPU time is the operating system's (the process' CPU clock, which
// is what getrusage sums up, in nanoseconds). Latencies go to a [Histogram].
// [Pace] gives intended send times for fixed-rate loads.
//
// A table's package exports one function, Table() harness.Table, and stands in the
// list of main.go; its budgets stand in budgets.go. main_test.go runs every table
// with --smoke: sizes come from Options.Pick(full, quick, smoke).
//
// Everything here runs on Linux; elsewhere it says so and ends.
package harness
