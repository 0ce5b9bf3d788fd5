package harness

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
)

// Table is one table of the benchmark: what `bench <name>` measures. It is built
// once and not changed.
type Table struct {
	Name  string // the subcommand, and the results' file name
	About string // one line for the usage text

	Contestants []Contestant
	Floor       string   // the contestant that ratios are taken to; "" when there is none
	Columns     []Column // the figures printed, in order; the results file has all of them
	Rank        string   // the figure that says most; charts show it when they name no other
	Rounds      int      // the default of --rounds; 0 is 5
	Charts      []Chart  // what `bench charts` draws from the results

	Serve map[string]ServeFunc // programs that serve, by name
	Load  map[string]LoadFunc  // programs that measure, by name
	Run   func(ctx context.Context, r *Runner) error

	Flags func(*flag.FlagSet) // adds the table's own flags; may be nil
}

// Contestant is one of those compared in a table.
type Contestant struct {
	Name string
	Kind Kind
}

// Kind says what a contestant is compared as.
type Kind string

// The kinds of contestants.
const (
	Floor Kind = "floor" // what the machine can do without a middleware
	Ours  Kind = "ours"
	Peer  Kind = "peer"
)

// Column is one printed figure.
type Column struct {
	Key    string // of a Sample
	Title  string // with its unit: "p50, µs"
	Higher bool   // more is better; it turns "best" round
	Ratio  bool   // also print the ratios of this figure to the floor and to the best peer
}

// Sample is what one round of one contestant in one cell gave: figures by name.
// The names that the harness itself gives are the Fig constants.
type Sample map[string]float64

// The figures that Meter and Histogram.Figures give. CPU time per operation in
// microseconds is the same number as seconds per million operations.
const (
	FigRate        = "ops_s"           // operations per second
	FigOps         = "ops"             // operations in the measured interval
	FigSeconds     = "seconds"         // length of the measured interval
	FigCPU         = "cpu_us"          // CPU time of all processes, µs per operation
	FigCPUClient   = "cpu_client_us"   // of the load process
	FigCPUServer   = "cpu_server_us"   // of all server processes
	FigAllocClient = "alloc_client"    // heap allocations per operation
	FigAllocServer = "alloc_server"    // missing when a server is no Go program
	FigRSSClient   = "rss_client_kib"  // at the end of the interval
	FigRSSServer   = "rss_server_kib"  // sum of the servers
	FigPeakClient  = "peak_client_kib" // VmHWM
	FigPeakServer  = "peak_server_kib" // sum of the servers' VmHWM
	FigP50         = "p50_us"          // latency
	FigP99         = "p99_us"          //
	FigP999        = "p999_us"         //
	FigMax         = "max_us"          //
	FigErrors      = "errors"          // operations that failed; absent or 0 in a good run
)

// ServeFunc starts a program that serves and returns when it takes connections.
// It runs in a process of its own. spec is the JSON of what was given to
// Runner.Serve. ctx ends when the process is told to stop.
type ServeFunc func(ctx context.Context, spec json.RawMessage) (*Served, error)

// Served is a program that serves.
type Served struct {
	Addr string            // where clients connect
	More map[string]string // anything else they need to know

	// PIDs are the processes to account; nil means this process. A program that
	// only starts another one (see Program) names that one.
	PIDs []int
	// Commands are control commands besides Snapshot; they may run at the same
	// time. The result is sent back as JSON.
	Commands map[string]CommandFunc
	// Live tells how many KiB of heap a Go program of its own holds after a
	// collection; it is asked for a Snapshot that settles. May be nil.
	Live func(ctx context.Context) (float64, error)
	// Stop ends the program when the process is told to stop; may be nil.
	Stop func()
}

// CommandFunc answers one control command.
type CommandFunc func(ctx context.Context, arg json.RawMessage) (any, error)

// LoadFunc does one measurement in a process of its own; its result is printed
// as JSON and comes out of Runner.Load. ctx ends when the parent wants it to stop.
type LoadFunc func(ctx context.Context, job *Job) (any, error)

// Job is what a load program is asked to do.
type Job struct {
	Role    string          // the name under which the LoadFunc stands in Table.Load
	Spec    json.RawMessage // the JSON of what was given to Runner.Load
	Servers []Ready         // in the order given to Runner.Load
}

// Decode puts the job's spec into v.
func (j *Job) Decode(v any) error { return json.Unmarshal(j.Spec, v) }

// Ready is what a serving process prints when it takes connections.
type Ready struct {
	Addr    string            `json:"addr"`
	Control string            `json:"control"` // address for Command
	PID     int               `json:"pid"`     // of the process that the harness started
	PIDs    []int             `json:"pids"`    // whose CPU time and memory count
	More    map[string]string `json:"more,omitempty"`
	Absent  string            `json:"absent,omitempty"` // why it cannot run on this machine
	Failed  string            `json:"failed,omitempty"` // why it did not start
}

// ErrAbsent is wrapped by the error of a contestant whose program is not on this
// machine. Rounds notes it in the results and goes on without the contestant.
var ErrAbsent = errors.New("not on this machine")

// Absent makes an error that wraps ErrAbsent, for ServeFuncs.
func Absent(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrAbsent, fmt.Sprintf(format, args...))
}
