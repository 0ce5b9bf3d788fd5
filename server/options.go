package server

import (
	"log/slog"
	"runtime"
	"strings"
	"time"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/business/stream"
	"trefoil/client"
	"trefoil/concrete/memlog"
	"trefoil/concrete/stdnet"
	"trefoil/concrete/tcp"
)

// Option changes one setting of a server. Options are given to the constructors.
type Option func(*config)

// Transport makes the listener of a server for an address.
type Transport func(addr string, cfg abstract.TransportConfig) abstract.BaseServer

// Role is one of the services that a Broker can run.
type Role string

// The roles of a Broker.
const (
	RoleRPC      Role = "rpc"
	RoleRegistry Role = "registry"
	RoleTopic    Role = "topic"
	RoleNode     Role = "node" // sessions, and the tree of nodes
)

// AllRoles is what a Broker runs when WithRoles does not say otherwise.
var AllRoles = [...]Role{RoleRPC, RoleRegistry, RoleTopic, RoleNode}

// config holds every setting; defaults() says what they are when no Option is given.
type config struct {
	logger    *slog.Logger
	transport Transport
	roles     []Role

	maxFrame     int
	maxDepth     int
	maxConns     int
	maxQueued    int
	maxInbound   int
	writeTimeout time.Duration
	frameTimeout time.Duration
	pingEvery    time.Duration
	pingMisses   int

	strictWorkers bool // WithHandlers was given
	handlers      int
	handlerQueue  int
	callsPerConn  int
	subscriberCap int
	watcherCap    int
	maxNodes      int
	maxNodeBytes  int64

	sessionInterval  time.Duration
	sessionMisses    int
	heartbeats       bool
	onSessionExpired func(id string)
	store            abstract.Store
	topicLog         abstract.TopicLog
	topicMemory      int64
	scheduled        tally
	autoTopics       []AutoTopic
	restartGrace     time.Duration
	registry         abstract.Registrar
	guard            *access.Guard
	advertise        *abstract.Host
	traits           abstract.Traits
	health           HealthChecks
	dialling         []client.Option
	dialBack         time.Duration
	losses           LossProtection
	relay            relayConfig
	callee           calleeConfig
	compression      abstract.Compression
	streams          streamConfig
	chain            abstract.Interceptor // nil: none
}

func defaults() config {
	return config{
		logger:        slog.Default(),
		transport:     chooseTransport,
		roles:         AllRoles[:],
		maxFrame:      8 << 20,
		maxConns:      100_000,
		maxQueued:     32 << 20,
		maxInbound:    32 << 20,
		writeTimeout:  10 * time.Second,
		frameTimeout:  60 * time.Second,
		pingEvery:     2 * time.Second,
		pingMisses:    5,
		handlers:      4096,
		handlerQueue:  65_536,
		callsPerConn:  16_384,
		subscriberCap: 1 << 20,
		watcherCap:    4 << 20,
		maxNodes:      1 << 20,
		maxNodeBytes:  1 << 30,
		topicMemory:   memlog.DefaultMaxBytes,
		scheduled:     tally{defaultScheduled, defaultScheduledBytes},

		callee:  calleeConfig{acceptRate: 2000},
		streams: streamConfig{perConn: 1024, most: 16_384, window: stream.DefaultWindow},

		sessionInterval: 2 * time.Second,
		sessionMisses:   5,
		heartbeats:      true,
	}
}

func newConfig(opts []Option) config {
	cfg := defaults()
	for _, opt := range opts {
		opt(&cfg)
	}
	return cfg
}

// chooseTransport takes netpoll for plain TCP where it exists, and the standard
// library's net for unix sockets ("unix:/path") and on Windows.
func chooseTransport(addr string, cfg abstract.TransportConfig) abstract.BaseServer {
	if runtime.GOOS == "windows" || strings.HasPrefix(addr, "unix:") {
		return stdnet.NewServer(addr, cfg)
	}
	return tcp.NewServer(addr, cfg)
}

// StandardNet is the Transport over the standard library's net: TCP on every
// platform, and unix sockets for addresses that begin with "unix:".
func StandardNet(addr string, cfg abstract.TransportConfig) abstract.BaseServer {
	return stdnet.NewServer(addr, cfg)
}

// Netpoll is the Transport over netpoll: the default for TCP but on Windows,
// where it cannot listen.
func Netpoll(addr string, cfg abstract.TransportConfig) abstract.BaseServer {
	return tcp.NewServer(addr, cfg)
}

// WithTLS protects all connections with TLS, over the standard library's net. A peer
// that shows a verified certificate is who the Guard says that it is.
func WithTLS(t *stdnet.TLS) Option {
	return func(c *config) {
		c.transport = func(addr string, cfg abstract.TransportConfig) abstract.BaseServer {
			return stdnet.NewTLSServer(addr, cfg, t)
		}
	}
}

// WithGuard sets who may do what, and how much of it. Without this option everybody
// may do everything. Existing programs, and peers without a token or a certificate,
// are access.Anonymous. See Broker.Reauthorize for when the Guard has been reloaded.
func WithGuard(g *access.Guard) Option { return func(c *config) { c.guard = g } }

// WithLogger sets where the server logs; the default is slog.Default().
func WithLogger(l *slog.Logger) Option {
	return func(c *config) {
		if l != nil {
			c.logger = l
		}
	}
}

// WithTransport sets the transport; the default is netpoll for TCP, and
// StandardNet for unix sockets and on Windows. An in-process network's Server
// method fits here.
func WithTransport(t Transport) Option { return func(c *config) { c.transport = t } }

// WithRoles sets which services a Broker runs; the default is AllRoles. Other
// servers ignore it.
func WithRoles(roles ...Role) Option { return func(c *config) { c.roles = roles } }

// WithMaxFrame sets the longest frame taken and sent, in bytes with its Length
// field; the default is 8 MiB. Peers learn it from HELLO.
func WithMaxFrame(bytes int) Option { return func(c *config) { c.maxFrame = bytes } }

// WithMaxDepth sets how deep JSON may be nested; the default is the codec's.
func WithMaxDepth(levels int) Option { return func(c *config) { c.maxDepth = levels } }

// WithMaxConns sets how many connections are held; further ones are closed at
// once. The default is 100,000.
func WithMaxConns(n int) Option { return func(c *config) { c.maxConns = n } }

// WithMaxQueued sets how many bytes may wait in one write class of a connection.
// A peer that lets its answers pile up beyond that is closed. The default is 32 MiB.
func WithMaxQueued(bytes int) Option { return func(c *config) { c.maxQueued = bytes } }

// WithMaxInbound sets how many received bytes of one connection may wait to be
// handled; above it the connection is closed. The default is 32 MiB.
func WithMaxInbound(bytes int) Option { return func(c *config) { c.maxInbound = bytes } }

// WithWriteTimeout sets after how long without progress a write closes its
// connection; the default is 10 s.
func WithWriteTimeout(d time.Duration) Option { return func(c *config) { c.writeTimeout = d } }

// WithFrameTimeout sets how long a frame may take from its first byte to its
// last; the default is 60 s. A peer that sends a byte now and then is closed.
func WithFrameTimeout(d time.Duration) Option { return func(c *config) { c.frameTimeout = d } }

// WithPing sets the interval at which modern peers are pinged when nothing is
// heard from them, and after how many silent intervals they are given up. The
// server tells them in HELLO, and they do the same. The default is 2 s and 5.
func WithPing(interval time.Duration, misses int) Option {
	return func(c *config) { c.pingEvery, c.pingMisses = interval, misses }
}

// WithHandlers makes every RPC handler run on workers, so many at once, and lets
// so many requests wait for one; beyond that a request is answered with Overloaded.
// Without this option a handler runs on the goroutine that read its request, and
// only methods that have been slow run on workers, 4,096 at once and 65,536
// waiting: that is faster, but bounds slow methods only.
func WithHandlers(atOnce, waiting int) Option {
	return func(c *config) { c.strictWorkers, c.handlers, c.handlerQueue = true, atOnce, waiting }
}

// WithCallsPerConn sets how many calls of one connection may run on workers or
// wait for one; beyond that a request is answered with Overloaded. The default is 16,384.
func WithCallsPerConn(n int) Option { return func(c *config) { c.callsPerConn = n } }

// WithSubscriberQueue sets how many bytes may wait for one subscriber of a
// topic; the default is 1 MiB. Above it a modern subscriber loses the oldest
// messages and is told how many, a legacy one is closed.
func WithSubscriberQueue(bytes int) Option { return func(c *config) { c.subscriberCap = bytes } }

// WithWatcherQueue sets how many bytes may wait for one watch of nodes; the default
// is 4 MiB. Above it the watcher loses the oldest events and is told to read again.
func WithWatcherQueue(bytes int) Option { return func(c *config) { c.watcherCap = bytes } }

// WithMaxNodes sets how many nodes the tree holds, providers among them, and how
// many bytes, where each node counts 256 besides its data; further ones are refused
// with Overloaded. The default is 1,048,576 nodes and 1 GiB.
func WithMaxNodes(nodes int, bytes int64) Option {
	return func(c *config) { c.maxNodes, c.maxNodeBytes = nodes, bytes }
}

// WithSessions sets after how many intervals in a row without a sign of life a
// peer's session ends, with everything that belongs to it; the server tells it to
// the peers in HELLO. The default is 2 s and 5; 10 ms to 1 h, and 2 to 1,000.
func WithSessions(interval time.Duration, misses int) Option {
	return func(c *config) {
		c.sessionInterval = min(max(interval, 10*time.Millisecond), time.Hour)
		c.sessionMisses = min(max(misses, 2), 1000)
	}
}

// WithHeartbeats sets whether sessions are also kept by heartbeat datagrams, which
// are received at the server's port over UDP; they are when nothing else is said,
// but on unix sockets. Without them a session is kept by what comes over its
// connection.
func WithHeartbeats(on bool) Option { return func(c *config) { c.heartbeats = on } }

// WithOnSessionExpired sets what is called with the id of each session that ended
// because nothing was heard of it, before its nodes have gone; not of those that
// were closed. Calls come one for each session, on goroutines of their own.
func WithOnSessionExpired(fn func(id string)) Option {
	return func(c *config) { c.onSessionExpired = fn }
}

// WithStore sets where a registry, topics and nodes keep their state; the default is
// a store in memory. One server at a time may use a Store for nodes. The server does not close it.
func WithStore(s abstract.Store) Option { return func(c *config) { c.store = s } }

// WithTopicLog sets where durable topics keep their messages; without it no topic is
// durable. The server does not close it.
func WithTopicLog(l abstract.TopicLog) Option { return func(c *config) { c.topicLog = l } }

// WithRestartGrace is for a registry that has its Store for itself: so long after
// its start it forgets the providers that an earlier run has left in the Store and
// that have not registered again, and tells those who asked that they are OFFLINE.
// Until then they count as there. The default, 0, keeps them for ever, as several
// registries on one Store need it.
func WithRestartGrace(d time.Duration) Option { return func(c *config) { c.restartGrace = d } }

// WithRegistry makes an RpcServer register its methods, under the address it
// listens on or the one given with WithAdvertise. The server does not close it.
func WithRegistry(r abstract.Registrar) Option { return func(c *config) { c.registry = r } }

// WithAdvertise sets the address that an RpcServer registers, for when callers
// cannot reach the one it listens on. Without an IP in it, it is registered at the
// address from which the registry sees it.
func WithAdvertise(h abstract.Host) Option { return func(c *config) { c.advertise = &h } }

// WithTraits sets what an RpcServer says of itself when it registers, for callers to
// choose by: its weight beside the others', its zone, its version.
func WithTraits(t abstract.Traits) Option { return func(c *config) { c.traits = t } }
