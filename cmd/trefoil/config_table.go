package main

import (
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"trefoil/cmd/trefoil/internal/config"
	"trefoil/cmd/trefoil/internal/logs"
	"trefoil/server"
)

// brokerSettings is what only a broker has.
type brokerSettings struct {
	maxFrame, maxQueued, maxInbound, maxNodeBytes config.Size
	subscriberQueue, watcherQueue                 config.Size
	maxDepth, maxConns, maxNodes                  int
	acceptRate, callRate, callBurst               int
	streamsPerConn, maxStreams                    int
	streamWindow                                  config.Size
	writeTimeout, frameTimeout                    time.Duration

	pingInterval    time.Duration
	pingMisses      int
	sessionInterval time.Duration
	sessionMisses   int
	heartbeats      bool

	healthInterval, healthTimeout time.Duration
	dialBack                      time.Duration
	healthFailures                int
	lossPercent                   int
	lossHold                      time.Duration
	registryCA                    string
	relay                         bool

	etcd                                   []string
	etcdPrefix, etcdUsername, etcdPassword string

	nats                        []string
	natsCredentials, natsPrefix string
	natsReplicas                int
	topicSync                   string
	topicQuota                  config.Size
	topicMemory                 config.Size
	scheduled                   int
	scheduledBytes              config.Size
	topicAuto                   string

	tlsCert, tlsKey, tlsClientCA string
	tlsRequire                   bool
	policy, tokens               string

	compress      []string
	compressAbove config.Size

	logLevels     map[string]string
	logFile       string
	logMaxSize    config.Size
	logMaxBackups int
	logMaxAge     time.Duration
	logCompress   bool
	logQueueLines int
	logQueueBytes config.Size
}

// brokerTable is everything there is to know about every setting of the broker. A
// row with Reload needs something in running.apply that does it.
func brokerTable(s *settings) config.Table {
	b, roles, levels := &s.own, roleNames(), []string{"debug", "info", "warn", "error"}
	return config.Table{
		{Key: "listen", Flag: "listen", To: &s.listen, Default: defaultAddr, Check: checkListen, Help: "listen on `ADDR`: host:port (port 0 takes a free one), or unix:/path for a socket that only its owner may use"},
		{Key: "serve", Flag: "serve", To: &s.serve, Default: strings.Join(roles, ","), Choices: roles, Min: "1", Help: "run these `ROLES`; in a flag or a variable separated by commas"},
		{Key: "data", Flag: "data", To: &s.data, Help: "keep nodes, sessions, topics and registrations in the directory `DIR`, so that they survive the broker; in memory when there is none"},
		{Key: "restart_grace", Flag: "restart-grace", To: &s.restartGrace, Default: "10s", Max: "1d", Help: "with a directory or an etcd: how long after its start the broker waits for providers that it knew before to come back"},
		{Key: "relay", Flag: "relay", To: &b.relay, Default: "true", Reload: true, Help: "pass calls on to providers over their own connections to the broker, for callers that ask for it; turned off, calls under way go on"},
		{Key: "drain_timeout", Flag: "drain-timeout", To: &s.drainTimeout, Default: "10s", Max: "1d", Reload: true, Help: "how long running calls may take to end after SIGTERM or an interrupt"},
		{Key: "compression", Flag: "compression", To: &b.compress, Default: "s2,zstd", Choices: compressNames(), Min: "1", Reload: true, Help: "`METHODS` of compressing bodies that peers may use, the preferred first: only those are sent compressed bodies who ask for it in HELLO; none is off. In a flag or a variable separated by commas. Changed ones hold for later connections"},
		{Key: "compress_above", Flag: "compress-above", To: &b.compressAbove, Default: "4KiB", Max: "1GiB", Reload: true, Help: "a body of so many bytes, or fewer, is sent as it is"},

		{Key: "etcd.endpoints", Flag: "etcd", To: &b.etcd, Help: "keep what data keeps in the etcd at these `URLS`, in place of a directory; in a flag or a variable separated by commas"},
		{Key: "etcd.prefix", Flag: "etcd-prefix", To: &b.etcdPrefix, Default: "/trefoil", Help: "what the broker's keys in the etcd begin with; one broker at a time can use a `PREFIX`"},
		{Key: "etcd.username", Flag: "etcd-username", To: &b.etcdUsername, Help: "who the broker is to the etcd"},
		{Key: "etcd.password", To: &b.etcdPassword, Secret: true, Help: "the password to that; it has no flag, because all users of a machine see those"},

		{Key: "topics.sync", Flag: "topic-sync", To: &b.topicSync, Default: "always", Check: checkSync, Help: "`WHEN` messages of durable topics in the directory are on the disk for good: always (before their publish is answered), interval=DURATION, or os (when the operating system sees fit). Nothing is lost when the broker dies; with the latter two the last messages are when the machine does"},
		{Key: "topics.quota", Flag: "topic-quota", To: &b.topicQuota, Default: "0", Max: "1024TiB", Help: "how much durable topics keep in the directory together; above it publishes are refused with rcode 20. 0: until 64 MiB of the disk are left"},
		{Key: "topics.auto", Flag: "topic-auto", To: &b.topicAuto, Check: checkAutoTopics, Help: "create topics that somebody publishes or subscribes to, when their names fit a pattern, with its settings: a JSON `OBJECT` such as {\"orders.*\":{\"history\":{\"count\":100}}}, of which the first pattern counts that fits. It takes the permission create_topic. Nothing is created when there is none"},
		{Key: "topics.nats", Flag: "nats", To: &b.nats, Help: "keep durable topics in the JetStream of the NATS servers at these `URLS`, in place of the directory; in a flag or a variable separated by commas"},
		{Key: "topics.nats_credentials", Flag: "nats-credentials", To: &b.natsCredentials, Help: "who the broker is to them, in the `FILE` that nsc makes"},
		{Key: "topics.nats_prefix", Flag: "nats-prefix", To: &b.natsPrefix, Default: "trefoil", Help: "what the names of the broker's streams begin with"},
		{Key: "topics.nats_replicas", Flag: "nats-replicas", To: &b.natsReplicas, Default: "1", Min: "1", Max: "5", Help: "how many of them keep each topic: 1, 3 or 5"},

		{Key: "limits.max_frame", Flag: "max-frame", To: &b.maxFrame, Default: "8MiB", Min: "4KiB", Max: "1GiB", Help: "the longest frame taken and sent; peers learn it from HELLO"},
		{Key: "limits.max_depth", Flag: "max-depth", To: &b.maxDepth, Default: "128", Min: "8", Max: "1000", Help: "how deep JSON may be nested"},
		{Key: "limits.max_conns", Flag: "max-conns", To: &b.maxConns, Default: "100000", Min: "1", Max: "10000000", Help: "how many connections are held; further ones are closed at once"},
		{Key: "limits.accept_rate", Flag: "accept-rate", To: &b.acceptRate, Default: "2000", Min: "0", Max: "10000000", Reload: true, Help: "how many connections are taken in a second, and four times as many at once after a pause; who is too many is told when to come again, and legacy peers are closed. 0 is no limit"},
		{Key: "limits.call_rate", Flag: "call-rate", To: &b.callRate, Default: "0", Min: "0", Max: "10000000", Reload: true, Help: "how many calls to the broker, or through it, all peers of one identity make in a second; further ones are refused with rcode 20. 0 is no limit"},
		{Key: "limits.call_burst", Flag: "call-burst", To: &b.callBurst, Default: "0", Min: "0", Max: "10000000", Reload: true, Help: "how many of these at once after a pause; 0 is one second's worth"},
		{Key: "limits.max_queued", Flag: "max-queued", To: &b.maxQueued, Default: "32MiB", Min: "64KiB", Max: "1GiB", Help: "what may wait to be written in one write class of a connection; above it the connection is closed"},
		{Key: "limits.max_inbound", Flag: "max-inbound", To: &b.maxInbound, Default: "32MiB", Min: "64KiB", Max: "1GiB", Help: "what may be received of one connection and wait to be handled; above it the connection is closed, or made to wait"},
		{Key: "limits.write_timeout", Flag: "write-timeout", To: &b.writeTimeout, Default: "10s", Min: "10ms", Max: "1h", Help: "a write that gets nowhere for so long closes its connection"},
		{Key: "limits.frame_timeout", Flag: "frame-timeout", To: &b.frameTimeout, Default: "1m", Min: "10ms", Max: "1d", Reload: true, Help: "how long a frame may take from its first byte to its last; then its connection is closed"},
		{Key: "limits.subscriber_queue", Flag: "subscriber-queue", To: &b.subscriberQueue, Default: "1MiB", Min: "4KiB", Max: "1GiB", Reload: true, Help: "what may wait for one subscriber of a topic; above it the oldest messages are dropped. A changed one holds for later subscriptions"},
		{Key: "limits.watcher_queue", Flag: "watcher-queue", To: &b.watcherQueue, Default: "4MiB", Min: "4KiB", Max: "1GiB", Reload: true, Help: "what may wait for one watch of nodes; above it the watcher is told to read again. A changed one holds for later watches"},
		{Key: "limits.streams_per_conn", Flag: "streams-per-conn", To: &b.streamsPerConn, Default: "1024", Min: "1", Max: "1000000", Reload: true, Help: "how many streams that one connection has opened are served or passed on at once; further ones are refused with rcode 20. A changed one holds for later streams"},
		{Key: "limits.max_streams", Flag: "max-streams", To: &b.maxStreams, Default: "16384", Min: "1", Max: "10000000", Reload: true, Help: "how many of all connections, the same way"},
		{Key: "limits.stream_window", Flag: "stream-window", To: &b.streamWindow, Default: "64KiB", Min: "1KiB", Max: "64MiB", Reload: true, Help: "how much of one stream may wait for who does not read, in each direction, beside one message that is larger; a stream that is passed on moves so much in a round trip. A changed one holds for later streams"},
		{Key: "limits.topic_memory", Flag: "topic-memory", To: &b.topicMemory, Default: "256MiB", Min: "1MiB", Max: "1024GiB", Help: "how much topics that are not durable keep in memory together, and, apart from that, how much waits in queue groups; above it the largest histories lose their oldest messages"},
		{Key: "limits.scheduled", Flag: "max-scheduled", To: &b.scheduled, Default: "1000000", Min: "1", Max: "100000000", Help: "how many messages of all topics wait to be published later, 100000 of each at most; further ones are refused with rcode 20"},
		{Key: "limits.scheduled_bytes", Flag: "scheduled-bytes", To: &b.scheduledBytes, Default: "1GiB", Min: "64KiB", Max: "1024GiB", Help: "how many bytes these have together"},
		{Key: "limits.max_nodes", Flag: "max-nodes", To: &b.maxNodes, Default: "1048576", Min: "1", Max: "100000000", Help: "how many nodes the tree holds; further ones are refused"},
		{Key: "limits.max_node_bytes", Flag: "max-node-bytes", To: &b.maxNodeBytes, Default: "1GiB", Min: "64KiB", Max: "64GiB", Help: "how much the nodes of the tree hold together, where each counts 256 bytes besides its data"},

		{Key: "tls.cert", Flag: "tls-cert", To: &b.tlsCert, Help: "protect connections with TLS 1.3, with the certificate in the PEM `FILE`; its contents are read again when they change"},
		{Key: "tls.key", Flag: "tls-key", To: &b.tlsKey, Help: "its key, in the PEM `FILE`"},
		{Key: "tls.client_ca", Flag: "tls-client-ca", To: &b.tlsClientCA, Help: "clients may show a certificate that somebody in this PEM `FILE` has signed"},
		{Key: "tls.require_client_cert", Flag: "tls-require-client-cert", To: &b.tlsRequire, Default: "false", Help: "clients must show one"},
		{Key: "access.policy", Flag: "policy", To: &b.policy, Help: "who may do what, in the JSON `FILE`; everybody may do everything when there is none. Its contents are read again at SIGHUP"},
		{Key: "access.tokens", Flag: "tokens", To: &b.tokens, Help: "the tokens that are known, by their hashes, in the JSON `FILE` that 'trefoil token new' makes; read again at SIGHUP"},

		{Key: "ping.interval", Flag: "ping-interval", To: &b.pingInterval, Default: "2s", Min: "10ms", Max: "1h", Help: "how long a peer may be silent before it is pinged; peers learn it from HELLO and do the same"},
		{Key: "ping.misses", Flag: "ping-misses", To: &b.pingMisses, Default: "5", Min: "2", Max: "1000", Help: "after how many silent intervals a peer is given up"},
		{Key: "registry.health_interval", Flag: "health-interval", To: &b.healthInterval, Default: "0s", Max: "1h", Reload: true, Help: "look this often whether every provider can be reached; 0s: only when callers say that they cannot reach one"},
		{Key: "registry.health_timeout", Flag: "health-timeout", To: &b.healthTimeout, Default: "2s", Min: "10ms", Max: "1m", Reload: true, Help: "how long one such look may take"},
		{Key: "registry.health_failures", Flag: "health-failures", To: &b.healthFailures, Default: "3", Min: "1", Max: "100", Reload: true, Help: "after how many looks in a row a provider counts as unhealthy that cannot be reached"},
		{Key: "registry.dial_back", Flag: "dial-back", To: &b.dialBack, Default: "0s", Max: "1m", Reload: true, Help: "connect to a provider before it is announced, and refuse it when that takes longer than this, or another one answers; 0s: believe it. A changed one holds for later registrations"},
		{Key: "registry.loss_percent", Flag: "loss-percent", To: &b.lossPercent, Default: "50", Min: "1", Max: "100", Reload: true, Help: "when more than this part of the providers' connections break within 10 s, and 20 at least, further losses are not believed for a while; 100: they always are"},
		{Key: "registry.loss_hold", Flag: "loss-hold", To: &b.lossHold, Default: "1m", Min: "1s", Max: "1h", Reload: true, Help: "for how long at most; 'trefoil registry lift' ends it"},
		{Key: "registry.tls_ca", Flag: "registry-tls-ca", To: &b.registryCA, Help: "who signs the certificates of providers, in the PEM `FILE`: a broker with TLS looks for them over TLS, and shows its own certificate; the system knows when there is no file"},

		{Key: "sessions.interval", Flag: "session-interval", To: &b.sessionInterval, Default: "2s", Min: "10ms", Max: "1h", Help: "in which time a session needs a sign of life"},
		{Key: "sessions.misses", Flag: "session-misses", To: &b.sessionMisses, Default: "5", Min: "2", Max: "1000", Help: "after how many intervals in a row without one a session ends, and its nodes with it"},
		{Key: "sessions.heartbeats", Flag: "heartbeats", To: &b.heartbeats, Default: "true", Help: "sessions are also kept by datagrams, at the same port over UDP"},

		{Key: "log.level", Flag: "log-level", To: &s.logLevel, Default: "info", Choices: levels, Reload: true, Help: "log from this `LEVEL` on"},
		{Key: "log.levels", Flag: "log-levels", To: &b.logLevels, Names: logAreas(), Choices: append(levels, "off"), Reload: true, Help: "areas whose level differs; in a flag or a variable as `AREA=LEVEL`, separated by commas"},
		{Key: "log.format", Flag: "log-format", To: &s.logFormat, Default: "text", Choices: []string{"text", "json"}, Reload: true, Help: "`FORMAT` of the log"},
		{Key: "log.file", Flag: "log-file", To: &b.logFile, Reload: true, Help: "log to the file `PATH`, which is put aside when it is full; to standard error when there is none"},
		{Key: "log.max_size", Flag: "log-max-size", To: &b.logMaxSize, Default: "100MiB", Min: "1MiB", Max: "100GiB", Check: checkMiB, Reload: true, Help: "when a log file is full; whole MiB"},
		{Key: "log.max_backups", Flag: "log-max-backups", To: &b.logMaxBackups, Default: "7", Max: "10000", Reload: true, Help: "how many full log files are kept; 0 keeps all"},
		{Key: "log.max_age", Flag: "log-max-age", To: &b.logMaxAge, Default: "0s", Max: "3650d", Check: checkDays, Reload: true, Help: "after which time full log files are deleted; whole days, 0s keeps them for ever"},
		{Key: "log.compress", Flag: "log-compress", To: &b.logCompress, Default: "false", Reload: true, Help: "compress full log files with gzip"},
		{Key: "log.queue_lines", Flag: "log-queue-lines", To: &b.logQueueLines, Default: "8192", Min: "1", Max: "10000000", Reload: true, Help: "how many log lines may wait to be written; further ones are dropped, and the log says how many"},
		{Key: "log.queue_bytes", Flag: "log-queue-bytes", To: &b.logQueueBytes, Default: "4MiB", Min: "4KiB", Max: "1GiB", Reload: true, Help: "how large they may be together"},
	}
}

// conflict is what is wrong with settings that are right each for itself; nil: nothing.
func conflict(values config.Values) error {
	data, etcd := values.Of("data"), values.Of("etcd.endpoints")
	if data.Text != "" && etcd.Text != "" {
		return config.FaultErrors{{Origin: etcd.Origin, Text: "data and etcd.endpoints are two places for the same; give one of them"}}
	}
	return nil
}

// Areas of the log that are not the server's.
const (
	areaStore  = "store"
	areaConfig = "config"
)

func logAreas() []string {
	areas := append(server.LogAreas[:], areaStore, areaConfig)
	slices.Sort(areas)
	return areas
}

func checkListen(text string) error {
	if path, ok := strings.CutPrefix(text, "unix:"); ok && path != "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(text); err != nil {
		return fmt.Errorf("%q is no address; give it as host:port, or as unix:/path", text)
	}
	return nil
}

// checkMiB and checkDays are about what the rotation of files can do. They see the
// text only after it was found to be a size, or a duration.
func checkMiB(text string) error {
	if n, err := config.ParseSize(text); err != nil || n%(1<<20) != 0 {
		return fmt.Errorf("%s is not a whole number of MiB", text)
	}
	return nil
}

func checkDays(text string) error {
	if d, err := config.ParseDuration(text); err != nil || d%(24*time.Hour) != 0 {
		return fmt.Errorf("%s is not a whole number of days, such as 7d", text)
	}
	return nil
}

// options are the broker's settings as the server takes them.
func (b *brokerSettings) options() []server.Option {
	return append(b.compression(),
		server.WithMaxFrame(int(b.maxFrame)), server.WithMaxDepth(b.maxDepth), server.WithMaxConns(b.maxConns),
		server.WithMaxQueued(int(b.maxQueued)), server.WithMaxInbound(int(b.maxInbound)),
		server.WithWriteTimeout(b.writeTimeout), server.WithFrameTimeout(b.frameTimeout),
		server.WithSubscriberQueue(int(b.subscriberQueue)), server.WithWatcherQueue(int(b.watcherQueue)),
		server.WithMaxNodes(b.maxNodes, int64(b.maxNodeBytes)), server.WithTopicMemory(int64(b.topicMemory)), server.WithScheduled(b.scheduled, int64(b.scheduledBytes)), b.autoTopics(),
		server.WithPing(b.pingInterval, b.pingMisses),
		server.WithSessions(b.sessionInterval, b.sessionMisses), server.WithHeartbeats(b.heartbeats),
		server.WithRelaying(b.relay),
		server.WithStreams(b.streamsPerConn, b.maxStreams), server.WithStreamWindow(int(b.streamWindow)),
		server.WithAcceptRate(b.acceptRate), server.WithIdentityRateLimit(float64(b.callRate), b.callBurst),
	)
}

// limits are those of the options that can change while the server runs.
func (b *brokerSettings) limits() server.Limits {
	return server.Limits{
		SubscriberQueue: int(b.subscriberQueue), WatcherQueue: int(b.watcherQueue), FrameTimeout: b.frameTimeout,
		AcceptRate: orNone(b.acceptRate), CallRate: orNone(b.callRate), CallBurst: orNone(b.callBurst),
		StreamsPerConn: b.streamsPerConn, MaxStreams: b.maxStreams, StreamWindow: int(b.streamWindow),
	}
}

// orNone is a limit as server.Limits has it, where 0 changes nothing.
func orNone(limit int) int {
	if limit == 0 {
		return -1
	}
	return limit
}

// logConfig is how a broker logs.
func (s *settings) logConfig() logs.Config {
	b := &s.own
	cfg := logs.Config{
		Level:    levelOf(s.logLevel),
		Levels:   make(map[string]slog.Level),
		JSON:     s.logFormat == "json",
		MaxLines: b.logQueueLines,
		MaxBytes: int(b.logQueueBytes),
	}
	for area, level := range b.logLevels {
		cfg.Levels[area] = levelOf(level)
	}
	if b.logFile != "" {
		cfg.File = logs.File{
			Path: filepath.Clean(b.logFile), MaxSize: int64(b.logMaxSize), MaxBackups: b.logMaxBackups,
			MaxAge: b.logMaxAge, Compress: b.logCompress,
		}
	}
	return cfg
}

// levelOf is a level by the name that settings have for it.
func levelOf(name string) slog.Level {
	if name == "off" {
		return logs.Off
	}
	var level slog.Level
	_ = level.UnmarshalText([]byte(name)) // checked when it was set
	return level
}
