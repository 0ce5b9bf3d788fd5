//go:build unix

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/etcdstore"
)

// long is how many times something is done: a few as a rule, many with TREFOIL_LONG=1.
func long(few, many int) int {
	if os.Getenv("TREFOIL_LONG") != "" {
		return many
	}
	return few
}

// writer writes to the tree until it is stopped, and knows what was acknowledged.
type writer struct {
	name  string
	conn  *client.Conn
	nodes *client.NodeClient

	mu        sync.Mutex
	acked     map[string]int64 // by path: the value, a counter, that was acknowledged last
	tried     map[string]int64 // and the last one that was sent
	created   map[string]bool  // paths whose creation was acknowledged
	sequences map[string]string
	writes    atomic.Int64
}

func newWriter(t *testing.T, broker, name string) *writer {
	w := &writer{name: name, acked: map[string]int64{}, tried: map[string]int64{}, created: map[string]bool{}, sequences: map[string]string{}}
	w.conn, w.nodes = dialBroker(t, broker)
	return w
}

func (w *writer) dir() string { return "/load/" + w.name }

// run does one kind of write after the other.
func (w *writer) run(ctx context.Context) {
	for n := int64(1); ctx.Err() == nil; n++ {
		switch n % 5 {
		case 0:
			w.create(ctx, fmt.Sprintf("%s/p%d", w.dir(), n))
		case 1:
			w.create(ctx, fmt.Sprintf("%s/s%d", w.dir(), n), client.SessionNode())
		case 2:
			w.pair(ctx, n)
		case 3:
			w.family(ctx, n)
		default:
			w.sequence(ctx, n)
		}
	}
}

func (w *writer) create(ctx context.Context, path string, opts ...client.NodeOption) {
	if _, err := w.nodes.Create(ctx, path, []byte("x"), append(opts, client.OnceAs(path))...); err == nil {
		w.writes.Add(1)
		w.mu.Lock()
		w.created[path] = true
		w.mu.Unlock()
	}
}

// pair sets two nodes to the same value, in one multi.
func (w *writer) pair(ctx context.Context, n int64) {
	a, b, value := w.dir()+"/a", w.dir()+"/b", []byte(strconv.FormatInt(n, 10))
	w.mu.Lock()
	w.tried[a] = n
	w.mu.Unlock()
	if _, err := w.nodes.Multi(ctx, client.SetOp(a, value), client.SetOp(b, value)); err == nil {
		w.writes.Add(1)
		w.mu.Lock()
		w.acked[a] = n
		w.mu.Unlock()
	}
}

// family makes a node with children while others delete it: some child or the parent
// has to give way.
func (w *writer) family(ctx context.Context, n int64) {
	home := fmt.Sprintf("/families/%d", n%7)
	if n%2 == 0 {
		_ = w.nodes.Delete(ctx, home, client.Recursive())
		return
	}
	_, _ = w.nodes.Create(ctx, home+"/"+w.name+strconv.FormatInt(n, 10), nil, client.MakeParents())
}

// sequence makes a sequential child by a key: done again it must be the same one.
func (w *writer) sequence(ctx context.Context, n int64) {
	key := fmt.Sprintf("%s-%d", w.name, n)
	path, err := w.nodes.Create(ctx, "/queue/n-", []byte(key), client.Sequential(), client.OnceAs(key))
	if err == nil {
		w.writes.Add(1)
		w.mu.Lock()
		w.sequences[key] = path
		w.mu.Unlock()
	}
}

// left is what a broker has left in its store.
type left struct {
	nodes    map[string][]byte // by path: the data
	owner    map[string]string // by path: the session
	sessions map[string]bool
}

// readStore reads the store of a broker that does not run.
func readStore(t *testing.T, data string) left {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	store, err := etcdstore.Open(ctx, etcdstore.Config{Dir: filepath.Join(data, "store"), Logger: silent})
	require.NoError(t, err)
	defer store.Close()
	_, err = store.Sync(ctx)
	require.NoError(t, err)
	kvs, _, err := store.Range(ctx, "/", 0)
	require.NoError(t, err)
	l := left{nodes: map[string][]byte{}, owner: map[string]string{}, sessions: map[string]bool{}}
	for _, kv := range kvs {
		if id, ok := strings.CutPrefix(kv.Key, "/sessions/"); ok {
			l.sessions[id] = true
		}
		if path, ok := strings.CutPrefix(kv.Key, "/t/"); ok {
			path = path[3:] // the depth
			head, rest, _ := strings.Cut(string(kv.Value), "\n")
			l.nodes[path] = []byte(rest)
			if _, owner, found := strings.Cut(head, `"session":"`); found {
				l.owner[path] = owner[:32]
			}
		}
	}
	return l
}

// check holds what is left against what was acknowledged.
func (l left) check(t *testing.T, writers []*writer) {
	t.Helper()
	for path := range l.nodes {
		if parent := filepath.Dir(path); parent != "/" {
			assert.Contains(t, l.nodes, parent, "%s is an orphan", path)
		}
		if owner := l.owner[path]; owner != "" {
			assert.True(t, l.sessions[owner], "the session of %s is gone", path)
		}
	}
	made := map[string]string{} // data of sequential nodes -> path
	for path, data := range l.nodes {
		if strings.HasPrefix(path, "/queue/n-") {
			assert.Empty(t, made[string(data)], "%s was made twice", data)
			made[string(data)] = path
		}
	}
	for _, w := range writers {
		w.mu.Lock()
		for path := range w.created {
			assert.Contains(t, l.nodes, path, "acknowledged and lost")
		}
		for key, path := range w.sequences {
			assert.Equal(t, path, made[key], "acknowledged and lost")
		}
		a, b := l.nodes[w.dir()+"/a"], l.nodes[w.dir()+"/b"]
		assert.Equal(t, a, b, "half a multi")
		n, err := strconv.ParseInt(string(a), 10, 64)
		assert.NoError(t, err)
		assert.GreaterOrEqual(t, n, w.acked[w.dir()+"/a"], "acknowledged and lost")
		assert.LessOrEqual(t, n, w.tried[w.dir()+"/a"])
		w.mu.Unlock()
	}
}

// setUp makes what the writers need.
func (w *writer) setUp(t *testing.T) {
	_, err := w.nodes.Create(t.Context(), w.dir(), nil, client.MakeParents())
	require.NoError(t, err)
	for _, name := range []string{"/a", "/b"} {
		_, err := w.nodes.Create(t.Context(), w.dir()+name, []byte("0"))
		require.NoError(t, err)
	}
}

// TestKilledBrokerLosesNothingOfTheTree kills a broker under load again and again. TREFOIL_LONG=1
// does it 200 times.
func TestKilledBrokerLosesNothingOfTheTree(t *testing.T) {
	data := t.TempDir()
	args := []string{"--data", data, "--session-interval", "400ms", "--session-misses", "10", "--log-level", "error"}
	proc, broker := startBroker(t, append([]string{"--listen", "127.0.0.1:0"}, args...)...)
	var writers []*writer
	for i := range 4 {
		writers = append(writers, newWriter(t, broker, "w"+strconv.Itoa(i)))
		writers[i].setUp(t)
	}
	_, err := writers[0].nodes.Create(t.Context(), "/queue", nil)
	require.NoError(t, err)
	_, err = writers[0].nodes.Create(t.Context(), "/dead", nil)
	require.NoError(t, err)
	ids := sessionIDs(writers)

	cycles := long(3, 200)
	for cycle := range cycles {
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		before := acknowledged(writers)
		for _, w := range writers {
			running.Go(func() { w.run(ctx) })
		}
		mortal := start(t, "node", "create", fmt.Sprintf("/dead/%d", cycle), "--session", "--broker", broker)
		require.Equal(t, fmt.Sprintf("/dead/%d", cycle), mortal.line(mortal.out))
		mortal.signal(syscall.SIGKILL)
		more := int64(20 + rand.IntN(300))
		require.Eventually(t, func() bool { return acknowledged(writers) > before+more }, patience, time.Millisecond)
		proc.signal(syscall.SIGKILL)
		proc.wait()
		stop()
		running.Wait()
		readStore(t, data).check(t, writers)
		proc, _ = startBroker(t, append([]string{"--listen", broker}, args...)...)
		for _, w := range writers {
			require.Eventually(t, w.conn.Connected, patience, time.Millisecond)
		}
		if t.Failed() {
			t.Fatalf("cycle %d", cycle)
		}
	}
	require.Eventually(t, func() bool {
		list, err := writers[0].nodes.List(t.Context(), "/dead")
		return err == nil && len(list) == 0
	}, patience, 10*time.Millisecond, "nodes of processes that are dead go")
	assert.Equal(t, ids, sessionIDs(writers), "no living client has lost its session")
	t.Logf("%d cycles, %d writes acknowledged", cycles, acknowledged(writers))
}

func acknowledged(writers []*writer) (n int64) {
	for _, w := range writers {
		n += w.writes.Load()
	}
	return n
}

func sessionIDs(writers []*writer) (ids []string) {
	for _, w := range writers {
		ids = append(ids, w.conn.SessionID())
	}
	return ids
}

// TestStoppedBrokerExpiresNobody stops a broker for longer than sessions last. What it
// has not done meanwhile is held against nobody.
func TestStoppedBrokerExpiresNobody(t *testing.T) {
	proc, broker := startBroker(t, "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--session-interval", "500ms", "--session-misses", "5", "--log-level", "error")
	w := newWriter(t, broker, "w")
	w.setUp(t)
	_, err := w.nodes.Create(t.Context(), "/mine", nil, client.SessionNode())
	require.NoError(t, err)
	id := w.conn.SessionID()
	for range long(2, 20) {
		proc.signal(syscall.SIGSTOP)
		timer := time.NewTimer(3200 * time.Millisecond) // longer than a session lasts
		<-timer.C
		proc.signal(syscall.SIGCONT)
		require.Eventually(t, func() bool {
			_, err := w.nodes.Stat(t.Context(), "/mine")
			require.NotErrorIs(t, err, abstract.ErrNotFound, "a session has expired because the broker stood still")
			return err == nil
		}, patience, 10*time.Millisecond)
		assert.Equal(t, id, w.conn.SessionID())
	}
}

// TestStoppedClientLosesItsSession stops a client for longer than its session lasts.
func TestStoppedClientLosesItsSession(t *testing.T) {
	_, broker := startBroker(t, "--listen", "127.0.0.1:0", "--session-interval", "500ms", "--session-misses", "5")
	_, nodes := dialBroker(t, broker)
	watch, err := nodes.Watch(t.Context(), "/mine", client.ScopeNode)
	require.NoError(t, err)
	holder := start(t, "node", "create", "/mine", "--session", "--broker", broker)
	require.Equal(t, "/mine", holder.line(holder.out))
	holder.signal(syscall.SIGSTOP)
	for deleted := false; !deleted; {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		e, err := watch.Next(ctx)
		cancel()
		require.NoError(t, err)
		for _, c := range e.Changes {
			deleted = deleted || c.Deleted
		}
	}
	holder.signal(syscall.SIGCONT)
	holder.lineWith(holder.err, "the session has ended, and its node with it")
	assert.Equal(t, exitFailed, holder.wait())
	there, err := nodes.Exists(t.Context(), "/mine")
	require.NoError(t, err)
	assert.False(t, there)
}
