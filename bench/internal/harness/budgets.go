package harness

// Verdict is one budget held against a run.
type Verdict struct {
	Work     string  `json:"work"`
	Budget   string  `json:"budget"`
	Limit    float64 `json:"limit"`
	Measured float64 `json:"measured"`
	Missing  string  `json:"missing,omitempty"` // what the run did not measure
	Held     bool    `json:"held"`
	Small    bool    `json:"small,omitempty"` // the run had fewer connections or bytes than the budget speaks of
}

// budget is one row of the table of budgets.
type budget struct {
	table   string // the table that measures it
	work    string
	limit   float64
	atLeast bool   // measured must not be less; else it must not be more
	unit    string // "x the floor", "µs"
	measure func(*Result) (value float64, missing string)
}

// budgets is what we promise ourselves, one row per promise. Ratios are medians
// of ratios within one round.
var budgets = []budget{
	{"rpc", "echo 128 B, 64 in flight over 16 connections, CPU", 1.35, false, "x the floor", ratio("64x16 128B", "trefoil", "floor-net", FigCPU)},
	{"rpc", "echo 128 B, 1000 in flight over 16 connections, CPU", 1.9, false, "x the floor", ratio("1000x16 128B", "trefoil", "floor-net", FigCPU)},
	{"rpc", "echo 1 KiB, 64 in flight over 16 connections, CPU", 1.5, false, "x the floor", ratio("64x16 1KiB", "trefoil", "floor-net", FigCPU)},
	{"rpc", "echo 1 KiB, 1000 in flight over 16 connections, CPU", 2.5, false, "x the floor", ratio("1000x16 1KiB", "trefoil", "floor-net", FigCPU)},
	{"rpc", "1 in flight, CPU", 1, false, "x fasthttp", ratio("1x1 128B", "trefoil", "fasthttp", FigCPU)},
	{"rpc", "1 in flight, p50", 1, false, "x fasthttp", ratio("1x1 128B", "trefoil", "fasthttp", FigP50)},
	{"rpc", "one call in ten takes 5 ms, 64 in flight over 1 connection, p50 of all", 200, false, "µs", value("64x1 128B slow 10%", "trefoil", FigP50)},
	{"rpc", "calls/s, 64 in flight over 16 connections", 3, true, "x NATS", ratio("64x16 128B", "trefoil", "nats", FigRate)},
	{"rpc", "calls/s, 64 in flight over 16 connections", 3, true, "x gRPC", ratio("64x16 128B", "trefoil", "grpc", FigRate)},
	{"rpc", "calls/s, 1000 in flight over 16 connections", 3, true, "x NATS", ratio("1000x16 128B", "trefoil", "nats", FigRate)},
	{"rpc", "calls/s, 1000 in flight over 16 connections", 3, true, "x gRPC", ratio("1000x16 128B", "trefoil", "grpc", FigRate)},
	{"rpc", "CPU of a typed call, 64 in flight over 16 connections", 1.1, false, "x Call", ratio("64x16 128B", "trefoil-typed", "trefoil", FigCPU)},
	{"rpc", "CPU of CallFuture, 64 in flight over 16 connections", 1.1, false, "x Call", ratio("64x16 128B", "trefoil-future", "trefoil", FigCPU)},
	{"rpc", "CPU of CallFunc, 64 in flight over 16 connections", 1.1, false, "x Call", ratio("64x16 128B", "trefoil-func", "trefoil", FigCPU)},
	{"rpc", "CPU of a generated stub, 64 in flight over 16 connections", 1.25, false, "x Call", ratio("64x16 128B", "trefoil-stub", "trefoil", FigCPU)},
	{"rpc", "growth of CPU per call from 16 to 1000 connections, 1 in flight each", 1, false, "x the floor's growth", ratio("growth 16 to 1000", "trefoil", "floor-net", FigGrowth)},

	{"topic", "1 to 100, 128 B, broker CPU per delivery", 0.09, false, "µs", value("1x100 128B", "trefoil", FigCPUServer)},
	{"topic", "1 to 100, 128 B, broker CPU per delivery", 0.5, false, "x Redis", ratio("1x100 128B", "trefoil", "redis", FigCPUServer)},
	{"topic", "1 to 1000, 128 B, broker CPU per delivery", 0.28, false, "µs", value("1x1000 128B", "trefoil", FigCPUServer)},
	{"topic", "1 to 1000, 128 B, deliveries/s", 2.5, true, "x NATS", ratio("1x1000 128B", "trefoil", "nats", FigRate)},
	{"topic", "paced, 1 to 100, 128 B, broker CPU per delivery", 1.1, false, "x Redis", ratio("1x100 128B paced", "trefoil", "redis", FigCPUServer)},
	{"topic", "paced, 1 to 1000, 128 B, broker CPU per delivery", 1.1, false, "x Redis", ratio("1x1000 128B paced", "trefoil", "redis", FigCPUServer)},
	{"topic", "1 to 100, 1 KiB, subscriber CPU per delivery", 0.3, false, "µs", value("1x100 1KiB", "trefoil", FigCPUClient)},
	{"topic", "20 subscribers beside a stopped one, 128 B, deliveries/s", 0.95, true, "x without it", value("20 and one stopped 128B", "trefoil", "kept")},
	{"topic", "20 subscribers beside a stopped one, 4 KiB, paced, deliveries/s", 0.95, true, "x without it", value("20 and one stopped 4KiB paced", "trefoil", "kept")},
	{"topic", "live heap that a stopped subscriber holds, 128 B", 2048, false, "KiB", value("20 and one stopped 128B", "trefoil", "held_kib")},
	{"topic", "live heap that a stopped subscriber holds, 4 KiB, paced", 2048, false, "KiB", value("20 and one stopped 4KiB paced", "trefoil", "held_kib")},
	{"topic", "messages that a stopped subscriber lost and was not told of, 128 B", 0, false, "messages", value("20 and one stopped 128B", "trefoil", "untold")},
	{"topic", "growth of broker CPU per delivery from 100 to 1000 subscribers", 4.0 / 3, false, "x the floor's growth", ratio("growth 100 to 1000", "trefoil", "floor", FigGrowth)},

	{"discovery", "look-ups/s, 64 sessions", 2, true, "x ZooKeeper", ratio("look-ups", "trefoil", "zookeeper", FigRate)},
	{"discovery", "registrations/s, 64 sessions", 3.5, true, "x ZooKeeper", ratio("registrations", "trefoil", "zookeeper", FigRate)},
	{"discovery", "registration seen by 1 watcher", 0.5, false, "ms", value("told to 1", "trefoil", "register_last_ms")},
	{"discovery", "registration seen by the last of 1000 watchers", 25, false, "ms", value("told to 1000", "trefoil", "register_last_ms")},
	{"discovery", "provider killed until 1 watcher is told", 5, false, "ms", value("told to 1", "trefoil", "kill_last_ms")},
	{"discovery", "memory per session with one registration", 8, false, "KiB", value("memory of 10000 sessions", "trefoil", FigPerConn)},

	{"mixed", "p99 of calls beside a flood at half its saturated rate", 3, false, "x without a flood", value("flood", "trefoil", "half_p99_ratio")},
	{"mixed", "the same, over a connection that is flooded too", 3, false, "x without a flood", value("flood", "trefoil-same", "half_p99_ratio")},
	{"mixed", "calls that fail beside a flood at saturation", 0, false, "calls", value("flood", "trefoil", "full_errors")},
	{"mixed", "the same, over a connection that is flooded too", 0, false, "calls", value("flood", "trefoil-same", "full_errors")},

	{"idle", "memory per idle connection after traffic", 4.5, false, "KiB", value("connections", "trefoil", FigPerConn)},
	{"idle", "memory per session with one registration", 8, false, "KiB", value("sessions", "trefoil", FigPerConn)},
	{"idle", "live heap 60 s after a 1 GiB burst", 1.2, false, "x before", value("burst", "trefoil", FigHeapRatio)},
	{"idle", "RSS 60 s after a 1 GiB burst", 2, false, "x before", value("burst", "trefoil", FigRSSRatio)},
}

// Figures of the idle table.
const (
	FigPerConn   = "kib_per_conn"     // server RSS per connection, KiB
	FigHeapConn  = "heap_kib_conn"    // server heap per connection, KiB
	FigHeapRatio = "heap_after_ratio" // live heap after a burst by that before it
	FigRSSRatio  = "rss_after_ratio"  // RSS after a burst by that before it
)

// value measures a figure as it is.
func value(cell, contestant, figure string) func(*Result) (float64, string) {
	return func(res *Result) (float64, string) {
		v, ok := res.Median(cell, contestant, figure)
		if !ok {
			return 0, figure + " of " + contestant + " at " + cell
		}
		return v, ""
	}
}

// ratio measures a figure against another contestant's in the same cell.
func ratio(cell, contestant, over, figure string) func(*Result) (float64, string) {
	return func(res *Result) (float64, string) {
		s, ok := res.Ratio(cell, contestant, cell, over, figure)
		if !ok {
			return 0, figure + " of " + contestant + " and " + over + " at " + cell
		}
		return s.Median, ""
	}
}

// judge holds the budgets of the result's table against it.
func judge(res *Result) []Verdict {
	var list []Verdict
	sized := res.Table == "idle" || res.Table == "mixed" // others leave cells out instead
	small := sized && (res.Scale == Quick || res.Scale == Smoke)
	for _, b := range budgets {
		if b.table != res.Table {
			continue
		}
		v := Verdict{Work: b.work, Limit: b.limit, Budget: "<= " + number(b.limit) + " " + b.unit}
		if b.atLeast {
			v.Budget = ">= " + number(b.limit) + " " + b.unit
		}
		v.Measured, v.Missing = b.measure(res)
		v.Small = small && v.Missing == ""
		v.Held = v.Missing == "" && (v.Measured == b.limit || (v.Measured > b.limit) == b.atLeast)
		list = append(list, v)
	}
	return list
}

// measured is the figure as it is printed: nothing when there is none.
func (v Verdict) measured() string {
	if v.Missing != "" {
		return ""
	}
	return number(v.Measured)
}

// verdict says in words how a budget came out.
func (v Verdict) verdict() string {
	text := "reached"
	switch {
	case v.Missing != "":
		return "not measured in this run"
	case v.Held:
	case v.Limit == 0:
		text = "missed by " + number(v.Measured)
	default:
		off := v.Measured/v.Limit - 1
		text = "missed by " + number(max(off, -off)*100) + " %"
	}
	if v.Small {
		text += ", in a small run"
	}
	return text
}
