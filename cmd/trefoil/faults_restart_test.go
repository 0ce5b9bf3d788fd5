//go:build unix

package main

import (
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// TestRestartsOfProvidersFailNoIdempotentCall ends providers, killed and in order by
// turns, up to four of six at once, while 64 callers call them. Now and then
// a new one takes over the port of one that has just gone. TREFOIL_LONG=1 ends 1,000.
func TestRestartsOfProvidersFailNoIdempotentCall(t *testing.T) {
	_, broker := startFastBroker(t, anyPort)
	f := newFleet(t, broker, fleetSize)
	callers := newCallers(t, 4, broker)
	for _, c := range callers {
		c.spy.losses = true
		c.knows(t, f.live)
	}
	l := startLoad(t, callers, client.Idempotent())
	restarts := 0
	for round := 0; restarts < long(40, 1000); round++ {
		n := 1 + round%(fleetSize-fleetLeast)
		sig := []os.Signal{syscall.SIGKILL, syscall.SIGTERM}[round/(fleetSize-fleetLeast)%2]
		f.restart(callers, n, round%3 == 0, sig)
		restarts += n
		for _, c := range callers {
			c.knows(t, f.live)
		}
		l.more(workersOfLoad)
	}
	l.noneFailed()
	t.Logf("%d restarts, %d by SIGKILL and %d by SIGTERM, %d ports taken over", restarts, f.by[syscall.SIGKILL], f.by[syscall.SIGTERM], f.reused)
	nobodyElse(t, callers)
	assert.Positive(t, l.again.Load(), "no call was interrupted: nothing was tested")
}

// TestKillsFailCallsThatAreNotIdempotent is the test above where it has to fail: the
// load notices what is lost, and the errors say what is known of it.
func TestKillsFailCallsThatAreNotIdempotent(t *testing.T) {
	_, broker := startFastBroker(t, anyPort)
	f := newFleet(t, broker, 4)
	callers := newCallers(t, 1, broker)
	callers[0].knows(t, f.live)
	l := startLoad(t, callers)
	for range 20 {
		if l.failed.Load() > 0 {
			break
		}
		f.restart(callers, 2, false, syscall.SIGKILL)
		callers[0].knows(t, f.live)
		l.more(workersOfLoad)
	}
	l.halt()
	require.Positive(t, l.failed.Load())
	for _, e := range l.errs {
		assert.Equal(t, abstract.Disconnected, e.Code)
		assert.Equal(t, abstract.SentUnknown, e.Sent)
		assert.NotEmpty(t, e.Instance)
		assert.NotZero(t, e.Attempts)
	}
}

// inTurn asks each provider, whatever became of the last call there.
type inTurn struct{ next atomic.Uint64 }

func (p *inTurn) Pick(list []abstract.Provider) int { return int(p.next.Add(1) % uint64(len(list))) }

// takeover lets another instance begin at the address of a killed one while the caller
// still believes in the old one, as nothing of the broker reaches it, and returns
// when the caller has gone there, or has tried to.
func takeover(t *testing.T, f *fleet, c *caller, notices *blackHole, l *pressure) {
	t.Helper()
	notices.swallow()
	visits := func() int {
		all := sum([]*caller{c})
		return all.refused + all.strange
	}
	before := visits()
	f.restart([]*caller{c}, 1, true, syscall.SIGKILL)
	require.Eventually(t, func() bool { return visits() > before }, patience, time.Millisecond)
	l.more(2 * workersOfLoad)
	notices.lift()
	c.knows(t, f.live)
}

// takeovers does it a few times.
func takeovers(t *testing.T, blind bool) (*caller, *pressure) {
	t.Helper()
	_, broker := startFastBroker(t, anyPort)
	f := newFleet(t, broker, 3)
	notices := newBlackHole(t, broker)
	c := newCaller(t, notices.addr(), client.WithPicker(func() abstract.Picker { return new(inTurn) }), client.WithBackoff(10*time.Millisecond, 50*time.Millisecond),
		client.WithRetryBudget(client.RetryBudget{Off: true})) // it goes to the one that is gone on purpose, and how often depends on the machine
	c.spy.blind = blind
	c.knows(t, f.live)
	l := startLoad(t, []*caller{c}, client.Idempotent())
	for range long(4, 50) {
		takeover(t, f, c, notices, l)
	}
	return c, l
}

// TestNoCallIsServedByAnotherInstanceThanTheOneMeant has a caller go to a port that
// belongs to another process by now.
func TestNoCallIsServedByAnotherInstanceThanTheOneMeant(t *testing.T) {
	c, l := takeovers(t, false)
	l.noneFailed()
	all := sum([]*caller{c})
	t.Logf("%d connections tried, %d refused because another instance was there, %d calls served by another one", all.dials, all.refused, all.strange)
	assert.Zero(t, all.unnamed, "connections that do not say whom they are meant for")
	assert.Zero(t, all.strange, "calls that were meant for one instance and served by another one")
	assert.GreaterOrEqual(t, all.refused, long(4, 50), "a caller that goes to a port of another instance is refused")
}

// TestCallsReachAnotherInstanceWhenNobodyAsksForOne plants the fault that the test
// above is there to find.
func TestCallsReachAnotherInstanceWhenNobodyAsksForOne(t *testing.T) {
	c, l := takeovers(t, true)
	l.noneFailed()
	assert.Positive(t, sum([]*caller{c}).strange)
}

// TestRollingRestartFailsNoCall restarts every provider, in order, then the broker, in
// order and by SIGKILL, then the providers again, while 64 callers make calls that
// must not be made twice.
func TestRollingRestartFailsNoCall(t *testing.T) {
	data := t.TempDir()
	process, broker := startFastBroker(t, anyPort, "--data", data)
	f := newFleet(t, broker, 4)
	callers := newCallers(t, 4, broker)
	for _, c := range callers {
		c.knows(t, f.live)
	}
	l := startLoad(t, callers)
	roll := func() {
		for i := range f.live {
			f.restart(callers, 1, i%2 == 0, syscall.SIGTERM)
			for _, c := range callers {
				c.knows(t, f.live)
			}
			l.more(workersOfLoad)
		}
	}
	for range long(1, 10) {
		roll()
		for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			for _, s := range f.spare {
				s.dialled()
			}
			before := offlines(callers)
			process.signal(sig)
			process.wait()
			process, _ = startFastBroker(t, broker, "--data", data)
			for _, c := range callers {
				require.Eventually(t, c.conn.Connected, patience, time.Millisecond)
			}
			registeredAgain(t, broker, f.live)
			l.more(4 * workersOfLoad)
			assert.Equal(t, before, offlines(callers), "a provider that was there all the time was announced OFFLINE")
		}
		roll()
	}
	l.noneFailed()
}

func offlines(callers []*caller) (n int64) {
	for _, c := range callers {
		n += c.offline.Load()
	}
	return n
}

// registeredAgain waits until a broker knows servants.
func registeredAgain(t *testing.T, broker string, servants []*servant) {
	t.Helper()
	newCaller(t, broker).knows(t, servants)
}
