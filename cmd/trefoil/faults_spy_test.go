//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/message"
)

// lateAfter is how long after a provider's loss was seen calls may still go to it: a thread
// that has chosen it may be held up alone, which the pulse does not see. Who does not care
// for the loss tries again and again, and is seen later than that.
const lateAfter = time.Second

// spy is a transport that sees for whom a client opens its connections, and who
// answers on them.
type spy struct {
	pulse  *pulse
	blind  bool // planted: HELLO does not say who is meant
	losses bool // who loses a connection is gone

	mu    sync.Mutex
	lost  map[string]loss // by address: of its provider
	ended map[string]loss // by instance: the same
	past  map[string]bool // instances whose address has been given to another one
	seen  sighting
}

// visit is a dial or a greeting for somebody who was known to be gone.
type visit struct {
	whom, text string
	at         time.Time
}

// sighting is what a spy has counted.
type sighting struct {
	dials   int
	late    []visit // dials and greetings for who was gone, as the broker had said
	trials  []visit // those for who had only been lost: the caller finds out that it is gone
	unnamed int     // greetings that did not say who was meant
	refused int     // greetings that were answered with WrongInstance
	strange int     // calls that were answered by another instance than the one that was meant
}

func newSpy(t *testing.T) *spy {
	return &spy{pulse: newPulse(t), lost: map[string]loss{}, ended: map[string]loss{}, past: map[string]bool{}}
}

// loss is when and how a provider was seen to be gone.
type loss struct {
	at   time.Time
	up   time.Duration // how long this process had been held up before, in all
	told bool          // by the broker; else a connection to it was lost
}

// since is how long ago it was, less what this process was held up meanwhile.
func (l loss) since(p *pulse) time.Duration { return time.Since(l.at) - (p.heldUp() - l.up) }

// gone notes that a provider is gone.
func (s *spy) gone(addr, instance string, told bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, known := s.ended[instance]; instance == "" || known && (before.told || !told) {
		return
	}
	s.ended[instance] = loss{time.Now(), s.pulse.heldUp(), told}
	if !s.past[instance] {
		s.lost[addr] = s.ended[instance]
	}
}

// taken notes that the address of an instance is about to be that of another one.
func (s *spy) taken(addr, instance string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past[instance] = true
	delete(s.lost, addr)
}

// begun notes that somebody new has begun at an address since then, which the system has
// perhaps chosen for the second time.
func (s *spy) begun(addr string, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lost, addr)
	theirs := func(v visit) bool { return v.whom == addr && v.at.After(since) }
	s.seen.late = slices.DeleteFunc(s.seen.late, theirs)
	s.seen.trials = slices.DeleteFunc(s.seen.trials, theirs)
}

// look counts what goes to somebody who is gone. It is called with the lock held.
func (s *spy) look(at map[string]loss, whom, what string) {
	l, gone := at[whom]
	if !gone || l.since(s.pulse) <= lateAfter {
		return
	}
	v := visit{whom, fmt.Sprintf("%s %s %v after it was lost", what, whom, l.since(s.pulse)), time.Now()}
	if l.told {
		s.seen.late = append(s.seen.late, v)
	} else {
		s.seen.trials = append(s.seen.trials, v)
	}
}

func (s *spy) transport(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
	open := cfg.OnOpen
	begun := new(atomic.Pointer[time.Time])
	cfg.OnOpen = func(bc abstract.BaseConnection) abstract.Receiver {
		c := &spiedConn{BaseConnection: bc, spy: s, addr: addr, begun: *begun.Load()}
		c.Receiver = open(c)
		return c
	}
	return spiedClient{client.StandardNet(addr, cfg), s, addr, begun}
}

type spiedClient struct {
	abstract.BaseClient
	spy   *spy
	addr  string
	begun *atomic.Pointer[time.Time]
}

func (c spiedClient) Connect(ctx context.Context) (abstract.BaseConnection, error) {
	now := time.Now()
	c.begun.Store(&now)
	c.spy.mu.Lock()
	c.spy.seen.dials++
	c.spy.look(c.spy.lost, c.addr, "connecting to")
	c.spy.mu.Unlock()
	return c.BaseClient.Connect(ctx)
}

// spiedConn is a connection and its receiver.
type spiedConn struct {
	abstract.BaseConnection
	abstract.Receiver
	spy   *spy
	addr  string
	begun time.Time // when it was dialled

	mu    sync.Mutex
	meant string
}

func (c *spiedConn) Send(m abstract.BaseMessage) error {
	if hello, ok := m.(*message.Hello); ok {
		m = c.greets(hello)
	}
	return c.BaseConnection.Send(m)
}

func (c *spiedConn) greets(hello *message.Hello) *message.Hello {
	c.mu.Lock()
	c.meant = hello.Instance
	c.mu.Unlock()
	c.spy.mu.Lock()
	defer c.spy.mu.Unlock()
	if hello.Instance == "" {
		c.spy.seen.unnamed++
	}
	if l, gone := c.spy.ended[hello.Instance]; gone && c.begun.Sub(l.at) > lateAfter { // the others were on their way
		c.spy.look(c.spy.ended, hello.Instance, "greeting")
	}
	if c.spy.blind {
		anybody := *hello
		anybody.Instance = ""
		return &anybody
	}
	return hello
}

func (c *spiedConn) OnMessages(batch []abstract.BaseMessage) {
	for _, m := range batch {
		switch m := m.(type) {
		case *message.HelloResponse:
			if m.Code == abstract.WrongInstance {
				c.spy.count(&c.spy.seen.refused)
			}
		case *message.RpcResponse:
			var who whoResult
			if m.Code == abstract.OK && json.Unmarshal(m.Result, &who) == nil && who.Instance != c.whom() {
				c.spy.count(&c.spy.seen.strange)
			}
		}
	}
	c.Receiver.OnMessages(batch)
}

func (c *spiedConn) whom() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.meant
}

func (c *spiedConn) OnClose(err error) {
	if c.spy.losses {
		c.spy.gone(c.addr, c.whom(), false)
	}
	c.Receiver.OnClose(err)
}

func (s *spy) count(n *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
}

// sum is what several spies have seen together.
func sum(callers []*caller) (all sighting) {
	for _, c := range callers {
		c.spy.mu.Lock()
		all.dials += c.spy.seen.dials
		all.unnamed += c.spy.seen.unnamed
		all.refused += c.spy.seen.refused
		all.strange += c.spy.seen.strange
		all.late = append(all.late, c.spy.seen.late...)
		all.trials = append(all.trials, c.spy.seen.trials...)
		c.spy.mu.Unlock()
	}
	return all
}

// nobodyElse holds what the spies have seen against what must not be. A caller that has
// lost a connection and has not heard from the broker yet, as on a machine with far too
// much to do, may try whether the provider is still there: that is shown, not judged.
func nobodyElse(t *testing.T, callers []*caller) {
	t.Helper()
	all := sum(callers)
	t.Logf("%d connections tried, %d of them refused because another instance was there; later than %v after the loss: %d when the broker had told of it, %d to see whether it is one",
		all.dials, all.refused, lateAfter, len(all.late), len(all.trials))
	assert.Zero(t, all.unnamed, "connections that do not say whom they are meant for")
	assert.Zero(t, all.strange, "calls that were meant for one instance and served by another one")
	assert.Empty(t, all.late, "calls went to a provider that was known to be gone")
}
