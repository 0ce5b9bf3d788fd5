package main

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"trefoil/abstract"
	"trefoil/server"
)

// defaultAddr is where a broker listens and is looked for.
const defaultAddr = "127.0.0.1:7700"

// settings is what the flags of one command say.
type settings struct {
	broker, direct, listen, advertise string
	exec, mode, kind                  string
	data, config                      string
	serve                             []string
	logLevel, logFormat               string
	json, watch, idempotent           bool
	stopOnEOF                         bool
	count, parallel, maxOutput        int
	timeout, drainTimeout             time.Duration
	restartGrace                      time.Duration
	bench                             benchSettings
	topic                             topicSetup
	pub                               pubSettings
	sub                               subSettings
	record                            recordSettings
	dead                              deadLetterSettings
	node                              nodeSettings
	keepGoing                         bool
	tls                               bool
	tlsCA, tlsCert, tlsKey, tokenFile string
	tokens, note                      string
	expires                           time.Duration
	compress                          string
	traits                            abstract.Traits
	tags, listsIn                     string
	health                            string
	shed                              bool
	callRate                          int
	meta                              []string
	ttl                               time.Duration
	balancing, key, zone              string
	protect                           protectSettings
	way                               waySettings
	relayed                           bool
	skeleton, stream                  bool
	describedIn                       string
	registry, otherAt                 string // the flag, and what of it may be shown when it is not the broker's
	anyRegistry                       bool   // the command takes the environment's, too

	own       brokerSettings
	given     map[string]string             // the flags of settings that were given
	liveDrain atomic.Pointer[time.Duration] // a drainTimeout that came later
	log       *slog.Logger                  // where to log, when that is open already
}

// flagRow is one flag of some commands.
type flagRow struct {
	commands string // their names, separated by spaces
	name     string
	to       any // where the value goes: *string, *[]string, *bool, *int, *time.Duration or a pflag.Value
	def      any
	help     string
	hidden   bool
	short    string // one letter, or empty
}

// flagTable lists the flags of every command, but for those of the broker's
// settings, which are in brokerTable.
func flagTable(s *settings) []flagRow {
	const bench = "bench-rpc bench-topic bench-discovery"
	const reading = "node-get node-ls node-stat node-exists"
	const verbs = reading + " node-create node-set node-delete node-multi node-sync"
	const nodes = verbs + " node-watch shell"
	const admin = "registry-status registry-lift "
	const secured = admin + "provide call discover services describe pub sub " + topicVerbs + nodes
	const talking = admin + "provide call discover services describe pub sub demo-provider " + topicVerbs + bench + " " + nodes
	return append(slices.Concat(protectFlags(s), wayFlags(s), relayFlags(s), registryFlags(s), describeFlags(s), streamFlags(s), topicFlags(s), pubFlags(s), subFlags(s), recordFlags(s), deadLetterFlags(s), scheduledFlags(s)), []flagRow{
		{commands: talking, name: "broker", to: &s.broker, def: "", help: "the broker's `ADDR`: host:port, or unix:/path (default $TREFOIL_BROKER, then " + defaultAddr + ")"},
		{commands: secured, name: "tls", to: &s.tls, def: false, help: "protect connections with TLS; the system knows who signs the servers' certificates"},
		{commands: secured, name: "tls-ca", to: &s.tlsCA, def: "", help: "the same, and `FILE` has the certificates of who signs them"},
		{commands: secured, name: "tls-cert", to: &s.tlsCert, def: "", help: "show the certificate in `FILE`; a provider also serves with it"},
		{commands: secured, name: "tls-key", to: &s.tlsKey, def: "", help: "its key, in `FILE`"},
		{commands: secured, name: "token-file", to: &s.tokenFile, def: "", help: "say who this is by the token in `FILE` (default $TREFOIL_TOKEN)"},
		{commands: "provide call pub sub bench-rpc bench-topic", name: "compress", to: &s.compress, def: "", help: "compress long bodies, where the other side can: `METHOD` is s2 (fast) or zstd (smaller), or both, the preferred first, separated by commas"},
		{commands: "token-new", name: "file", to: &s.tokens, def: "", help: "add the token's hash to `FILE`"},
		{commands: "token-new", name: "expires", to: &s.expires, def: time.Duration(0), help: "the token is good for this time (0: for ever)"},
		{commands: "token-new", name: "note", to: &s.note, def: "", help: "a `TEXT` for people, kept in the file"},
		{commands: "call describe bench-rpc", name: "direct", to: &s.direct, def: "", help: "call the server at `ADDR` without asking a broker"},
		{commands: "broker config-show", name: "config", to: &s.config, def: "", help: "read the settings in the JSON `FILE`; flags and the environment win over it (default $" + configEnv + ")"},
		{commands: "provide demo-provider", name: "listen", to: &s.listen, def: "127.0.0.1:0", help: "listen for calls on `ADDR`, host:port; port 0 takes a free one"},
		{commands: "provide", name: "advertise", to: &s.advertise, def: "", help: "register `HOST:PORT`, when callers cannot reach the address listened on; :PORT at the address from which the broker sees this provider"},
		{commands: "provide", name: "ttl", to: &s.ttl, def: time.Duration(0), help: "the registration ends when this provider has not renewed it for so long, which it does three times in that time (0: it lasts as long as the connection)"},
		{commands: "provide", name: "tags", to: &s.tags, def: "", help: "`WORDS` for callers to choose by, separated by commas"},
		{commands: "provide", name: "meta", to: &s.meta, def: []string(nil), help: "a fact about this provider, `NAME=VALUE`; may be given more than once"},
		{commands: "call discover", name: "lists-in", to: &s.listsIn, def: "", help: "keep the last lists of providers in the directory `DIR`, and use them while the broker is away"},
		{commands: "provide", name: "weight", to: &s.traits.Weight, def: 0, help: "this provider's share of the calls, beside the others' weights (0: 100)"},
		{commands: "provide", name: "zone", to: &s.traits.Zone, def: "", help: "the `ZONE` that it is in"},
		{commands: "provide", name: "service-version", to: &s.traits.Version, def: "", help: "the `VERSION` of what it serves"},
		{commands: "call", name: "balancing", to: &s.balancing, def: "", help: "choose a provider by the `RULE` least-pending, round-robin, random, weighted, latency, hash, zone or zone:RULE (default least-pending)"},
		{commands: "call", name: "key", to: &s.key, def: "", help: "with the rule hash: calls of the same `KEY` go to the same provider"},
		{commands: "call", name: "zone", to: &s.zone, def: "", help: "with the rule zone: the `ZONE` of this caller"},
		{commands: "provide", name: "exec", to: &s.exec, def: "", help: "the shell `CMD` that handles a request: parameters on its standard input, result on its standard output"},
		{commands: "provide", name: "parallel", to: &s.parallel, def: 64, help: "run at most `N` commands at once; further requests wait"},
		{commands: "provide", name: "call-rate", to: &s.callRate, def: 0, help: "take `N` requests a second at most, and refuse others (0: all)"},
		{commands: "provide", name: "shed", to: &s.shed, def: false, help: "under overload, refuse early what would wait for long, and find out how many commands at once are good, up to --parallel"},
		{commands: "provide", name: "health", to: &s.health, def: "", help: "be registered only while the shell `CMD` succeeds; it is run every 2 s, or three times in each --ttl"},
		{commands: "provide", name: "max-output", to: &s.maxOutput, def: 4 << 20, help: "stop a command that writes more than this many `BYTES`"},
		{commands: "call bench-rpc", name: "mode", to: &s.mode, def: "sync", help: "how to call: `MODE` is sync, future or callback"},
		{commands: "call", name: "idempotent", to: &s.idempotent, def: false, help: "the method may be called twice with the same outcome as once: try again when a connection is lost"},
		{commands: "call", name: "timeout", to: &s.timeout, def: 5 * time.Second, help: "give up after this time"},
		{commands: admin + "discover services describe pub sub " + topicVerbs + nodes, name: "timeout", to: &s.timeout, def: 5 * time.Second, help: "give up waiting for the broker's answer after this time"},
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
		{commands: "node-create", name: "session", short: "s", to: &s.node.session, def: false, help: "delete the node when the session ends, with this command or with the shell"},
		{commands: "node-create", name: "sequential", short: "q", to: &s.node.sequential, def: false, help: "append a number that grows with every such node of one parent"},
		{commands: "node-create", name: "parents", short: "p", to: &s.node.parents, def: false, help: "make missing parents"},
		{commands: "node-create", name: "key", to: &s.node.key, def: "", help: "made again with the same `KEY` in the same session, the node is made once"},
		{commands: "node-set node-delete", name: "version", to: &s.node.version, def: 0, help: "fail unless the node has version `N`"},
		{commands: "node-delete", name: "recursive", short: "r", to: &s.node.recursive, def: false, help: "delete everything below the node too"},
		{commands: "node-ls", name: "recursive", short: "R", to: &s.node.recursive, def: false, help: "list everything below the node"},
		{commands: "node-ls", name: "long", short: "l", to: &s.node.long, def: false, help: "show version, size, number of children, time and session"},
		{commands: reading, name: "linearizable", to: &s.node.linearizable, def: false, help: "ask the store: see everything that was acknowledged to anybody before"},
		{commands: "node-watch", name: "subtree", to: &s.node.subtree, def: false, help: "watch the node and everything below it"},
		{commands: "node-watch", name: "children", to: &s.node.children, def: false, help: "watch the children of the node"},
		{commands: "node-watch", name: "from", to: &s.node.from, def: 0, help: "begin with what came after `REVISION`, of the --epoch"},
		{commands: "node-watch", name: "epoch", to: &s.node.epoch, def: "", help: "the `EPOCH` of --from"},
		{commands: "node-watch", name: "count", to: &s.count, def: 0, help: "end after `N` changes; 0 goes on"},
		{commands: "shell", name: "keep-going", to: &s.keepGoing, def: false, help: "when commands come from a file: go on after one that failed"},
		{commands: admin + "broker provide call discover services describe pub sub demo version token-new demo-provider node-watch config-check config-show " + topicVerbs + verbs + " " + bench, name: "json", to: &s.json, def: false, help: "write JSON for programs to read, one object a line"},
		{commands: "provide demo-provider", name: "drain-timeout", to: &s.drainTimeout, def: 10 * time.Second, help: "how long running calls may take to end after SIGTERM or an interrupt"},
		{commands: "provide", name: "log-level", to: &s.logLevel, def: "info", help: "log to standard error from this `LEVEL` on: debug, info, warn or error"},
		{commands: "call discover services describe pub sub demo demo-provider " + topicVerbs + nodes + " " + bench, name: "log-level", to: &s.logLevel, def: "warn", help: "log to standard error from this `LEVEL` on: debug, info, warn or error"},
		{commands: talking, name: "log-format", to: &s.logFormat, def: "text", help: "`FORMAT` of the log: text or json"},
		{commands: "broker provide demo-provider", name: "stop-on-eof", to: &s.stopOnEOF, def: false, help: "drain when standard input ends, as on SIGTERM", hidden: true},
	}...)
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
		fs.StringVarP(to, r.name, r.short, r.def.(string), r.help)
	case *[]string:
		fs.StringArrayVarP(to, r.name, r.short, r.def.([]string), r.help)
	case *bool:
		fs.BoolVarP(to, r.name, r.short, r.def.(bool), r.help)
	case *int:
		fs.IntVarP(to, r.name, r.short, r.def.(int), r.help)
	case *time.Duration:
		fs.DurationVar(to, r.name, r.def.(time.Duration), r.help)
	case pflag.Value: // which is zero when it is not given
		fs.VarP(to, r.name, r.short, r.help)
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
	if err := s.checkCompress(); err != nil {
		return err
	}
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"timeout", int64(s.timeout)}, {"drain-timeout", int64(s.drainTimeout)}, {"restart-grace", int64(s.restartGrace)}, {"ttl", int64(s.ttl)}, {"expires", int64(s.expires)},
		{"count", int64(s.count)}, {"version", int64(s.node.version)}, {"from", int64(s.node.from)}, {"from", int64(s.dead.from)}, {"parallel", int64(s.parallel)}, {"max-output", int64(s.maxOutput)}, {"call-rate", int64(s.callRate)}, {"ttl", int64(s.ttl)},
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

// roles are those that the settings name.
func (s *settings) roles() []server.Role {
	roles := make([]server.Role, len(s.serve))
	for i, name := range s.serve {
		roles[i] = server.Role(name)
	}
	return roles
}

// drainLimit is how long a shutdown may take.
func (s *settings) drainLimit() time.Duration {
	if later := s.liveDrain.Load(); later != nil {
		return *later
	}
	return s.drainTimeout
}

func roleNames() []string {
	names := make([]string, 0, len(server.AllRoles))
	for _, r := range server.AllRoles {
		names = append(names, fmt.Sprint(r))
	}
	return names
}
