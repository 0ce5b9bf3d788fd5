//go:build unix

package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// TestCallsGoOnWhileTheBrokerIsDead kills a broker, with and without a memory,
// for a minute with TREFOIL_LONG=1.
func TestCallsGoOnWhileTheBrokerIsDead(t *testing.T) {
	for name, args := range map[string][]string{"memory": nil, "data": {"--data", t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			process, broker := startFastBroker(t, anyPort, args...)
			servants := startServants(t, broker, fleetSize, calmPing)
			callers := newCallers(t, 4, broker)
			for _, c := range callers {
				c.knows(t, servants)
			}
			l := startLoad(t, callers)
			process.signal(syscall.SIGKILL)
			process.wait()
			before := l.ended.Load()
			l.lasts(time.Duration(long(5, 60)) * time.Second)
			t.Logf("%d calls while there was no broker", l.ended.Load()-before)
			assert.Zero(t, l.failed.Load(), "calls failed: %s", l.reasons())
			startFastBroker(t, broker, args...)
			for _, c := range callers {
				require.Eventually(t, c.conn.Connected, patience, time.Millisecond)
				c.knows(t, servants)
			}
			registeredAgain(t, broker, servants)
			l.more(10 * workersOfLoad)
			l.noneFailed()
			assert.Zero(t, offlines(callers), "providers that were there all the time were announced OFFLINE")
			for _, s := range servants {
				assert.Positive(t, l.answered(s.instance))
			}
		})
	}
}

// TestThousandsOfClientsComeBack restarts a broker under 500 clients that have all
// registered something; 5,000 with TREFOIL_LONG=1. It takes fewer at once than there
// are, and tells the others when to come again.
func TestThousandsOfClientsComeBack(t *testing.T) {
	const processes = 2
	conns := long(250, 2500)
	process, broker := startFastBroker(t, anyPort, "--accept-rate", "0")
	var helpers []*proc
	for range processes {
		p := startHelper(t, "providers", broker, strconv.Itoa(conns), "1")
		require.Equal(t, "registered", p.line(p.out))
		helpers = append(helpers, p)
	}
	_, nodes := dialBroker(t, broker, client.WithTimeout(patience))
	hinted := 0
	for range long(1, 3) {
		process.signal(syscall.SIGKILL)
		process.wait()
		process, _ = startFastBroker(t, broker, "--accept-rate", strconv.Itoa(processes*conns/10))
		begun := time.Now()
		require.Eventually(t, func() bool { return countProviders(t, nodes) == processes*conns }, patience, 50*time.Millisecond)
		before, plain := hinted, 0
		hinted = 0
		for _, p := range helpers {
			_, err := io.WriteString(p.stdin, "\n")
			require.NoError(t, err)
			var a, b int
			_, err = fmt.Sscan(p.line(p.out), &a, &b)
			require.NoError(t, err)
			hinted, plain = hinted+a, plain+b
		}
		t.Logf("%d clients are back, with what they had registered, %v after the broker; it said %d times when to come again", processes*conns, time.Since(begun), hinted-before)
		assert.Greater(t, hinted, before, "nobody was turned away")
		assert.Zero(t, plain, "greetings that were refused without a hint")
	}
}

// TestHalfOpenProviderLosesNothingButItsOwnCalls puts a provider behind a hole that
// nothing comes out of, without any connection being closed. Calls in the hole end
// when pings are missed; the idempotent ones go elsewhere then.
func TestHalfOpenProviderLosesNothingButItsOwnCalls(t *testing.T) {
	_, broker := startFastBroker(t, anyPort)
	servants := startServants(t, broker, 3, calmPing)
	far := standby(t, broker, quickPing)
	hole := newBlackHole(t, "")
	far.serve(anyPort, hole.addr())
	hole.lead(far.addr)
	callers := newCallers(t, 2, broker)
	for _, c := range callers {
		c.knows(t, append(slices.Clip(servants), far))
	}
	harmless := startLoad(t, callers[:1], client.Idempotent())
	once := startLoad(t, callers[1:])
	both := []*pressure{harmless, once}
	for _, l := range both {
		answers(t, l, far)
	}
	for range long(1, 3) { // each time it is left out for longer
		dials, failed := sum(callers).dials, once.failed.Load()
		hole.swallow()
		for _, l := range both {
			for _, s := range servants {
				answers(t, l, s)
			}
			l.more(10 * workersOfLoad)
		}
		require.Eventually(t, func() bool { return sum(callers).dials > dials }, patience, time.Millisecond, "no connection to the hole was given up")
		for _, l := range both {
			l.more(10 * workersOfLoad)
		}
		failed = once.failed.Load() - failed
		t.Logf("%d calls failed of those that were in the hole: %s", failed, once.reasons())
		assert.LessOrEqual(t, failed, int64(workersOfLoad), "more than were on their way when it opened")
		hole.lift()
		failed = once.failed.Load()
		for _, l := range both {
			answers(t, l, far)
			l.more(10 * workersOfLoad)
		}
		assert.Equal(t, failed, once.failed.Load(), "calls failed after the hole was closed: %s", once.reasons())
	}
	for _, e := range once.errs {
		assert.NotEqual(t, abstract.SentNo, e.Sent, "what was not sent goes elsewhere")
		assert.Equal(t, hole.addr(), e.Instance)
	}
	harmless.noneFailed()
}

// answers waits until a servant answers calls.
func answers(t *testing.T, l *pressure, s *servant) {
	t.Helper()
	before := l.answered(s.instance)
	require.Eventually(t, func() bool { return l.answered(s.instance) > before }, patience, time.Millisecond, "it answers no calls")
}

// TestStoppedProviderIsLeftAloneAndComesBack stops a provider's process, with calls in
// it and while its connections stay open, and lets it go on. Calls in it wait until
// its connection is given up; those that are hedged are done by somebody else before,
// as far as the budget of hedging goes.
func TestStoppedProviderIsLeftAloneAndComesBack(t *testing.T) {
	_, broker := startFastBroker(t, anyPort, "--session-interval", "600ms", "--session-misses", "5")
	servants := startServants(t, broker, 4, quickPing)
	callers := newCallers(t, 2, broker)
	know := func(list []*servant) {
		for _, c := range callers {
			c.knows(t, list)
		}
	}
	know(servants)
	patient := startLoad(t, callers[:1], client.Idempotent())
	hedged := startLoad(t, callers[1:], client.Idempotent(), client.HedgeAfter(50*time.Millisecond))
	both := []*pressure{patient, hedged}
	for round := range long(1, 20) {
		victim := servants[round%len(servants)]
		for _, l := range both {
			answers(t, l, victim)
		}
		victim.signal(syscall.SIGSTOP)
		know(slices.DeleteFunc(slices.Clone(servants), func(s *servant) bool { return s == victim })) // the broker has heard nothing of it for too long
		for _, l := range both {
			l.more(10 * workersOfLoad)
		}
		victim.signal(syscall.SIGCONT)
		know(servants)
		for _, l := range both {
			answers(t, l, victim)
		}
	}
	for _, l := range both {
		l.noneFailed()
	}
	assert.Positive(t, hedged.again.Load(), "nothing was hedged")
}
