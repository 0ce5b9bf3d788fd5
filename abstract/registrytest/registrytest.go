// Package registrytest is the behaviour that every registry must show, whatever it
// stands on. Each driver's tests run it against the real thing.
package registrytest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// Fixture makes registries for tests, all of one server.
type Fixture struct {
	// New makes another client of the server. The test closes it.
	New func(t testing.TB) abstract.Registry
	// Abandon makes a client vanish without a word, as kill -9 does; nil: that cannot be done.
	Abandon func(t testing.TB, r abstract.Registry)
	// Restart ends the server without a word, and starts it again with what it keeps.
	Restart func(t testing.TB)
	// Pause stops the server for longer than sessions live, and lets it go on.
	Pause func(t testing.TB)
	// Cut breaks the connections of all clients; they can connect again at once.
	Cut func(t testing.TB)
	// Bound says that a registration goes with its connection, and not with a session
	// that outlives it.
	Bound bool
}

// patience is how long something may take that must happen: far longer than it does.
const patience = 60 * time.Second

// Run runs the suite.
func Run(t *testing.T, f Fixture) {
	tests := map[string]func(*testing.T, Fixture){
		"who is registered is discovered":            registered,
		"a follower hears of every change":           followed,
		"what a provider says of itself arrives":     traits,
		"a change of what it says is no coming":      changed,
		"names may be any text":                      names,
		"registering twice is registering once":      twice,
		"unregistering what is not there is right":   absent,
		"methods of one service are kept apart":      apart,
		"a client that closes takes its own away":    closes,
		"a client that vanishes goes offline":        vanishes,
		"a new process takes over its old address":   succeeds,
		"nobody is told offline by a restart":        restarts,
		"all is right after a pause":                 pauses,
		"what was unregistered meanwhile stays away": meanwhile,
		"many come and go, and all see the same":     many,
		"all see the same when connections break":    churn,
		"another instance's registration stays":      instances,
		"an id of two providers is no harm":          duplicates,
		"what cannot be registered is refused":       impossible,
		"who asks no more costs no more":             leaves,
		"a registry closes while it is connecting":   closesEarly,
		"an ended context ends the wait":             cancelled,
		"a closed registry says so":                  closed,
		"names that cannot be asked for are refused": unaskable,
	}
	names := make([]string, 0, len(tests))
	for name := range tests {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) { tests[name](t, f) })
	}
}

// unique makes names that no other test uses: the server is the same.
var unique struct {
	sync.Mutex
	n int
}

func fresh(name string) string {
	unique.Lock()
	defer unique.Unlock()
	unique.n++
	return fmt.Sprintf("suite%d.%s", unique.n, name)
}

func provider(method string, port int) abstract.Provider {
	return abstract.Provider{Method: method, Host: abstract.Host{IP: "10.0.0.1", Port: port}, Instance: fmt.Sprintf("i%d", port), Hello: true}
}

func (f Fixture) open(t *testing.T) abstract.Registry {
	t.Helper()
	r := f.New(t)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// watch is a follower that notes everything.
type watch struct {
	t      *testing.T
	method string
	mu     sync.Mutex
	all    []abstract.Providers
	more   chan struct{}
}

func follow(t *testing.T, r abstract.Registry, method string) *watch {
	t.Helper()
	w := &watch{t: t, method: method, more: make(chan struct{}, 1)}
	stop := r.Follow(method, func(p abstract.Providers) {
		w.mu.Lock()
		w.checks(p)
		w.all = append(w.all, p)
		w.mu.Unlock()
		select {
		case w.more <- struct{}{}:
		default:
		}
	})
	t.Cleanup(stop)
	return w
}

// checks looks whether what came and went makes the list of what was told before. It is
// called with the lock held.
func (w *watch) checks(p abstract.Providers) {
	if p.Err != nil {
		return
	}
	id := func(p abstract.Provider) string { return p.Host.String() + p.Instance }
	there := make(map[string]bool)
	if n := len(w.all); n > 0 {
		for _, q := range w.all[n-1].List {
			there[id(q)] = true
		}
	}
	for _, q := range p.Offline {
		assert.True(w.t, there[id(q)], "%s went offline and was not there", q.Host)
		delete(there, id(q))
	}
	for _, q := range p.Online {
		assert.False(w.t, there[id(q)], "%s came online and was there", q.Host)
		there[id(q)] = true
	}
	list := make(map[string]bool)
	for _, q := range p.List {
		list[id(q)] = true
	}
	assert.Equal(w.t, there, list, "the list is not what came and went")
}

// until waits for a state that is as wanted.
func (w *watch) until(what string, wanted func(abstract.Providers) bool) abstract.Providers {
	w.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		w.mu.Lock()
		n := len(w.all)
		var last abstract.Providers
		if n > 0 {
			last = w.all[n-1]
		}
		w.mu.Unlock()
		if n > 0 && last.Err == nil && wanted(last) {
			return last
		}
		select {
		case <-w.more:
		case <-late.C:
			require.Failf(w.t, "the follower never saw "+what, "its last state is %+v", last)
		}
	}
}

func (w *watch) untilPorts(ports ...int) abstract.Providers {
	w.t.Helper()
	return w.until(fmt.Sprintf("ports %v", ports), func(p abstract.Providers) bool { return equalPorts(p.List, ports) })
}

func equalPorts(list []abstract.Provider, ports []int) bool {
	var have []int
	for _, p := range list {
		have = append(have, p.Host.Port)
	}
	slices.Sort(have)
	want := slices.Sorted(slices.Values(ports))
	return slices.Equal(have, want)
}

// offline returns who was told gone.
func (w *watch) offline() []abstract.Provider {
	w.mu.Lock()
	defer w.mu.Unlock()
	var gone []abstract.Provider
	for _, p := range w.all {
		gone = append(gone, p.Offline...)
	}
	return gone
}

func registered(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	m := fresh("get")
	list, err := r.Discover(within(t), m)
	require.NoError(t, err, "nobody is no error")
	require.Empty(t, list)
	require.NoError(t, r.Register(within(t), provider(m, 1), provider(m, 2)))
	w := follow(t, other, m)
	w.untilPorts(1, 2)
	list, err = other.Discover(within(t), m)
	require.NoError(t, err)
	require.True(t, equalPorts(list, []int{1, 2}))
	for _, p := range list {
		assert.Equal(t, provider(m, p.Host.Port), p)
	}
}

func followed(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	m := fresh("get")
	w := follow(t, other, m)
	first := w.untilPorts()
	assert.Empty(t, first.Online)
	require.NoError(t, r.Register(within(t), provider(m, 1)))
	assert.Len(t, w.untilPorts(1).Online, 1)
	require.NoError(t, r.Register(within(t), provider(m, 2)))
	w.untilPorts(1, 2)
	require.NoError(t, r.Unregister(within(t), provider(m, 1)))
	p := w.untilPorts(2)
	if assert.Len(t, p.Offline, 1) {
		assert.Equal(t, 1, p.Offline[0].Host.Port)
	}
}

func traits(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	p := provider(fresh("get"), 1)
	p.Traits = abstract.Traits{Weight: 7, Zone: "wést", Version: "1.2", Tags: abstract.NewTags("b", "a"), Meta: abstract.NewMeta(map[string]string{"k": `"v"`})}
	require.NoError(t, r.Register(within(t), p))
	follow(t, other, p.Method).until("its traits", func(s abstract.Providers) bool { return len(s.List) == 1 && s.List[0] == p })
}

func changed(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	p := provider(fresh("get"), 1)
	require.NoError(t, r.Register(within(t), p))
	w := follow(t, other, p.Method)
	w.untilPorts(1)
	p.Weight = 9
	require.NoError(t, r.Register(within(t), p))
	w.until("the new weight", func(s abstract.Providers) bool { return len(s.List) == 1 && s.List[0].Weight == 9 })
	assert.Empty(t, w.offline())
}

func names(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	unique := fresh("")
	for i, name := range []string{"plain", "a/b", "..", ".", "dot.", "ünï.çøde", "a@b", "a%2Fb", "with space", "x.y.z", "q?r#s", "a.b", "_.get", "get", "_", "%5F.get"} {
		m := unique + name
		require.NoError(t, r.Register(within(t), provider(m, i+1)), name)
		follow(t, other, m).untilPorts(i + 1)
	}
}

func twice(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	m := fresh("get")
	require.NoError(t, r.Register(within(t), provider(m, 1)))
	require.NoError(t, r.Register(within(t), provider(m, 1), provider(m, 1)))
	w := follow(t, other, m)
	w.untilPorts(1)
	require.NoError(t, r.Unregister(within(t), provider(m, 1)))
	w.untilPorts()
}

func absent(t *testing.T, f Fixture) {
	require.NoError(t, f.open(t).Unregister(within(t), provider(fresh("get"), 1)))
}

func apart(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	a := fresh("get")
	b := a + "All"
	require.NoError(t, r.Register(within(t), provider(a, 1), provider(b, 2)))
	follow(t, other, a).untilPorts(1)
	follow(t, other, b).untilPorts(2)
}

func closes(t *testing.T, f Fixture) {
	r, other := f.New(t), f.open(t)
	m := fresh("get")
	require.NoError(t, r.Register(within(t), provider(m, 1)))
	w := follow(t, other, m)
	w.untilPorts(1)
	require.NoError(t, r.Close())
	w.untilPorts()
}

func vanishes(t *testing.T, f Fixture) {
	if f.Abandon == nil {
		return
	}
	r, keeps, other := f.New(t), f.open(t), f.open(t)
	m := fresh("get")
	require.NoError(t, r.Register(within(t), provider(m, 1)))
	require.NoError(t, keeps.Register(within(t), provider(m, 2)))
	w := follow(t, other, m)
	w.untilPorts(1, 2)
	f.Abandon(t, r)
	w.untilPorts(2)
	assert.Len(t, w.offline(), 1)
}

func succeeds(t *testing.T, f Fixture) {
	if f.Abandon == nil {
		return
	}
	old, next, other := f.New(t), f.open(t), f.open(t)
	p := provider(fresh("get"), 1)
	p.Instance = "old"
	require.NoError(t, old.Register(within(t), p))
	w := follow(t, other, p.Method)
	w.untilPorts(1)
	f.Abandon(t, old)
	p.Instance = "new"
	require.NoError(t, next.Register(within(t), p))
	w.until("the new process alone", func(s abstract.Providers) bool { return len(s.List) == 1 && s.List[0].Instance == "new" })
}

func restarts(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	m, late := fresh("get"), fresh("late")
	require.NoError(t, r.Register(within(t), provider(m, 1), provider(m, 2)))
	w := follow(t, other, m)
	w.untilPorts(1, 2)
	f.Restart(t)
	require.NoError(t, r.Register(within(t), provider(late, 3)), "it works again")
	follow(t, other, late).untilPorts(3)
	follow(t, f.open(t), m).untilPorts(1, 2) // for those who come now
	assert.Empty(t, w.offline())
}

func pauses(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	m := fresh("get")
	require.NoError(t, r.Register(within(t), provider(m, 1), provider(m, 2)))
	w := follow(t, other, m)
	w.untilPorts(1, 2)
	f.Pause(t)
	require.NoError(t, r.Register(within(t), provider(m, 3)))
	w.untilPorts(1, 2, 3)
	follow(t, f.open(t), m).untilPorts(1, 2, 3)
	require.NoError(t, r.Unregister(within(t), provider(m, 1)))
	w.untilPorts(2, 3) // the watch is right after it, too
	for _, p := range w.offline() {
		assert.Equal(t, 1, p.Host.Port, "nobody else was ever gone")
	}
}

func meanwhile(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	m := fresh("get")
	require.NoError(t, r.Register(within(t), provider(m, 1), provider(m, 2)))
	w := follow(t, other, m)
	w.untilPorts(1, 2)
	ended := make(chan error, 1)
	ctx := within(t)
	f.Restart(t)
	go func() { ended <- r.Unregister(ctx, provider(m, 1)) }()
	require.NoError(t, <-ended)
	w.untilPorts(2)
}

func many(t *testing.T, f Fixture) {
	const clients, rounds = 4, 15
	m := fresh("get")
	watchers := []*watch{follow(t, f.open(t), m), follow(t, f.open(t), m)}
	var ended sync.WaitGroup
	for c := range clients {
		r := f.open(t)
		ended.Go(func() {
			for i := range rounds {
				p := provider(m, 100*(c+1)+i%3)
				assert.NoError(t, r.Register(within(t), p))
				if i%2 == 0 {
					assert.NoError(t, r.Unregister(within(t), p))
				}
			}
			assert.NoError(t, r.Register(within(t), provider(m, 100*(c+1)+99)))
		})
	}
	ended.Wait()
	var want []int // by the rounds above: the last word on each
	for c := range clients {
		last := map[int]bool{99: true}
		for i := range rounds {
			last[i%3] = i%2 != 0
		}
		for port, on := range last {
			if on {
				want = append(want, 100*(c+1)+port)
			}
		}
	}
	for _, w := range watchers {
		w.untilPorts(want...)
	}
}

// churn lets registrars come and go at random while all connections break, again and
// again. One provider of each stays, and is never to be told offline where sessions
// outlive connections.
func churn(t *testing.T, f Fixture) {
	if f.Cut == nil {
		t.Skip("this fixture cannot break connections")
	}
	const clients, watching, stays, ports = 3, 3, 99, 5
	steps, cuts := 40, 3
	if os.Getenv("TREFOIL_LONG") != "" {
		steps, cuts = 400, 30
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := fresh("get")
	other := m + "2" // a method of the same service
	var watchers []*watch
	for range watching {
		r := f.open(t)
		watchers = append(watchers, follow(t, r, m), follow(t, r, other))
	}
	var ended sync.WaitGroup
	done := make(chan struct{}, clients*steps)
	want := map[string][]int{m: nil, other: nil}
	var mu sync.Mutex
	for c := range clients {
		r := f.open(t)
		chance := rand.New(rand.NewPCG(seed, uint64(c)))
		ended.Go(func() {
			base := 100 * (c + 1)
			assert.NoError(t, r.Register(within(t), provider(m, base+stays)))
			on := map[string]map[int]bool{m: {base + stays: true}, other: {}}
			for range steps {
				method, port := []string{m, other}[chance.IntN(2)], base+chance.IntN(ports)
				p := provider(method, port)
				p.Weight = 1 + chance.IntN(3)
				if on[method][port] = chance.IntN(3) > 0; on[method][port] {
					assert.NoError(t, r.Register(within(t), p))
				} else {
					assert.NoError(t, r.Unregister(within(t), p))
				}
				done <- struct{}{}
			}
			mu.Lock()
			defer mu.Unlock()
			for method, ports := range on {
				for port, there := range ports {
					if there {
						want[method] = append(want[method], port)
					}
				}
			}
		})
	}
	for range cuts {
		for range clients * steps / (cuts + 1) {
			<-done
		}
		f.Cut(t)
	}
	ended.Wait()
	for _, w := range watchers {
		w.untilPorts(want[w.method]...)
		for _, p := range w.offline() {
			assert.True(t, f.Bound || p.Host.Port%100 != stays, "%s was told offline, and never went", p.Host)
		}
	}
	late := f.open(t)
	for method, ports := range want {
		follow(t, late, method).untilPorts(ports...)
	}
}

// instances: who unregisters what another process has registered at the same address in
// the meantime does not take that away.
func instances(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	p := provider(fresh("get"), 1)
	p.Instance = "old"
	require.NoError(t, r.Register(within(t), p))
	q := p
	q.Instance = "new"
	require.NoError(t, f.open(t).Register(within(t), q))
	w := follow(t, other, p.Method)
	isNew := func(s abstract.Providers) bool {
		return slices.ContainsFunc(s.List, func(p abstract.Provider) bool { return p.Instance == "new" })
	}
	w.until("the new one", isNew)
	require.NoError(t, r.Unregister(within(t), p))
	list, err := f.open(t).Discover(within(t), p.Method)
	require.NoError(t, err)
	require.True(t, isNew(abstract.Providers{List: list}), "it stays: %v", list)
}

// duplicates: providers are told apart by their address, too.
func duplicates(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	p := provider(fresh("get"), 1)
	q := p
	q.Host.Port = 2
	require.NoError(t, r.Register(within(t), p, q))
	w := follow(t, other, p.Method)
	w.untilPorts(1, 2)
	require.NoError(t, r.Unregister(within(t), p))
	w.untilPorts(2)
	require.NoError(t, f.open(t).Register(within(t), p))
	w.untilPorts(1, 2)
}

func impossible(t *testing.T, f Fixture) {
	r := f.open(t)
	for name, change := range map[string]func(*abstract.Provider){
		"no method":       func(p *abstract.Provider) { p.Method = "" },
		"no port":         func(p *abstract.Provider) { p.Host.Port = 0 },
		"a port too high": func(p *abstract.Provider) { p.Host.Port = 65536 },
		"a long name":     func(p *abstract.Provider) { p.Method = strings.Repeat("x", 1000) },
		"long metadata": func(p *abstract.Provider) {
			p.Meta = abstract.NewMeta(map[string]string{"k": strings.Repeat("x", abstract.MaxMeta)})
		},
	} {
		p := provider(fresh("get"), 1)
		change(&p)
		err := r.Register(within(t), p)
		assert.True(t, errors.Is(err, abstract.ErrInvalidParams) || errors.Is(err, abstract.ErrInvalidMessage), "%s: %v", name, err)
	}
	p := provider(fresh("get"), 1)
	require.NoError(t, r.Register(within(t), p), "it goes on working")
}

// leaves: a method that was followed and left can be followed again, and again.
func leaves(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	m := fresh("get")
	for i := range 5 {
		require.NoError(t, r.Register(within(t), provider(m, i+1)))
		told := make(chan abstract.Providers, 100)
		stop := other.Follow(m, func(p abstract.Providers) { told <- p })
		for p := range told {
			if p.Err == nil && len(p.List) == i+1 {
				break
			}
		}
		stop()
		stop()
		before := len(told)
		require.NoError(t, r.Register(within(t), provider(m, 100+i)))
		require.NoError(t, r.Unregister(within(t), provider(m, 100+i)))
		assert.Len(t, told, before, "nobody is called after stop")
	}
}

func closesEarly(t *testing.T, f Fixture) {
	for range 5 {
		r := f.New(t)
		stop := r.Follow(fresh("get"), func(abstract.Providers) {})
		require.NoError(t, r.Close())
		stop()
		require.NoError(t, r.Close(), "again")
	}
}

func cancelled(t *testing.T, f Fixture) {
	r := f.open(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := r.Register(ctx, provider(fresh("get"), 1))
	require.ErrorIs(t, err, abstract.ErrCancelled)
}

func closed(t *testing.T, f Fixture) {
	r := f.New(t)
	require.NoError(t, r.Close())
	require.ErrorIs(t, r.Register(within(t), provider(fresh("get"), 1)), abstract.ErrDisconnected)
	_, err := r.Discover(within(t), fresh("get"))
	require.ErrorIs(t, err, abstract.ErrDisconnected)
	require.ErrorIs(t, refusedFollowing(t, r, fresh("get")), abstract.ErrDisconnected)
}

// refusedFollowing follows what cannot be followed, and returns what the follower is told:
// once.
func refusedFollowing(t *testing.T, r abstract.Registry, method string) error {
	t.Helper()
	told := make(chan abstract.Providers, 10)
	stop := r.Follow(method, func(p abstract.Providers) { told <- p })
	select {
	case p := <-told:
		stop()
		assert.Empty(t, told, "it is told once")
		return p.Err
	case <-within(t).Done():
		require.Fail(t, "the follower was never told", method)
		return nil
	}
}

// unaskable: names that no method can have are an error for who asks, too.
func unaskable(t *testing.T, f Fixture) {
	r := f.open(t)
	for _, name := range []string{"", strings.Repeat("x", 1000)} {
		_, err := r.Discover(within(t), name)
		assert.True(t, errors.Is(err, abstract.ErrInvalidParams) || errors.Is(err, abstract.ErrInvalidMessage), "%d bytes: %v", len(name), err)
		err = refusedFollowing(t, r, name)
		assert.True(t, errors.Is(err, abstract.ErrInvalidParams) || errors.Is(err, abstract.ErrInvalidMessage), "%d bytes: %v", len(name), err)
	}
}
