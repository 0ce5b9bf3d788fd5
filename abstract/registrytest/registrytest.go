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
const patience = 2 * time.Minute

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

func (f Fixture) open(t *testing.T) abstract.Registry {
	t.Helper()
	r := f.New(t)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r
}

func registered(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	m := fresh("get")
	list, err := r.Discover(Within(t), m)
	require.NoError(t, err, "nobody is no error")
	require.Empty(t, list)
	require.NoError(t, r.Register(Within(t), Provider(m, 1), Provider(m, 2)))
	w := Follow(t, other, m)
	w.UntilPorts(1, 2)
	list, err = other.Discover(Within(t), m)
	require.NoError(t, err)
	require.True(t, equalPorts(list, []int{1, 2}))
	for _, p := range list {
		assert.Equal(t, Provider(m, p.Host.Port), p)
	}
}

func followed(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	m := fresh("get")
	w := Follow(t, other, m)
	first := w.UntilPorts()
	assert.Empty(t, first.Online)
	require.NoError(t, r.Register(Within(t), Provider(m, 1)))
	assert.Len(t, w.UntilPorts(1).Online, 1)
	require.NoError(t, r.Register(Within(t), Provider(m, 2)))
	w.UntilPorts(1, 2)
	require.NoError(t, r.Unregister(Within(t), Provider(m, 1)))
	p := w.UntilPorts(2)
	if assert.Len(t, p.Offline, 1) {
		assert.Equal(t, 1, p.Offline[0].Host.Port)
	}
}

func traits(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	p := Provider(fresh("get"), 1)
	p.Traits = abstract.Traits{Weight: 7, Zone: "wést", Version: "1.2", Tags: abstract.NewTags("b", "a"), Meta: abstract.NewMeta(map[string]string{"k": `"v"`})}
	require.NoError(t, r.Register(Within(t), p))
	Follow(t, other, p.Method).Until("its traits", func(s abstract.Providers) bool { return len(s.List) == 1 && s.List[0] == p })
}

func changed(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	p := Provider(fresh("get"), 1)
	require.NoError(t, r.Register(Within(t), p))
	w := Follow(t, other, p.Method)
	w.UntilPorts(1)
	p.Weight = 9
	require.NoError(t, r.Register(Within(t), p))
	w.Until("the new weight", func(s abstract.Providers) bool { return len(s.List) == 1 && s.List[0].Weight == 9 })
	assert.Empty(t, w.Gone())
}

func names(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	unique := fresh("")
	for i, name := range []string{"plain", "a/b", "..", ".", "dot.", "ünï.çøde", "a@b", "a%2Fb", "with space", "x.y.z", "q?r#s", "a.b", "_.get", "get", "_", "%5F.get"} {
		m := unique + name
		require.NoError(t, r.Register(Within(t), Provider(m, i+1)), name)
		Follow(t, other, m).UntilPorts(i + 1)
	}
}

func twice(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	m := fresh("get")
	require.NoError(t, r.Register(Within(t), Provider(m, 1)))
	require.NoError(t, r.Register(Within(t), Provider(m, 1), Provider(m, 1)))
	w := Follow(t, other, m)
	w.UntilPorts(1)
	require.NoError(t, r.Unregister(Within(t), Provider(m, 1)))
	w.UntilPorts()
}

func absent(t *testing.T, f Fixture) {
	require.NoError(t, f.open(t).Unregister(Within(t), Provider(fresh("get"), 1)))
}

func apart(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	a := fresh("get")
	b := a + "All"
	require.NoError(t, r.Register(Within(t), Provider(a, 1), Provider(b, 2)))
	Follow(t, other, a).UntilPorts(1)
	Follow(t, other, b).UntilPorts(2)
}

func closes(t *testing.T, f Fixture) {
	r, other := f.New(t), f.open(t)
	m := fresh("get")
	require.NoError(t, r.Register(Within(t), Provider(m, 1)))
	w := Follow(t, other, m)
	w.UntilPorts(1)
	require.NoError(t, r.Close())
	w.UntilPorts()
}

func vanishes(t *testing.T, f Fixture) {
	if f.Abandon == nil {
		return
	}
	r, keeps, other := f.New(t), f.open(t), f.open(t)
	m := fresh("get")
	require.NoError(t, r.Register(Within(t), Provider(m, 1)))
	require.NoError(t, keeps.Register(Within(t), Provider(m, 2)))
	w := Follow(t, other, m)
	w.UntilPorts(1, 2)
	f.Abandon(t, r)
	w.UntilPorts(2)
	assert.Len(t, w.Gone(), 1)
}

func succeeds(t *testing.T, f Fixture) {
	if f.Abandon == nil {
		return
	}
	old, next, other := f.New(t), f.open(t), f.open(t)
	p := Provider(fresh("get"), 1)
	p.Instance = "old"
	require.NoError(t, old.Register(Within(t), p))
	w := Follow(t, other, p.Method)
	w.UntilPorts(1)
	f.Abandon(t, old)
	p.Instance = "new"
	require.NoError(t, next.Register(Within(t), p))
	w.Until("the new process alone", func(s abstract.Providers) bool { return len(s.List) == 1 && s.List[0].Instance == "new" })
}

func restarts(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	m, late := fresh("get"), fresh("late")
	require.NoError(t, r.Register(Within(t), Provider(m, 1), Provider(m, 2)))
	w := Follow(t, other, m)
	w.UntilPorts(1, 2)
	f.Restart(t)
	require.NoError(t, r.Register(Within(t), Provider(late, 3)), "it works again")
	Follow(t, other, late).UntilPorts(3)
	Follow(t, f.open(t), m).UntilPorts(1, 2) // for those who come now
	assert.Empty(t, w.Gone())
}

func pauses(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	m := fresh("get")
	require.NoError(t, r.Register(Within(t), Provider(m, 1), Provider(m, 2)))
	w := Follow(t, other, m)
	w.UntilPorts(1, 2)
	f.Pause(t)
	require.NoError(t, r.Register(Within(t), Provider(m, 3)))
	w.UntilPorts(1, 2, 3)
	Follow(t, f.open(t), m).UntilPorts(1, 2, 3)
	require.NoError(t, r.Unregister(Within(t), Provider(m, 1)))
	w.UntilPorts(2, 3) // the watch is right after it, too
	for _, p := range w.Gone() {
		assert.Equal(t, 1, p.Host.Port, "nobody else was ever gone")
	}
}

func meanwhile(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	m := fresh("get")
	require.NoError(t, r.Register(Within(t), Provider(m, 1), Provider(m, 2)))
	w := Follow(t, other, m)
	w.UntilPorts(1, 2)
	ended := make(chan error, 1)
	ctx := Within(t)
	f.Restart(t)
	go func() { ended <- r.Unregister(ctx, Provider(m, 1)) }()
	require.NoError(t, <-ended)
	w.UntilPorts(2)
}

func many(t *testing.T, f Fixture) {
	const clients, rounds = 4, 15
	m := fresh("get")
	watchers := []*Follower{Follow(t, f.open(t), m), Follow(t, f.open(t), m)}
	var ended sync.WaitGroup
	for c := range clients {
		r := f.open(t)
		ended.Go(func() {
			for i := range rounds {
				p := Provider(m, 100*(c+1)+i%3)
				assert.NoError(t, r.Register(Within(t), p))
				if i%2 == 0 {
					assert.NoError(t, r.Unregister(Within(t), p))
				}
			}
			assert.NoError(t, r.Register(Within(t), Provider(m, 100*(c+1)+99)))
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
		w.UntilPorts(want...)
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
	var watchers []*Follower
	for range watching {
		r := f.open(t)
		watchers = append(watchers, Follow(t, r, m), Follow(t, r, other))
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
			assert.NoError(t, r.Register(Within(t), Provider(m, base+stays)))
			on := map[string]map[int]bool{m: {base + stays: true}, other: {}}
			for range steps {
				method, port := []string{m, other}[chance.IntN(2)], base+chance.IntN(ports)
				p := Provider(method, port)
				p.Weight = 1 + chance.IntN(3)
				if on[method][port] = chance.IntN(3) > 0; on[method][port] {
					assert.NoError(t, r.Register(Within(t), p))
				} else {
					assert.NoError(t, r.Unregister(Within(t), p))
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
		w.UntilPorts(want[w.method]...)
		for _, p := range w.Gone() {
			assert.True(t, f.Bound || p.Host.Port%100 != stays, "%s was told offline, and never went", p.Host)
		}
	}
	late := f.open(t)
	for method, ports := range want {
		Follow(t, late, method).UntilPorts(ports...)
	}
}

// instances: who unregisters what another process has registered at the same address in
// the meantime does not take that away.
func instances(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	p := Provider(fresh("get"), 1)
	p.Instance = "old"
	require.NoError(t, r.Register(Within(t), p))
	q := p
	q.Instance = "new"
	require.NoError(t, f.open(t).Register(Within(t), q))
	w := Follow(t, other, p.Method)
	isNew := func(s abstract.Providers) bool {
		return slices.ContainsFunc(s.List, func(p abstract.Provider) bool { return p.Instance == "new" })
	}
	w.Until("the new one", isNew)
	require.NoError(t, r.Unregister(Within(t), p))
	list, err := f.open(t).Discover(Within(t), p.Method)
	require.NoError(t, err)
	require.True(t, isNew(abstract.Providers{List: list}), "it stays: %v", list)
}

// duplicates: providers are told apart by their address, too.
func duplicates(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	p := Provider(fresh("get"), 1)
	q := p
	q.Host.Port = 2
	require.NoError(t, r.Register(Within(t), p, q))
	w := Follow(t, other, p.Method)
	w.UntilPorts(1, 2)
	require.NoError(t, r.Unregister(Within(t), p))
	w.UntilPorts(2)
	require.NoError(t, f.open(t).Register(Within(t), p))
	w.UntilPorts(1, 2)
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
		p := Provider(fresh("get"), 1)
		change(&p)
		err := r.Register(Within(t), p)
		assert.True(t, errors.Is(err, abstract.ErrInvalidParams) || errors.Is(err, abstract.ErrInvalidMessage), "%s: %v", name, err)
	}
	p := Provider(fresh("get"), 1)
	require.NoError(t, r.Register(Within(t), p), "it goes on working")
}

// leaves: a method that was followed and left can be followed again, and again.
func leaves(t *testing.T, f Fixture) {
	r, other := f.open(t), f.open(t)
	m := fresh("get")
	for i := range 5 {
		require.NoError(t, r.Register(Within(t), Provider(m, i+1)))
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
		require.NoError(t, r.Register(Within(t), Provider(m, 100+i)))
		require.NoError(t, r.Unregister(Within(t), Provider(m, 100+i)))
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
	err := r.Register(ctx, Provider(fresh("get"), 1))
	require.ErrorIs(t, err, abstract.ErrCancelled)
}

func closed(t *testing.T, f Fixture) {
	r := f.New(t)
	require.NoError(t, r.Close())
	require.ErrorIs(t, r.Register(Within(t), Provider(fresh("get"), 1)), abstract.ErrDisconnected)
	_, err := r.Discover(Within(t), fresh("get"))
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
	case <-Within(t).Done():
		require.Fail(t, "the follower was never told", method)
		return nil
	}
}

// unaskable: names that no method can have are an error for who asks, too.
func unaskable(t *testing.T, f Fixture) {
	r := f.open(t)
	for _, name := range []string{"", strings.Repeat("x", 1000)} {
		_, err := r.Discover(Within(t), name)
		assert.True(t, errors.Is(err, abstract.ErrInvalidParams) || errors.Is(err, abstract.ErrInvalidMessage), "%d bytes: %v", len(name), err)
		err = refusedFollowing(t, r, name)
		assert.True(t, errors.Is(err, abstract.ErrInvalidParams) || errors.Is(err, abstract.ErrInvalidMessage), "%d bytes: %v", len(name), err)
	}
}
