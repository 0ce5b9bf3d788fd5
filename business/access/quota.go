package access

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
)

// Resource is what an identity has several of at a time.
type Resource uint8

// The resources.
const (
	Connections Resource = iota
	InFlight             // calls that are not answered yet
	Subscriptions
	Nodes
	resources // how many there are
)

// resourceWords is the key of a resource in a policy, how a refusal puts it, and
// after how long trying again makes sense when none is given back.
var resourceWords = [resources]struct {
	key, phrase string
	wait        time.Duration
}{
	Connections:   {"connections", "connections open; close one", time.Second},
	InFlight:      {"in_flight", "calls in flight; wait for one to end", 100 * time.Millisecond},
	Subscriptions: {"subscriptions", "subscriptions; cancel one", time.Second},
	Nodes:         {"nodes", "nodes; delete one", time.Second},
}

const (
	bytesKey = "bytes_per_second"
	burstKey = "burst_bytes"
)

// String returns the key of r in a policy, such as "in_flight".
func (r Resource) String() string {
	if r < resources {
		return resourceWords[r].key
	}
	return fmt.Sprintf("resource %d", uint8(r))
}

// Quota bounds what all peers of one identity use together. In a policy a key that
// is left out is no limit; 0 lets nothing through. What an identity does not say
// itself is the largest of what its groups say.
type Quota struct {
	most  [resources]limit
	bytes limit // per second
	burst limit // bytes at once; one second's worth unless given
}

// limit is a number that may be missing. The zero value is no limit.
type limit struct {
	given bool
	n     int64
}

// read reads the quota of a policy.
func (q *Quota) read(at string, value json.RawMessage) error {
	keys := map[string]reader{bytesKey: q.bytes.read, burstKey: q.burst.read}
	for r := range q.most {
		keys[Resource(r).String()] = q.most[r].read
	}
	if err := readObject(at, value, keys); err != nil {
		return err
	}
	if q.burst.given && !q.bytes.given {
		return fmt.Errorf("%s.%s: this belongs to %s, which is missing", at, burstKey, bytesKey)
	}
	return nil
}

func (l *limit) read(at string, value json.RawMessage) error {
	n, err := decode[int64](at, "a whole number from 0 up; leave the key out for no limit", value)
	if err == nil && n < 0 {
		err = fmt.Errorf("%s: want a whole number from 0 up; leave the key out for no limit", at)
	}
	*l = limit{given: true, n: n}
	return err
}

// or returns q with the largest of what the groups say where q says nothing.
func (q Quota) or(groups []*entry) Quota {
	out := q
	for _, g := range groups {
		for r := range q.most {
			out.most[r] = q.most[r].or(out.most[r], g.quota.most[r])
		}
		if !q.bytes.given { // rate and burst belong together
			if wider := (limit{}).or(out.bytes, g.quota.bytes); wider != out.bytes {
				out.bytes, out.burst = wider, g.quota.burst
			}
		}
	}
	return out
}

// or returns l if it is given, else the larger of two that are.
func (l limit) or(a, b limit) limit {
	switch {
	case l.given:
		return l
	case !a.given || b.given && b.n > a.n:
		return b
	}
	return a
}

// Account counts what the peers of one identity use. What is counted stays counted
// when the quota changes; the new one holds for what is asked from then on. Safe
// for concurrent use.
type Account struct {
	identity string
	quota    atomic.Pointer[Quota]
	used     [resources]atomic.Int64
	limited  atomic.Bool // there is a limit on bytes

	mu      sync.Mutex
	left    float64 // bytes that may pass now; below 0 after a large one
	updated time.Time
}

func (a *Account) limit(q Quota) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.quota.Load()
	a.quota.Store(&q)
	a.limited.Store(q.bytes.given)
	if before == nil || before.bytes != q.bytes || before.burst != q.burst {
		a.left, a.updated = q.bucket(), time.Time{}
	}
}

// bucket is how many bytes may pass at once.
func (q *Quota) bucket() float64 {
	if q.burst.given {
		return float64(q.burst.n)
	}
	return float64(q.bytes.n)
}

// Identity is whose account it is.
func (a *Account) Identity() string { return a.identity }

// Used is how many of a resource are taken.
func (a *Account) Used(r Resource) int64 { return a.used[r].Load() }

// Acquire takes one of a resource, or returns an Error of code Overloaded that
// names the quota and says when to try again; so do its Details, an object with
// quota, limit and retry_after_ms. Release gives it back.
func (a *Account) Acquire(r Resource) error {
	for {
		n := a.used[r].Load()
		if most := a.quota.Load().most[r]; most.given && n >= most.n {
			return a.full(r, most.n)
		}
		if a.used[r].CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

// Admit returns nil when an identity may have so many of a resource, that somebody
// else counts, or the Error that Acquire would return.
func (a *Account) Admit(r Resource, n int64) error {
	if most := a.quota.Load().most[r]; most.given && n > most.n {
		return a.full(r, most.n)
	}
	return nil
}

// Release gives back one that was acquired.
func (a *Account) Release(r Resource) {
	for {
		n := a.used[r].Load()
		if n <= 0 || a.used[r].CompareAndSwap(n, n-1) { // one release too many must not widen the quota
			return
		}
	}
}

// AcquireBytes lets n bytes pass, or returns an Error of code Overloaded as Acquire
// does. Bytes are never given back. A message larger than the burst passes when
// nothing else has lately, and what comes after it waits the longer.
func (a *Account) AcquireBytes(n int, now time.Time) error {
	if !a.limited.Load() {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.quota.Load()
	rate, most := float64(q.bytes.n), q.bucket()
	if passed := now.Sub(a.updated); a.updated.IsZero() {
		a.updated = now
	} else if passed > 0 {
		a.left, a.updated = min(a.left+rate*passed.Seconds(), most), now
	}
	need := min(float64(n), most)
	if a.left >= need && most > 0 {
		a.left -= float64(n)
		return nil
	}
	if rate == 0 || most == 0 {
		return a.tooFast(0, 0)
	}
	return a.tooFast(q.bytes.n, time.Duration((need-a.left)/rate*float64(time.Second)))
}

func (a *Account) full(r Resource, most int64) error {
	words := resourceWords[r]
	hint := fmt.Sprintf("%s, or try again in %v", words.phrase, words.wait)
	if most == 0 {
		hint, words.wait = strings.Split(words.phrase, ";")[0]+" allowed; ask the operator for more", 0
	}
	return a.overloaded(r.String(), most, words.wait, hint)
}

func (a *Account) tooFast(rate int64, wait time.Duration) error {
	wait = wait.Round(time.Millisecond) + time.Millisecond
	hint := fmt.Sprintf("bytes per second; try again in %v", wait)
	if rate == 0 {
		hint, wait = "bytes allowed; ask the operator for more", 0
	}
	return a.overloaded(bytesKey, rate, wait, hint)
}

func (a *Account) overloaded(quota string, most int64, wait time.Duration, hint string) error {
	e := abstract.Errorf(abstract.Overloaded, "identity %s is at its quota %s of %d %s", quote(a.identity), quota, most, hint)
	if wait > 0 {
		e.Details = fmt.Appendf(nil, `{"quota":%q,"limit":%d,"retry_after_ms":%d}`, quota, most, max(wait.Milliseconds(), 1))
	} else {
		e.Details = fmt.Appendf(nil, `{"quota":%q,"limit":%d}`, quota, most)
	}
	return e
}

// String says whose account it is and what it holds.
func (a *Account) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "account of %s:", a.identity)
	for r := range a.used {
		fmt.Fprintf(&b, " %v %d", Resource(r), a.used[r].Load())
	}
	return b.String()
}
