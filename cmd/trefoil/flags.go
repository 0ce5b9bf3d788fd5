package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trefoil/server"
)

// defaultAddr is where a broker listens and is looked for.
const defaultAddr = "127.0.0.1:7700"

// settings is what the flags of one command say.
type settings struct {
	broker, direct, listen, advertise string
	serve, exec, mode, kind           string
	data, etcd, etcdPrefix            string
	logLevel, logFormat               string
	json, watch, idempotent           bool
	stopOnEOF                         bool
	count, parallel, maxOutput        int
	timeout, drainTimeout             time.Duration
	restartGrace                      time.Duration
	sessionInterval                   time.Duration
	sessionMisses                     int
	bench                             benchSettings
}

// flagRow is one flag of some commands.
type flagRow struct {
	commands string // their names, separated by spaces
	name     string
	to       any // where the value goes: *string, *bool, *int or *time.Duration
	def      any
	help     string
	hidden   bool
}

// flagTable lists every flag of every command.
func flagTable(s *settings) []flagRow {
	const bench = "bench-rpc bench-topic bench-discovery"
	const talking = "provide call discover create remove pub sub demo-provider " + bench
	return []flagRow{
		{commands: talking, name: "broker", to: &s.broker, def: "", help: "the broker's `ADDR`: host:port, or unix:/path (default $TREFOIL_BROKER, then " + defaultAddr + ")"},
		{commands: "call bench-rpc", name: "direct", to: &s.direct, def: "", help: "call the server at `ADDR` without asking a broker"},
		{commands: "broker", name: "listen", to: &s.listen, def: defaultAddr, help: "listen on `ADDR`: host:port (port 0 takes a free one), or unix:/path"},
		{commands: "provide demo-provider", name: "listen", to: &s.listen, def: "127.0.0.1:0", help: "listen for calls on `ADDR`, host:port; port 0 takes a free one"},
		{commands: "provide", name: "advertise", to: &s.advertise, def: "", help: "register `HOST:PORT`, when callers cannot reach the address listened on"},
		{commands: "broker", name: "serve", to: &s.serve, def: strings.Join(roleNames(), ","), help: "run these `ROLES`, separated by commas"},
		{commands: "broker", name: "data", to: &s.data, def: "", help: "keep nodes, sessions, topics and registrations in the directory `DIR`, so that they survive the broker (default: in memory)"},
		{commands: "broker", name: "etcd", to: &s.etcd, def: "", help: "keep them in the etcd at `URLS`, separated by commas, in place of --data"},
		{commands: "broker", name: "etcd-prefix", to: &s.etcdPrefix, def: "/trefoil", help: "with --etcd: what the broker's keys begin with; one broker at a time can use a `PREFIX`"},
		{commands: "broker", name: "restart-grace", to: &s.restartGrace, def: 10 * time.Second, help: "with --data or --etcd: how long after its start the broker waits for providers that it knew before to come back"},
		{commands: "broker", name: "session-interval", to: &s.sessionInterval, def: 2 * time.Second, help: "how often a client shows a sign of life, for its session to stay"},
		{commands: "broker", name: "session-misses", to: &s.sessionMisses, def: 5, help: "end a session, and delete its nodes, after `N` such intervals in a row without one"},
		{commands: "provide", name: "exec", to: &s.exec, def: "", help: "the shell `CMD` that handles a request: parameters on its standard input, result on its standard output"},
		{commands: "provide", name: "parallel", to: &s.parallel, def: 64, help: "run at most `N` commands at once; further requests wait"},
		{commands: "provide", name: "max-output", to: &s.maxOutput, def: 4 << 20, help: "stop a command that writes more than this many `BYTES`"},
		{commands: "call bench-rpc", name: "mode", to: &s.mode, def: "sync", help: "how to call: `MODE` is sync, future or callback"},
		{commands: "call", name: "idempotent", to: &s.idempotent, def: false, help: "the method may be called twice with the same outcome as once: try again when a connection is lost"},
		{commands: "call", name: "timeout", to: &s.timeout, def: 5 * time.Second, help: "give up after this time"},
		{commands: "discover create remove pub sub", name: "timeout", to: &s.timeout, def: 5 * time.Second, help: "give up waiting for the broker's answer after this time"},
		{commands: "provide", name: "timeout", to: &s.timeout, def: time.Minute, help: "kill a command after this time, when the caller's deadline is not earlier"},
		{commands: "demo", name: "timeout", to: &s.timeout, def: time.Minute, help: "the deadline of each call"},
		{commands: bench, name: "timeout", to: &s.timeout, def: 5 * time.Second, help: "give up on an operation after this time"},
		{commands: bench, name: "duration", to: &s.bench.duration, def: 5 * time.Second, help: "begin operations for this time"},
		{commands: "bench-rpc", name: "method", to: &s.bench.method, def: "", help: "call the method `NAME` in place of an echo that the bench provides itself"},
		{commands: "bench-rpc", name: "params", to: &s.bench.params, def: "", help: "the parameters of --method: a JSON `OBJECT` ({} when left out)"},
		{commands: "bench-rpc bench-topic", name: "size", to: &s.bench.size, def: 128, help: "`BYTES` of JSON in a request or a message"},
		{commands: "bench-rpc", name: "inflight", to: &s.bench.inflight, def: 64, help: "keep `N` calls in flight, over all connections"},
		{commands: "bench-rpc", name: "conns", to: &s.bench.conns, def: 1, help: "call over `N` connections"},
		{commands: "bench-rpc bench-topic", name: "rate", to: &s.bench.rate, def: 0, help: "begin `N` operations a second, evenly; latency counts from when each was due (0: as many as are answered)"},
		{commands: "bench-topic", name: "publishers", to: &s.bench.publishers, def: 1, help: "`N` connections that publish, one message at a time each"},
		{commands: "bench-topic", name: "subscribers", to: &s.bench.subscribers, def: 10, help: "`N` connections that subscribe"},
		{commands: "bench-discovery", name: "sessions", to: &s.bench.sessions, def: 16, help: "`N` connections that look up and register, one operation at a time each"},
		{commands: "discover", name: "watch", to: &s.watch, def: false, help: "go on and tell who comes and goes"},
		{commands: "pub", name: "type", to: &s.kind, def: "string", help: "what MESSAGE is: `TYPE` is string, or json for any JSON value"},
		{commands: "sub", name: "count", to: &s.count, def: 0, help: "end after `N` messages; 0 goes on"},
		{commands: "broker provide call discover create remove pub sub demo version demo-provider " + bench, name: "json", to: &s.json, def: false, help: "write JSON for programs to read, one object a line"},
		{commands: "broker provide demo-provider", name: "drain-timeout", to: &s.drainTimeout, def: 10 * time.Second, help: "how long running calls may take to end after SIGTERM or an interrupt"},
		{commands: "broker provide", name: "log-level", to: &s.logLevel, def: "info", help: "log to standard error from this `LEVEL` on: debug, info, warn or error"},
		{commands: "call discover create remove pub sub demo demo-provider " + bench, name: "log-level", to: &s.logLevel, def: "warn", help: "log to standard error from this `LEVEL` on: debug, info, warn or error"},
		{commands: "broker " + talking, name: "log-format", to: &s.logFormat, def: "text", help: "`FORMAT` of the log: text or json"},
		{commands: "broker provide demo-provider", name: "stop-on-eof", to: &s.stopOnEOF, def: false, help: "drain when standard input ends, as on SIGTERM", hidden: true},
	}
}

// inTable is the annotation of a command that stands in the flag table under
// another name than its own, because an older command has that.
const inTable = "name in the flag table"

// tableName is how the flag table calls a command.
func tableName(c *cobra.Command) string {
	if name, ok := c.Annotations[inTable]; ok {
		return name
	}
	return c.Name()
}

// addFlags gives a command its flags.
func addFlags(c *cobra.Command, s *settings) {
	for _, row := range flagTable(s) {
		if slices.Contains(strings.Fields(row.commands), tableName(c)) {
			row.add(c)
		}
	}
}

func (r flagRow) add(c *cobra.Command) {
	fs := c.Flags()
	switch to := r.to.(type) {
	case *string:
		fs.StringVar(to, r.name, r.def.(string), r.help)
	case *bool:
		fs.BoolVar(to, r.name, r.def.(bool), r.help)
	case *int:
		fs.IntVar(to, r.name, r.def.(int), r.help)
	case *time.Duration:
		fs.DurationVar(to, r.name, r.def.(time.Duration), r.help)
	}
	fs.Lookup(r.name).Hidden = r.hidden
}

// check returns the first thing wrong with the flags. Flags that the command
// does not have are zero, and pass.
func (s *settings) check() error {
	if err := oneOf("mode", s.mode, "sync", "future", "callback"); err != nil {
		return err
	}
	if err := oneOf("type", s.kind, "string", "json"); err != nil {
		return err
	}
	if err := oneOf("log-format", s.logFormat, "text", "json"); err != nil {
		return err
	}
	if err := oneOf("log-level", s.logLevel, "debug", "info", "warn", "error"); err != nil {
		return err
	}
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"timeout", int64(s.timeout)}, {"drain-timeout", int64(s.drainTimeout)}, {"restart-grace", int64(s.restartGrace)},
		{"count", int64(s.count)}, {"parallel", int64(s.parallel)}, {"max-output", int64(s.maxOutput)},
	} {
		if n.value < 0 {
			return usagef("--%s must not be negative", n.name)
		}
	}
	return nil
}

func oneOf(flag, value string, known ...string) error {
	if value == "" || slices.Contains(known, value) {
		return nil
	}
	return usagef("--%s %q is not known; it is one of %s", flag, value, strings.Join(known, ", "))
}

// positive is for flags that must be above 0.
func positive[N int | time.Duration](flag string, n N) error {
	if n > 0 {
		return nil
	}
	return usagef("--%s must be above 0", flag)
}

// brokerAddr is where the broker is: the flag, the environment, or the default.
func (s *settings) brokerAddr() string {
	if s.broker != "" {
		return s.broker
	}
	if addr := os.Getenv("TREFOIL_BROKER"); addr != "" {
		return addr
	}
	return defaultAddr
}

// roles reads --serve.
func (s *settings) roles() ([]server.Role, error) {
	var roles []server.Role
	for name := range strings.SplitSeq(s.serve, ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains(roleNames(), name) {
			return nil, usagef("--serve does not know the role %q; it takes %s", name, strings.Join(roleNames(), ", "))
		}
		if !slices.Contains(roles, server.Role(name)) {
			roles = append(roles, server.Role(name))
		}
	}
	return roles, nil
}

func roleNames() []string {
	names := make([]string, 0, len(server.AllRoles))
	for _, r := range server.AllRoles {
		names = append(names, fmt.Sprint(r))
	}
	return names
}
