package registrytest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// Provider is one of a method, with a port of its own.
func Provider(method string, port int) abstract.Provider {
	return abstract.Provider{Method: method, Host: abstract.Host{IP: "10.0.0.1", Port: port}, Instance: fmt.Sprintf("i%d", port), Hello: true}
}

// Within is a context that lasts far longer than anything takes.
func Within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// Follower notes everything that a registry tells of a method, and looks whether it fits
// together. Make it with Follow.
type Follower struct {
	t      testing.TB
	method string
	mu     sync.Mutex
	all    []abstract.Providers
	more   chan struct{}
}

// Follow follows a method until the end of the test.
func Follow(t testing.TB, r abstract.Discovery, method string) *Follower {
	t.Helper()
	f := &Follower{t: t, method: method, more: make(chan struct{}, 1)}
	stop := r.Follow(method, func(p abstract.Providers) {
		f.mu.Lock()
		f.checks(p)
		f.all = append(f.all, p)
		f.mu.Unlock()
		select {
		case f.more <- struct{}{}:
		default:
		}
	})
	t.Cleanup(stop)
	return f
}

// checks looks whether what came and went makes the list of what was told before. It is
// called with the lock held.
func (f *Follower) checks(p abstract.Providers) {
	if p.Err != nil {
		return
	}
	id := func(p abstract.Provider) string { return p.Host.String() + p.Instance }
	there := make(map[string]bool)
	if n := len(f.all); n > 0 {
		for _, q := range f.all[n-1].List {
			there[id(q)] = true
		}
	}
	for _, q := range p.Offline {
		assert.True(f.t, there[id(q)], "%s went offline and was not there", q.Host)
		delete(there, id(q))
	}
	for _, q := range p.Online {
		assert.False(f.t, there[id(q)], "%s came online and was there", q.Host)
		there[id(q)] = true
	}
	list := make(map[string]bool)
	for _, q := range p.List {
		list[id(q)] = true
	}
	assert.Equal(f.t, there, list, "the list is not what came and went")
}

// Until waits for a state that is as wanted.
func (f *Follower) Until(what string, wanted func(abstract.Providers) bool) abstract.Providers {
	f.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		f.mu.Lock()
		n := len(f.all)
		var last abstract.Providers
		if n > 0 {
			last = f.all[n-1]
		}
		f.mu.Unlock()
		if n > 0 && last.Err == nil && wanted(last) {
			return last
		}
		select {
		case <-f.more:
		case <-late.C:
			require.Failf(f.t, "the follower never saw "+what, "its last state is %+v", last)
		}
	}
}

// UntilPorts waits until the providers at these ports are there, and no others.
func (f *Follower) UntilPorts(ports ...int) abstract.Providers {
	f.t.Helper()
	return f.Until(fmt.Sprintf("ports %v", ports), func(p abstract.Providers) bool { return equalPorts(p.List, ports) })
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

// Gone returns who was told gone.
func (f *Follower) Gone() []abstract.Provider {
	f.mu.Lock()
	defer f.mu.Unlock()
	var gone []abstract.Provider
	for _, p := range f.all {
		gone = append(gone, p.Offline...)
	}
	return gone
}
