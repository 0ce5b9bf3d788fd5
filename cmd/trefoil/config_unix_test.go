//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// reloaded is a broker with a configuration file that tests change.
type reloaded struct {
	*proc
	t    *testing.T
	file string
	addr string
}

// object is a part of a configuration.
type object = map[string]any

// with is a configuration that differs from base in one setting.
func with(base object, key string, value any) object {
	text, _ := json.Marshal(base)
	var copied object
	_ = json.Unmarshal(text, &copied)
	area, leaf, nested := strings.Cut(key, ".")
	if !nested {
		copied[key] = value
		return copied
	}
	if copied[area] == nil {
		copied[area] = object{}
	}
	copied[area].(object)[leaf] = value
	return copied
}

func startReloaded(t *testing.T, cfg object) *reloaded {
	t.Helper()
	r := &reloaded{t: t, file: filepath.Join(t.TempDir(), "broker.json")}
	r.write(cfg)
	r.proc, r.addr = startBroker(t, "--config", r.file)
	return r
}

func (r *reloaded) write(cfg object) {
	r.t.Helper()
	text, err := json.Marshal(cfg)
	require.NoError(r.t, err)
	require.NoError(r.t, os.WriteFile(r.file, text, 0o600))
}

// reload makes the broker read another configuration, and returns what it logs of it.
func (r *reloaded) reload(cfg object) string {
	r.t.Helper()
	r.write(cfg)
	r.signal(syscall.SIGHUP)
	return r.lineWith(r.err, "msg=\"configuration ")
}

// local is a configuration with nothing in it but a free port.
func local() object { return object{"listen": "127.0.0.1:0"} }

// peer speaks bytes, as an existing program does.
type peer struct {
	t *testing.T
	net.Conn
}

func (r *reloaded) peer() *peer {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(r.t, conn.SetDeadline(time.Now().Add(patience)))
	return &peer{r.t, conn}
}

func onWire(mtype uint32, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+1+len(body)))
	b = binary.BigEndian.AppendUint32(b, mtype)
	b = binary.BigEndian.AppendUint32(b, 1)
	return append(append(b, '1'), body...)
}

func (p *peer) send(mtype uint32, body string) {
	p.t.Helper()
	_, err := p.Write(onWire(mtype, body))
	require.NoError(p.t, err)
}

// read returns a message's type and body, or io.EOF when the broker has closed.
func (p *peer) read() (mtype uint32, body []byte, err error) {
	p.t.Helper()
	var head [12]byte
	if _, err := io.ReadFull(p, head[:]); err != nil {
		require.NotErrorIs(p.t, err, os.ErrDeadlineExceeded)
		return 0, nil, io.EOF
	}
	rest := make([]byte, binary.BigEndian.Uint32(head[:4])-8)
	if _, err := io.ReadFull(p, rest); err != nil {
		require.NotErrorIs(p.t, err, os.ErrDeadlineExceeded)
		return 0, nil, io.EOF
	}
	return binary.BigEndian.Uint32(head[4:]), rest[binary.BigEndian.Uint32(head[8:]):], nil
}

// ask sends a request and expects an answer without a fault.
func (p *peer) ask(mtype uint32, body string) {
	p.t.Helper()
	p.send(mtype, body)
	_, answer, err := p.read()
	require.NoError(p.t, err)
	require.Contains(p.t, string(answer), `"rcode":0`)
}

// refusedCalls makes some calls at once, of a method that nobody serves, and returns
// how many of them were refused as too many.
func (r *reloaded) refusedCalls() (refused int) {
	r.t.Helper()
	const calls = 20
	p := r.peer()
	_, err := p.Write(bytes.Repeat(onWire(0, `{"method":"m","parameters":{}}`), calls))
	require.NoError(r.t, err)
	for range calls {
		_, answer, err := p.read()
		require.NoError(r.t, err)
		if strings.Contains(string(answer), "more often than is allowed") {
			refused++
		}
	}
	return refused
}

// leave sends something that is no frame, and returns when the broker has closed.
func (r *reloaded) leave() {
	r.t.Helper()
	p := r.peer()
	_, err := io.WriteString(p, "GET / HTTP/1.1\r\n\r\n")
	require.NoError(r.t, err)
	_, _ = io.Copy(io.Discard, p)
	_ = p.Close()
}

// glance connects and leaves as one should. That is logged at level debug.
func (r *reloaded) glance() { _ = r.peer().Close() }

// flood has a subscriber that does not read while much is published.
func (r *reloaded) flood(topic string) *peer {
	r.t.Helper()
	publisher, subscriber := r.peer(), r.peer()
	publisher.ask(2, `{"optype":0,"topic_key":"`+topic+`"}`)
	subscriber.ask(2, `{"optype":2,"topic_key":"`+topic+`"}`)
	big := strings.Repeat("x", 60_000) // such peers take little more at a time
	for range floodSize {
		publisher.ask(2, `{"optype":4,"topic_key":"`+topic+`","topic_msg":"`+big+`"}`)
	}
	return subscriber
}

// floodSize is how many messages are more than the buffers of sockets hold, 24 MB.
const floodSize = 400

// received counts messages until there are as many as were published, or the
// broker closes.
func (p *peer) received() (n int) {
	p.t.Helper()
	for n < floodSize {
		if _, _, err := p.read(); err != nil {
			break
		}
		n++
	}
	return n
}

// patientWrites keeps connections of those who do not read, however long the test takes.
var patientWrites = map[string]any{"limits.write_timeout": "1h"}

// reloads says of every setting that can be reloaded what shows that it was.
var reloads = map[string]struct {
	before any // nil: the default
	after  any
	also   map[string]any // what else holds, before and after
	run    func(r *reloaded, reload func())
}{
	"drain_timeout": {before: "1000s", after: "100ms", also: patientWrites, run: func(r *reloaded, reload func()) {
		reload()
		r.flood("t") // what waits for the subscriber is not written before that has read
		r.signal(syscall.SIGTERM)
		assert.Equal(r.t, exitFailed, r.wait())
		assert.Contains(r.t, r.err.text(), "not everything had ended after 100ms")
	}},
	"relay": {after: false, run: func(r *reloaded, reload func()) {
		conn, err := client.Dial(r.t.Context(), r.addr)
		require.NoError(r.t, err)
		defer conn.Close()
		calls := client.NewDirectRpcClient(conn)
		defer calls.Close()
		relayed := func() error { return calls.Call(r.t.Context(), "nobody.provides", nil, nil, client.Relay()) }
		assert.ErrorIs(r.t, relayed(), abstract.ErrMethodNotFound)
		reload()
		assert.ErrorIs(r.t, relayed(), abstract.ErrUnsupported)
	}},
	"compression":              {after: []string{"none"}, run: (*reloaded).offersNoCompression},
	"compress_above":           {after: "1KiB", run: (*reloaded).compressesShorterBodies},
	"registry.health_interval": {after: "20ms", run: (*reloaded).looksForProviders},
	"registry.health_failures": {before: 100, after: 2, also: object{"registry.health_interval": "100ms", "registry.health_timeout": "5s"}, run: (*reloaded).looksForProviders},
	"registry.health_timeout":  {before: "1m", after: "50ms", also: object{"registry.health_interval": "20ms", "registry.health_failures": 1}, run: (*reloaded).givesSilentProvidersUp},
	"registry.dial_back":       {after: "30s", run: (*reloaded).refusesWhoIsNotThere},
	"registry.loss_percent":    {before: 100, after: 10, run: (*reloaded).believesLossesUntilReloaded},
	"registry.loss_hold":       {before: "1h", after: "1s", run: (*reloaded).letsGoOfWhatIsLost},
	"limits.accept_rate": {after: 1, run: func(r *reloaded, reload func()) {
		hello := onWire(16, `{"version":1,"agent":"test","max_frame":65536}`)
		greet := func() string {
			p := r.peer()
			defer p.Close()
			_, err := p.Write(hello)
			require.NoError(r.t, err)
			_, answer, err := p.read()
			require.NoError(r.t, err)
			return string(answer)
		}
		for range 20 {
			require.Contains(r.t, greet(), `"rcode":0`)
		}
		reload()
		answer := greet()
		for strings.Contains(answer, `"rcode":0`) { // the first few still get in
			answer = greet()
		}
		assert.Contains(r.t, answer, `"retry_after_ms"`)
	}},
	"limits.call_rate": {after: 1, run: func(r *reloaded, reload func()) {
		assert.Zero(r.t, r.refusedCalls())
		reload()
		assert.Positive(r.t, r.refusedCalls())
	}},
	"limits.call_burst": {also: map[string]any{"limits.call_rate": 100}, after: 3, run: func(r *reloaded, reload func()) {
		assert.Zero(r.t, r.refusedCalls())
		reload()
		assert.Positive(r.t, r.refusedCalls())
	}},
	"limits.frame_timeout": {after: "50ms", run: func(r *reloaded, reload func()) {
		p := r.peer()
		_, err := p.Write(onWire(2, "{}")[:10])
		require.NoError(r.t, err)
		reload()
		_, _ = io.Copy(io.Discard, p) // it ends: the broker closes
		assert.Contains(r.t, r.lineWith(r.err, "connection closed"), "within 50ms")
	}},
	"limits.subscriber_queue": {before: "64KiB", after: "30MiB", also: patientWrites, run: func(r *reloaded, reload func()) {
		assert.Less(r.t, r.flood("before").received(), floodSize, "it is closed: its queue is small")
		reload()
		assert.Equal(r.t, floodSize, r.flood("after").received(), "all of it waited")
	}},
	"limits.watcher_queue": {after: "64KiB", run: func(r *reloaded, reload func()) {
		conn, err := client.Dial(r.t.Context(), r.addr)
		require.NoError(r.t, err)
		defer conn.Close()
		nodes := client.NewNodeClient(conn)
		_, err = nodes.Create(r.t.Context(), "/n", nil)
		require.NoError(r.t, err)
		first, err := nodes.Get(r.t.Context(), "/n")
		require.NoError(r.t, err)
		watch, err := nodes.Watch(r.t.Context(), "/n", client.ScopeNode) // for the epoch
		require.NoError(r.t, err)
		watch.Close(r.t.Context())
		for range 8 {
			_, err = nodes.Set(r.t.Context(), "/n", bytes.Repeat([]byte("x"), 32<<10))
			require.NoError(r.t, err)
		}
		resynced := func() bool {
			watch, err := nodes.WatchFrom(r.t.Context(), "/n", client.ScopeNode, first.Revision, nodes.Epoch())
			require.NoError(r.t, err)
			defer watch.Close(r.t.Context())
			event, err := watch.Next(r.t.Context())
			require.NoError(r.t, err)
			return event.Resync
		}
		assert.False(r.t, resynced(), "what was missed fits")
		reload()
		assert.True(r.t, resynced(), "what was missed is more than may wait")
	}},
	"limits.streams_per_conn": {after: 2, run: func(r *reloaded, reload func()) { r.refusesStreams(reload, 3) }},
	"limits.max_streams":      {after: 2, run: func(r *reloaded, reload func()) { r.refusesStreams(reload, 3) }},
	"limits.stream_window": {after: "4KiB", run: func(r *reloaded, reload func()) {
		defer r.streamer()()
		window := func() string {
			p := r.peer()
			defer p.Close()
			_, err := p.Write(append(onWire(16, `{"version":1,"agent":"test","max_frame":65536}`), onWire(40, `{"method":"hold","parameters":{},"relay":1}`)...))
			require.NoError(r.t, err)
			_, _, err = p.read()
			require.NoError(r.t, err)
			_, credit, err := p.read()
			require.NoError(r.t, err)
			return string(credit)
		}
		assert.Equal(r.t, `{"bytes":65536}`, window())
		reload()
		assert.Equal(r.t, `{"bytes":4096}`, window())
	}},
	"log.level": {after: "debug", run: func(r *reloaded, reload func()) {
		r.glance()
		reload()
		r.glance()
		assert.Contains(r.t, r.lineWith(r.err, "connection closed"), "level=DEBUG")
	}},
	"log.levels": {after: object{"conn": "debug", "server": "off"}, run: func(r *reloaded, reload func()) {
		r.lineWith(r.err, "server started") // which comes after it listens
		reload()
		r.glance()
		assert.Contains(r.t, r.lineWith(r.err, "connection closed"), "level=DEBUG")
		r.signal(syscall.SIGTERM)
		assert.Equal(r.t, exitOK, r.wait())
		assert.Contains(r.t, r.err.text(), "server started")
		assert.NotContains(r.t, r.err.text(), "server stopped")
	}},
	"log.format": {before: "json", after: "text", run: func(r *reloaded, reload func()) {
		r.leave()
		assert.Contains(r.t, r.lineWith(r.err, "connection closed"), `"area":"conn"`)
		reload()
		r.leave()
		assert.Contains(r.t, r.lineWith(r.err, "connection closed"), "area=conn")
	}},
}

// logReloads are those about the log's file. The broker logs to one from the start,
// and dir is where that is.
var logReloads = map[string]struct {
	after any
	files []string // that are there besides, before
	size  int      // of the file that is there
	want  func(dir string) bool
}{
	"log.file": {after: "other.log", want: func(dir string) bool { return holds(dir, "other.log", "configuration reloaded") }},
	"log.max_size": {after: "1MiB", size: 2 << 20, want: func(dir string) bool {
		return len(matching(dir, "broker-2*.log")) == 1 && holds(dir, "broker.log", "configuration reloaded")
	}},
	"log.max_backups": {after: 1, files: []string{ago(1), ago(2), ago(3)}, want: func(dir string) bool { return len(matching(dir, "broker-2*.log")) == 1 }},
	"log.max_age":     {after: "10d", files: []string{ago(1), ago(30)}, want: func(dir string) bool { return len(matching(dir, "broker-2*.log")) == 1 }},
	"log.compress":    {after: true, files: []string{ago(1)}, want: func(dir string) bool { return len(matching(dir, "broker-2*.log.gz")) == 1 }},
}

// ago is the name of a log file that was put aside so many days ago.
func ago(days int) string {
	return "broker-" + time.Now().UTC().AddDate(0, 0, -days).Format("2006-01-02T15-04-05.000") + ".log"
}

func matching(dir, pattern string) []string {
	names, _ := filepath.Glob(filepath.Join(dir, pattern))
	return names
}

func holds(dir, name, text string) bool {
	all, _ := os.ReadFile(filepath.Join(dir, name))
	return strings.Contains(string(all), text)
}

// queueReloads are those about the queue of the log, with what makes it small.
var queueReloads = map[string]any{"log.queue_lines": 1, "log.queue_bytes": "4KiB"}

func TestEverySettingIsReloadedOrRefused(t *testing.T) {
	fixed := startReloaded(t, local())
	for _, row := range brokerTable(&settings{}) {
		t.Run(row.Key, func(t *testing.T) {
			switch _, queue := queueReloads[row.Key]; {
			case !row.Reload:
				needsRestart(t, fixed, row.Key)
			case queue:
				reloadQueue(t, row.Key)
			case logReloads[row.Key].want != nil:
				reloadLogFile(t, row.Key)
			default:
				reloadSetting(t, row.Key)
			}
		})
	}
}

func needsRestart(t *testing.T, r *reloaded, key string) {
	r.t = t
	assert.Contains(t, r.reload(with(local(), key, json.RawMessage(otherValues[key].json))), "configuration reloaded")
	assert.Contains(t, r.lineWith(r.err, "need a restart"), "keys="+key)
	r.reload(local())
}

func reloadSetting(t *testing.T, key string) {
	probe, ok := reloads[key]
	require.True(t, ok, "reloads needs something that shows it")
	before := local()
	for other, value := range probe.also {
		before = with(before, other, value)
	}
	if probe.before != nil {
		before = with(before, key, probe.before)
	}
	r := startReloaded(t, before)
	probe.run(r, func() {
		t.Helper()
		line := r.reload(with(before, key, probe.after))
		assert.Contains(t, line, `msg="configuration reloaded" area=config changed=`+key)
	})
}

func reloadLogFile(t *testing.T, key string) {
	probe, dir := logReloads[key], t.TempDir()
	for _, name := range probe.files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("old\n"), 0o600))
	}
	file := filepath.Join(dir, "broker.log")
	line := strings.Repeat("x", 99) + "\n"
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat(line, probe.size/len(line)+1)), 0o600))
	before := with(local(), "log.file", file)
	r := startReloaded(t, before)
	r.eventually(func() bool { return holds(dir, "broker.log", "server started") })
	require.False(t, probe.want(dir), "not yet")
	after := probe.after
	if key == "log.file" {
		after = filepath.Join(dir, after.(string))
	}
	r.write(with(before, key, after))
	r.signal(syscall.SIGHUP)
	r.eventually(func() bool { return probe.want(dir) })
}

func (r *reloaded) eventually(condition func() bool) {
	r.t.Helper()
	require.Eventually(r.t, condition, patience, 5*time.Millisecond)
}

// reloadQueue lets nobody read the log while it grows. Where the queue is large
// nothing is lost; after the reload, lines are, and as many as the log says.
func reloadQueue(t *testing.T, key string) {
	r, log := startUnread(t, with(local(), "log.level", "debug"))
	const clients = 1500 // of whose lines a pipe holds less than half
	closed := func() (seen, dropped int) {
		for range clients {
			r.leave()
		}
		for seen+dropped < clients {
			line := log.next()
			if m := regexp.MustCompile(`lines dropped.* area=log lines=(\d+)`).FindStringSubmatch(line); m != nil {
				var n int
				_, err := fmt.Sscan(m[1], &n)
				require.NoError(t, err)
				dropped += n
			} else if strings.Contains(line, "connection closed") {
				seen++
			}
		}
		return seen, dropped
	}
	seen, dropped := closed()
	assert.Equal(t, clients, seen)
	assert.Zero(t, dropped)
	r.write(with(with(local(), "log.level", "debug"), key, queueReloads[key]))
	r.signal(syscall.SIGHUP)
	for !strings.Contains(log.next(), "changed="+key) { //nolint:revive // what came before is passed over
	}
	seen, dropped = closed()
	assert.Positive(t, dropped)
	assert.Equal(t, clients, seen+dropped)
}

// unread is a standard error that is read when a test wants it.
type unread struct {
	t *testing.T
	*bufio.Reader
	file *os.File
}

func (u *unread) next() string {
	u.t.Helper()
	require.NoError(u.t, u.file.SetReadDeadline(time.Now().Add(patience)))
	line, err := u.ReadString('\n')
	require.NoError(u.t, err)
	return line
}

func startUnread(t *testing.T, cfg object) (*reloaded, *unread) {
	t.Helper()
	r := &reloaded{t: t, file: filepath.Join(t.TempDir(), "broker.json")}
	r.write(cfg)
	out, in, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = out.Close() })
	defer in.Close()
	cmd := exec.Command(realBinary(t), "broker", "--config", r.file)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = in
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	r.addr = strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
	r.proc = &proc{t: t, name: "broker", cmd: cmd}
	return r, &unread{t: t, Reader: bufio.NewReader(out), file: out}
}

func TestFaultyFileIsNotReloadedAndEverythingStays(t *testing.T) {
	good := with(with(local(), "log.format", "text"), "log.level", "info")
	r := startReloaded(t, good)
	for _, c := range []struct {
		name, text string
		want       []string // what each line of the log says
	}{
		{"unknown key", `{"listen": "127.0.0.1:0", "log": {"level": "debug", "colour": true}}`, []string{":1:53: "}},
		{"no JSON", `{"log": {"level": "debug"}`, []string{":1:26: "}},
		{"unusable file", `{"listen": "127.0.0.1:0", "log": {"level": "debug", "file": "/"}}`, []string{"open the log: "}},
		{"empty", "", []string{":1:1: "}},
		{"two faults", `{"serve": [], "log": {"level": "debug", "format": "xml"}}`, []string{":1:11: ", ":1:51: "}},
		{"limit of nothing", `{"log": {"level": "debug"}, "limits": {"frame_timeout": "0s"}}`, []string{":1:57: "}},
	} {
		require.NoError(t, os.WriteFile(r.file, []byte(c.text), 0o600))
		r.signal(syscall.SIGHUP)
		for _, want := range c.want {
			line := r.lineWith(r.err, "configuration ")
			assert.Contains(t, line, "level=ERROR msg=\"configuration not reloaded, everything stays as it was\"", c.name)
			assert.Contains(t, line, want, c.name)
			assert.Equal(t, c.name != "unusable file", strings.Contains(line, r.file), c.name)
		}
		r.glance() // not logged: the level is as it was
	}
	require.NoError(t, os.Remove(r.file))
	r.signal(syscall.SIGHUP)
	assert.Contains(t, r.lineWith(r.err, "msg=\"configuration not reloaded, everything stays as it was\" area=config err=\"read the"), r.file)
	assert.Contains(t, r.reload(good), "configuration reloaded")
	r.signal(syscall.SIGTERM)
	assert.Equal(t, exitOK, r.wait())
	assert.NotContains(t, r.err.text(), "level=DEBUG")
}

func TestWhatNeedsARestartIsSaidUntilItIsTakenBack(t *testing.T) {
	r := startReloaded(t, local())
	changed := with(with(local(), "limits.max_conns", 5), "log.level", "debug")
	assert.Contains(t, r.reload(changed), "changed=log.level")
	assert.Contains(t, r.lineWith(r.err, "need a restart"), "keys=limits.max_conns")
	assert.Contains(t, r.reload(changed), `changed=""`)
	assert.Contains(t, r.lineWith(r.err, "need a restart"), "keys=limits.max_conns")
	assert.Contains(t, r.reload(local()), "changed=log.level")
	r.signal(syscall.SIGTERM)
	assert.Equal(t, exitOK, r.wait())
	assert.Equal(t, 2, strings.Count(r.err.text(), "need a restart"))
}

func TestFlagsWinOverAReloadedFile(t *testing.T) {
	file := configured(t, `{"log": {"level": "debug"}}`)
	broker, _ := startBroker(t, "--listen", "127.0.0.1:0", "--config", file, "--log-level", "info")
	require.NoError(t, os.WriteFile(file, []byte(`{"log": {"level": "error"}}`), 0o600))
	broker.signal(syscall.SIGHUP)
	assert.Contains(t, broker.lineWith(broker.err, "configuration reloaded"), `changed=""`)
}

func TestHangUpWithoutAFileEndsNothingAndOpensTheLogAgain(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "broker.log")
	broker, addr := startBroker(t, "--listen", "127.0.0.1:0", "--log-file", file)
	require.Eventually(t, func() bool { return holds(dir, "broker.log", "server started") }, patience, 5*time.Millisecond)
	require.NoError(t, os.Rename(file, filepath.Join(dir, "moved.log")))
	broker.signal(syscall.SIGHUP)
	require.Eventually(t, func() bool { return holds(dir, "broker.log", "nothing to reload") }, patience, 5*time.Millisecond)
	assert.Equal(t, exitOK, inProcess(t, "", "topic", "create", "t", "--broker", addr).code)
	broker.signal(syscall.SIGTERM)
	assert.Equal(t, exitOK, broker.wait())
	assert.True(t, holds(dir, "broker.log", "server stopped"), "the end is in the log")
	assert.Empty(t, broker.err.text())
}

func TestBrokerServesWhileNobodyReadsItsLog(t *testing.T) {
	r, log := startUnread(t, with(with(local(), "log.level", "debug"), "log.queue_lines", 10))
	for range 1500 { // the pipe is full long before that
		r.leave()
	}
	f := inProcess(t, "", "topic", "create", "t", "--broker", r.addr)
	assert.Equal(t, exitOK, f.code, f.err)
	r.signal(syscall.SIGTERM)
	ended := make(chan error, 1)
	go func() { ended <- r.cmd.Wait() }()
	select {
	case err := <-ended: // it does not wait for the log for ever
		require.NoError(t, err)
	case <-time.After(patience):
		require.Fail(t, "it waits for its log")
	}
	assert.NotEmpty(t, log.next())
}

func TestLogOnAFullDiskIsSaidOnceAndTheBrokerGoesOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	broker, addr := startBroker(t, "--listen", "127.0.0.1:0", "--log-file", filepath.Join(dir, "broker.log"), "--log-level", "debug")
	require.Eventually(t, func() bool { return holds(dir, "broker.log", "server started") }, patience, 5*time.Millisecond)
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.WriteFile(dir, nil, 0o600)) // as good as a full disk: nothing can be written
	broker.signal(syscall.SIGHUP)                     // the file is opened again, or not
	broker.lineWith(broker.err, "the log cannot be written")
	for range 10 {
		assert.Equal(t, exitOK, inProcess(t, "", "topic", "create", "t", "--broker", addr).code)
	}
	require.NoError(t, os.Remove(dir)) // there is room again
	require.Eventually(t, func() bool {
		_ = inProcess(t, "", "topic", "create", "t", "--broker", addr)
		return holds(dir, "broker.log", "log lines lost, they could not be written")
	}, patience, 5*time.Millisecond)
	broker.signal(syscall.SIGTERM)
	assert.Equal(t, exitOK, broker.wait())
	assert.Equal(t, 1, strings.Count(broker.err.text(), "\n"), broker.err.text())
}

func TestKilledBrokerHasWrittenAllThatDidNotWait(t *testing.T) {
	dir := t.TempDir()
	args := []string{"--listen", "127.0.0.1:0", "--log-file", filepath.Join(dir, "broker.log"), "--log-level", "debug"}
	closings := func() int {
		text, _ := os.ReadFile(filepath.Join(dir, "broker.log"))
		return bytes.Count(text, []byte("connection closed"))
	}
	const clients = 50
	for run := 1; run <= 2; run++ {
		broker, addr := startBroker(t, args...)
		r := &reloaded{proc: broker, t: t, addr: addr}
		for range clients {
			r.leave()
		}
		r.eventually(func() bool { return closings() == run*clients }) // nothing pushes them out but time
		broker.signal(syscall.SIGKILL)
		broker.wait()
		assert.Equal(t, run*clients, closings())
	}
}

func TestConfigurationFileComesFromTheEnvironmentToo(t *testing.T) {
	t.Setenv(configEnv, configured(t, `{"listen": "127.0.0.1:0", "log": {"format": "json"}}`))
	broker, _ := startBroker(t, "--log-level", "debug")
	assert.True(t, json.Valid([]byte(broker.line(broker.err))))
}
