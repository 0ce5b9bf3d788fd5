// Package roster is what the drivers of registries have in common on the side of those
// who ask: it keeps a method's providers as the registry last said, holds on to those
// that have vanished while the registry was away, and tells followers what changed.
package roster

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
)

// Roster is what is known of one method's providers. Safe for concurrent use; make
// it with New, and Close it.
type Roster struct {
	mu        sync.Mutex
	known     bool
	said      []abstract.Provider // by the registry
	held      []held              // not said any more, and believed in for a while
	holding   *time.Timer         // when the first of them is to go; nil: there are none
	problem   error               // why there is no list yet
	followers map[*follower]struct{}
	ended     sync.WaitGroup
	closed    bool
	first     chan struct{} // closed when there is a list or a problem
}

// New makes a Roster that knows nothing yet.
func New() *Roster {
	return &Roster{followers: make(map[*follower]struct{}), first: make(chan struct{})}
}

// held is a provider that the registry does not name any more.
type held struct {
	abstract.Provider
	until time.Time
}

// Set takes the registry's list. Providers that have just vanished from it are held for
// so long before they count as gone; 0: not at all. Those that are held already are held
// as long as was said then, unless somebody else has their address now. The list must not
// be changed afterwards.
func (r *Roster) Set(list []abstract.Provider, hold time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	before, until := r.said, time.Now().Add(hold)
	r.said = list
	if hold > 0 || len(r.held) > 0 {
		there := make(map[abstract.Host]struct{}, len(list))
		for i := range list {
			there[list[i].Host] = struct{}{}
		}
		gone := func(h abstract.Host) bool { _, ok := there[h]; return !ok }
		r.held = slices.DeleteFunc(r.held, func(h held) bool { return !gone(h.Host) })
		for i := range before {
			if hold > 0 && gone(before[i].Host) {
				r.held = append(r.held, held{before[i], until})
			}
		}
	}
	r.known, r.problem = true, nil
	r.expire()
	r.answered()
	r.wake()
}

// expire lets go who was held for long enough, and comes back for the others. It is
// called with the lock held.
func (r *Roster) expire() {
	if r.holding != nil {
		r.holding.Stop()
		r.holding = nil
	}
	now := time.Now()
	r.held = slices.DeleteFunc(r.held, func(h held) bool { return !h.until.After(now) })
	if len(r.held) == 0 {
		return
	}
	next := slices.MinFunc(r.held, func(a, b held) int { return a.until.Compare(b.until) }).until
	r.holding = time.AfterFunc(next.Sub(now), r.release)
}

// release stops believing in who did not come back.
func (r *Roster) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.expire()
	r.wake()
}

// Fail says why the first question could not be answered yet. Once there is a list
// it is ignored: the last good one stays.
func (r *Roster) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known || r.closed {
		return
	}
	r.problem = err
	r.answered()
	r.wake()
}

func (r *Roster) answered() {
	select {
	case <-r.first:
	default:
		close(r.first)
	}
}

// List returns all providers, held ones included. To be called after Await; the error
// is why there is no list yet.
func (r *Roster) List() ([]abstract.Provider, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list(), r.problem
}

// list is what there is now; with the lock held.
func (r *Roster) list() []abstract.Provider { return append(slices.Clip(r.said), r.away()...) }

// away are those that are held; with the lock held.
func (r *Roster) away() []abstract.Provider {
	var list []abstract.Provider
	for _, h := range r.held {
		list = append(list, h.Provider)
	}
	return list
}

func (r *Roster) wake() {
	for f := range r.followers {
		f.wake()
	}
}

// Close ends the followers, and returns when no callback runs any more.
func (r *Roster) Close() {
	r.mu.Lock()
	r.closed = true
	if r.holding != nil {
		r.holding.Stop()
		r.holding = nil
	}
	for f := range r.followers {
		f.end()
	}
	r.mu.Unlock()
	r.ended.Wait()
}

// follower is somebody who is told of changes.
type follower struct {
	fn      func(abstract.Providers)
	changed chan struct{} // holds an element while there is something to look at
	done    chan struct{}
	once    sync.Once
	gone    chan struct{} // closed when fn will not be called again
}

func (f *follower) wake() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *follower) end() { f.once.Do(func() { close(f.done) }) }

// Follow is abstract.Discovery's.
func (r *Roster) Follow(fn func(abstract.Providers)) (stop func()) {
	f := &follower{fn: fn, changed: make(chan struct{}, 1), done: make(chan struct{}), gone: make(chan struct{})}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return func() {}
	}
	r.followers[f] = struct{}{}
	if r.known || r.problem != nil {
		f.wake()
	}
	r.ended.Go(func() { r.tell(f) })
	r.mu.Unlock()
	return func() {
		f.end()
		<-f.gone
	}
}

// Refuse is Follow where there is nothing to follow: fn is told why, once, on a goroutine
// of its own.
func Refuse(why error, fn func(abstract.Providers)) (stop func()) {
	var decided atomic.Bool
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if !decided.Swap(true) {
			fn(abstract.Providers{Err: why})
		}
	}()
	return func() {
		decided.Store(true)
		<-gone
	}
}

// tell calls the follower whenever something has changed for it.
func (r *Roster) tell(f *follower) {
	defer close(f.gone)
	defer func() {
		r.mu.Lock()
		delete(r.followers, f)
		r.mu.Unlock()
	}()
	var seen, away []abstract.Provider // what it was told last
	told := false
	for {
		select {
		case <-f.done:
			return
		case <-f.changed:
		}
		r.mu.Lock()
		list, held, err, known := r.list(), r.away(), r.problem, r.known
		r.mu.Unlock()
		switch {
		case !known:
			f.fn(abstract.Providers{Err: err})
		case !told || !slices.Equal(list, seen) || !slices.Equal(held, away):
			f.fn(abstract.Providers{List: list, Online: difference(list, seen), Offline: difference(seen, list), Held: held})
			told, seen, away = true, list, held
		}
	}
}

// difference returns what of a is not in b, by address and instance: a provider
// that has changed what it says of itself has neither come nor gone.
func difference(a, b []abstract.Provider) []abstract.Provider {
	type identity struct {
		host     abstract.Host
		instance string
	}
	there := make(map[identity]struct{}, len(b))
	for i := range b {
		there[identity{b[i].Host, b[i].Instance}] = struct{}{}
	}
	var only []abstract.Provider
	for _, p := range a {
		if _, ok := there[identity{p.Host, p.Instance}]; !ok {
			only = append(only, p)
		}
	}
	return only
}
