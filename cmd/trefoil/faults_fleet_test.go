//go:build unix

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// servant is a servantHelper as the test sees it.
type servant struct {
	*proc
	addr     string
	instance string
	ready    bool // it has dialled the broker
}

// How often servants ping. Five that are missed end a connection: on a busy machine that
// must not happen by itself, and where it is to happen it need not take minutes.
const (
	calmPing  = "30s"
	quickPing = "1s"
)

// standby starts a servant that has dialled the broker and serves nothing yet.
func standby(t *testing.T, broker, ping string) *servant {
	t.Helper()
	s := &servant{proc: startHelper(t, "servant", broker, ping)}
	s.oneOfMany = true
	return s
}

// dialled waits until a servant has dialled the broker.
func (s *servant) dialled() {
	s.t.Helper()
	if !s.ready {
		require.Equal(s.t, "ready", s.line(s.out))
		s.ready = true
	}
}

// serve lets a servant begin, at an address and perhaps registered at another one.
func (s *servant) serve(where ...string) *servant {
	s.t.Helper()
	s.dialled()
	_, err := fmt.Fprintln(s.stdin, strings.Join(where, " "))
	require.NoError(s.t, err)
	words := strings.Fields(s.line(s.out))
	require.Equal(s.t, "providing", words[0], words)
	s.addr, s.instance = words[1], words[2]
	return s
}

// anyPort lets the system choose.
const anyPort = "127.0.0.1:0"

// startServants starts servants that serve.
func startServants(t *testing.T, broker string, n int, ping string) []*servant {
	t.Helper()
	list := make([]*servant, n)
	for i := range list {
		list[i] = standby(t, broker, ping)
	}
	for _, s := range list {
		s.serve(anyPort)
	}
	return list
}

// startFastBroker starts a broker without the race detector.
func startFastBroker(t *testing.T, listen string, args ...string) (p *proc, addr string) {
	t.Helper()
	p = startCommand(t, exec.Command(fastBinary(t), append([]string{"broker", "--listen", listen, "--log-level", "error"}, args...)...))
	return p, strings.TrimPrefix(p.line(p.out), "listening on ")
}

// fleet is servants that are restarted one after the other, or several at once.
type fleet struct {
	t      *testing.T
	broker string
	live   []*servant
	spare  []*servant // that have not begun
	by     map[os.Signal]int
	reused int
}

const (
	fleetSize  = 6
	fleetLeast = 2 // that are left at every instant
)

func newFleet(t *testing.T, broker string, n int) *fleet {
	t.Helper()
	f := &fleet{t: t, broker: broker, live: startServants(t, broker, n, calmPing), by: map[os.Signal]int{}}
	for range n - fleetLeast {
		f.spare = append(f.spare, standby(t, broker, calmPing))
	}
	return f
}

// restart ends n servants, and lets as many new ones begin, one of them perhaps where
// another one just was.
func (f *fleet) restart(callers []*caller, n int, reuse bool, sig os.Signal) {
	f.t.Helper()
	rand.Shuffle(len(f.live), func(i, j int) { f.live[i], f.live[j] = f.live[j], f.live[i] })
	victims := f.live[:n]
	for _, v := range victims {
		v.signal(sig)
	}
	for _, v := range victims {
		v.wait()
	}
	f.by[sig] += n
	for i, v := range victims {
		next := f.spare[0]
		f.spare = append(f.spare[1:], standby(f.t, f.broker, calmPing))
		where := anyPort
		if reuse && i == 0 {
			where = v.addr
			f.reused++
			for _, c := range callers {
				c.spy.taken(v.addr, v.instance)
			}
		}
		since := time.Now()
		victims[i] = next.serve(where)
		for _, c := range callers {
			c.spy.begun(next.addr, since)
		}
	}
}
