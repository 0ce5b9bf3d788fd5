package client

import (
	"log/slog"
	"time"

	"trefoil/abstract"
	"trefoil/business/balance"
	"trefoil/business/protect"
	"trefoil/concrete/stdnet"
	"trefoil/concrete/tcp"
)

// Transport makes what opens connections to one address.
type Transport func(addr string, cfg abstract.TransportConfig) abstract.BaseClient

// Option changes one setting of a Conn or an RpcClient.
type Option func(*config)

// config holds every setting; defaults() says what they are when no Option is given.
type config struct {
	logger    *slog.Logger
	transport Transport
	legacy    bool
	token     func() string // hidden from what prints a config
	tls       bool          // the transport's; see opening
	foreign   bool          // the transport is the user's own
	balancer  func(method string) Balancer
	picked    bool // by WithPicker: every provider is used
	zone      string
	relay     RelayMode
	subset    balance.Subset
	problem   error // with the options: every call tells it

	retries    RetryBudget
	hedging    Hedging
	hedged     bool // calls that may be
	breaker    protect.BreakerConfig
	rate       protect.Rate
	concurrent int
	margin     *protect.Margin // nil: none is kept

	timeout        time.Duration
	connectTimeout time.Duration
	helloTimeout   time.Duration
	backoffMin     time.Duration
	backoffMax     time.Duration
	grace          time.Duration
	recheck        time.Duration
	writeTimeout   time.Duration
	drain          time.Duration

	maxFrame     int
	maxQueued    int
	maxPending   int
	maxWaiting   int
	maxMethods   int
	streamWindow int
	subscribing  int // bytes waiting in one subscription
	heartbeats   bool
	renews       bool   // registrations with a time to live are renewed without being asked
	listsIn      string // a directory; empty: none

	compression abstract.Compression
	chain       abstract.Interceptor // nil: none

	onConnected    []func()
	onDisconnected []func(error)
	onProblem      []func(error)

	onSessionExpired []func(id string)
}

func defaults() config {
	return config{
		logger:         slog.Default(),
		transport:      StandardNet,
		balancer:       func(string) Balancer { return balance.NewLeastPending(nil) },
		relay:          RelayAuto,
		timeout:        5 * time.Second,
		connectTimeout: 5 * time.Second,
		helloTimeout:   2 * time.Second,
		backoffMin:     50 * time.Millisecond,
		backoffMax:     5 * time.Second,
		grace:          10 * time.Second,
		recheck:        time.Minute,
		writeTimeout:   10 * time.Second,
		drain:          10 * time.Minute,
		maxFrame:       8 << 20,
		maxQueued:      32 << 20,
		maxPending:     65_536,
		maxWaiting:     65_536,
		maxMethods:     4096,
		subscribing:    8 << 20,
		heartbeats:     true,
		renews:         true,
		margin:         new(protect.Margin),
	}
}

func newConfig(opts []Option) config {
	cfg := defaults()
	for _, opt := range opts {
		opt(&cfg)
	}
	return cfg
}

// StandardNet is the default Transport, over the standard library's net:
// "host:port", or "unix:/path".
func StandardNet(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
	return stdnet.NewClient(addr, cfg)
}

// Netpoll is a Transport for programs with very many connections. It is not
// there on Windows, and for few connections StandardNet is the faster one.
func Netpoll(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
	return tcp.NewClient(addr, cfg)
}

// WithLogger sets where the client logs; the default is slog.Default().
func WithLogger(l *slog.Logger) Option {
	return func(c *config) {
		if l != nil {
			c.logger = l
		}
	}
}

// WithTransport sets the transport; the default is StandardNet. An in-process
// network's Client method fits here.
func WithTransport(t Transport) Option {
	return func(c *config) { c.transport, c.tls, c.foreign = t, false, true }
}

// WithTLS protects the connection with TLS, over the standard library's net. The
// connections of an RpcClient to providers are protected the same way. A peer that
// does not answer HELLO is not taken for an existing program then.
func WithTLS(t *stdnet.TLS) Option {
	return func(c *config) {
		c.tls, c.foreign = true, false
		c.transport = func(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
			return stdnet.NewTLSClient(addr, cfg, t)
		}
	}
}

// WithToken says who the client is, to a server that asks. It is sent with every
// HELLO, so protect the connection. Providers that an RpcClient finds do not get it,
// as anybody may have registered, unless the RpcClient was given this option itself.
// With a token no peer is taken for an existing program, which would not be told who
// asks.
func WithToken(token string) Option {
	return func(c *config) { c.token = func() string { return token } }
}

// WithLegacy talks to the other side as to an existing program of the LV family:
// without HELLO, pings and goodbye. Without this option HELLO is tried first,
// and a peer that does not answer it is taken for such a program.
func WithLegacy() Option { return func(c *config) { c.legacy = true } }

// Balancer chooses among the providers of one method, of one client. Implement it
// to choose in a way of your own: see package trefoil/business/balance for what it
// is told and must not do.
type Balancer = balance.Balancer

// WithBalancing sets by which rule an RpcClient chooses among a method's providers:
//
//	least-pending  of two at random the one with fewer calls in flight (the default)
//	round-robin    each in turn
//	random         any
//	weighted       by their weights
//	latency        of two at random the one that answers sooner
//	hash           by the call's Key: the same one for the same key, unless that has too much to do
//	zone, zone:R   those of the client's own zone while they have room, by least-pending or rule R there
//
// A rule that is not known is an error of every call. Whatever the rule, a provider
// that is new gets its share step by step, and one that fails, or is far slower than
// the others, is left out for a while and then tried again.
func WithBalancing(rule string) Option {
	return func(c *config) {
		choose, err := balance.ByName(rule)
		if err != nil {
			c.problem = err
			return
		}
		c.balancer = func(string) Balancer { return choose(balance.Settings{Zone: c.zone}) }
	}
}

// WithBalancer is WithBalancing for a rule of your own. make is called once for each
// method.
func WithBalancer(make func() Balancer) Option {
	return func(c *config) { c.balancer = func(string) Balancer { return make() } }
}

// WithPicker is WithBalancer for a rule that needs to know nothing but who there is.
// Providers that are new or that fail are not treated in a special way then.
func WithPicker(make func() abstract.Picker) Option {
	return func(c *config) {
		c.picked = true
		c.balancer = func(method string) Balancer { return balance.FromPicker(method, make()) }
	}
}

// WithZone says in which zone the client is, for the rule zone.
func WithZone(zone string) Option { return func(c *config) { c.zone = zone } }

// WithSubset lets an RpcClient use only so many of a method's providers, chosen so
// that clients with different numbers spread evenly. It spares connections where
// clients and providers are many.
func WithSubset(size int, number uint64) Option {
	return func(c *config) { c.subset = balance.Subset{Size: size, Client: number} }
}

// newGroup makes the group that a method's providers are chosen from.
func (c *config) newGroup(method string, now time.Time) *balance.Group {
	logger := c.logger
	cfg := balance.Config{Balancer: c.balancer(method), Subset: c.subset, OnNotice: func(n balance.Notice) {
		logger.Info("provider left out or used again", "method", method, "peer", n.Member.Instance().Host.String(), "ejected", n.Ejected, "err", n.Why)
	}}
	if c.picked {
		cfg.SlowStart, cfg.Outliers.Off = -1, true
	}
	return balance.NewGroup(cfg, now)
}

// WithTimeout sets the deadline of operations whose context has none, or a later
// one; the default is 5 s.
func WithTimeout(d time.Duration) Option { return func(c *config) { c.timeout = d } }

// WithConnectTimeout bounds one try to connect; the default is 5 s.
func WithConnectTimeout(d time.Duration) Option { return func(c *config) { c.connectTimeout = d } }

// WithHelloTimeout sets how long a peer may take to answer HELLO before it is
// taken for a legacy peer; the default is 2 s.
func WithHelloTimeout(d time.Duration) Option { return func(c *config) { c.helloTimeout = d } }

// WithBackoff sets how long to wait before connecting again: a random time up to
// a limit that starts at first and doubles to most. The defaults are 50 ms and 5 s.
func WithBackoff(first, most time.Duration) Option {
	return func(c *config) { c.backoffMin, c.backoffMax = first, most }
}

// WithMaxFrame sets the longest frame taken and sent, in bytes; the default is
// 8 MiB. The peer learns it from HELLO.
func WithMaxFrame(bytes int) Option { return func(c *config) { c.maxFrame = bytes } }

// WithMaxPending sets how many calls may be in flight on one connection, and how
// many may wait for a connection; beyond that they end with Overloaded. The
// default is 65,536.
func WithMaxPending(n int) Option {
	return func(c *config) { c.maxPending, c.maxWaiting = n, n }
}

// WithSubscriptionQueue sets how many bytes of messages may wait for one
// subscription's callback or iterator; the default is 8 MiB. Above it the oldest
// are dropped, and Message.Missed says how many. As much may wait for one Watch;
// above it all is dropped, and an event with Resync says so.
func WithSubscriptionQueue(bytes int) Option { return func(c *config) { c.subscribing = bytes } }

// WithUDPHeartbeats says whether a Conn also tells the broker by UDP datagrams, two
// in each of the session's intervals, that its session lives, when the broker takes
// them; the default is true. They keep the session when the connection is lost and
// for as long as it takes to come back. There are none where the connection is not
// over TCP.
func WithUDPHeartbeats(on bool) Option { return func(c *config) { c.heartbeats = on } }

// OnConnected adds a callback for every time the connection is up: the first
// time, and after each reconnect when everything was restored. Callbacks of a
// Conn come one at a time and in order; they may block, and may use the Conn.
func OnConnected(fn func()) Option {
	return func(c *config) { c.onConnected = append(c.onConnected, fn) }
}

// OnDisconnected adds a callback for every time the connection is lost, with the
// reason. The Conn's own Close is no loss.
func OnDisconnected(fn func(error)) Option {
	return func(c *config) { c.onDisconnected = append(c.onDisconnected, fn) }
}

// OnSessionExpired adds a callback for the loss of a Conn's session: the broker has
// heard nothing for too long, or has restarted without keeping it. The nodes that
// were bound to it are gone; the Conn has a new session already. It is not called
// by Close.
func OnSessionExpired(fn func(id string)) Option {
	return func(c *config) { c.onSessionExpired = append(c.onSessionExpired, fn) }
}

// OnProblem adds a callback for what could not be restored after a reconnect
// and is being tried again, such as a subscription to a topic that the restarted
// broker does not know yet.
func OnProblem(fn func(error)) Option {
	return func(c *config) { c.onProblem = append(c.onProblem, fn) }
}
