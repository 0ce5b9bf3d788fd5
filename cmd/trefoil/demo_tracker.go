package main

import (
	"context"
	"errors"
	"sync"

	"trefoil/abstract"
)

// tracker is the demo's Picker: it gives calls to the providers in turn, and by
// that and their answers knows how many calls are in flight on each. Safe for
// concurrent use.
type tracker struct {
	mu       sync.Mutex
	turn     int
	picked   map[string]int // attempts, by the provider's address
	answered map[string]int
	aim      string // who gets the next call, unless empty
	posting  bool   // a call is being handed to the client
	finished bool   // the last call was posted

	changed chan struct{} // holds an element when something changed; for one waiter
}

var _ abstract.Picker = (*tracker)(nil)

func newTracker() *tracker {
	return &tracker{picked: make(map[string]int), answered: make(map[string]int), changed: make(chan struct{}, 1)}
}

// Pick chooses the next one in turn.
func (t *tracker) Pick(list []abstract.Provider) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn++
	chosen := t.turn % len(list)
	for i, p := range list {
		if t.aim != "" && p.Host.String() == t.aim {
			chosen, t.aim = i, ""
			break
		}
	}
	t.picked[list[chosen].Host.String()]++
	t.notify()
	return chosen
}

// answer notes that a provider has answered.
func (t *tracker) answer(addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answered[addr]++
	t.notify()
}

// aimAt gives the next call to a provider.
func (t *tracker) aimAt(addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.aim = addr
}

// post runs fn, which hands a call to the client.
func (t *tracker) post(fn func()) {
	t.setPosting(true)
	fn()
	t.setPosting(false)
}

func (t *tracker) setPosting(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.posting = on
	t.notify()
}

func (t *tracker) notify() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// answeredBy is how many calls a provider has answered.
func (t *tracker) answeredBy(addr string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.answered[addr]
}

// busiest is the provider with the most calls in flight, of those given.
func (t *tracker) busiest(processes []*process) *process {
	t.mu.Lock()
	defer t.mu.Unlock()
	most := processes[0]
	for _, p := range processes[1:] {
		if t.picked[p.addr]-t.answered[p.addr] > t.picked[most.addr]-t.answered[most.addr] {
			most = p
		}
	}
	return most
}

// waitBusy waits until a provider that does not answer any more, and had been
// given base attempts when it ceased to, was given want more; or fewer, when
// nothing else is in flight. Those calls have been sent.
func (t *tracker) waitBusy(ctx context.Context, addr string, base, want int) error {
	for {
		busy, hopeless := t.busy(addr, base, want)
		if busy {
			return nil
		}
		if hopeless {
			return errNotBusy
		}
		select {
		case <-t.changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// errNotBusy says that all calls were answered before their provider was killed.
var errNotBusy = errors.New("no call stayed in flight; run the demo again, or on more files")

func (t *tracker) busy(addr string, base, want int) (busy, hopeless bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := 0
	for a := range t.picked {
		all += t.picked[a] - t.answered[a]
	}
	here, fresh := t.picked[addr]-t.answered[addr], t.picked[addr]-base
	busy = fresh >= want || fresh > 0 && here > 0 && here == all && !t.posting
	return busy, t.finished && all == 0
}

// finish says that no further call will be posted.
func (t *tracker) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.finished = true
	t.notify()
}

// attempts is how many attempts a provider was given so far, and how many of
// them it has not answered.
func (t *tracker) attempts(addr string) (given, open int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.picked[addr], t.picked[addr] - t.answered[addr]
}
