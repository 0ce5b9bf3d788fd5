package peer_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/peer"
	"trefoil/concrete/message"
)

// watch ticks p every quarter of a second until it is given up, and returns after
// how long that was, and when it was pinged.
func watch(p *peer.Peer, from, until time.Duration) (gone time.Duration, pings []time.Duration) {
	for at := from; at <= until; at += 250 * time.Millisecond {
		v := p.Tick(epoch.Add(at))
		if v.Reply != nil {
			pings = append(pings, at)
		}
		if v.Close != nil {
			return at, pings
		}
	}
	return 0, pings
}

func seconds(n ...int) (list []time.Duration) {
	for _, v := range n {
		list = append(list, time.Duration(v)*time.Second)
	}
	return list
}

func TestSilentPeerIsPingedAndGivenUp(t *testing.T) {
	for name, p := range map[string]*peer.Peer{"server's end": newServer(t, true), "client's end": newClient(t, true)} {
		t.Run(name, func(t *testing.T) {
			gone, pings := watch(p, 0, time.Minute)
			assert.Equal(t, seconds(2, 4, 6, 8), pings, "one in every interval")
			assert.Equal(t, 10*time.Second, gone)
			assert.Equal(t, peer.Verdict{}, p.Tick(epoch.Add(time.Hour)), "once")
			assert.True(t, p.Modern())
		})
	}
}

func TestHalfOpenConnectionIsNamed(t *testing.T) {
	p := newServer(t, true)
	for at := time.Duration(0); at < 10*time.Second; at += time.Second {
		require.NoError(t, p.Tick(epoch.Add(at)).Close)
	}
	err := p.Tick(epoch.Add(10 * time.Second)).Close
	require.ErrorIs(t, err, abstract.ErrDisconnected)
	assert.Contains(t, err.Error(), "half-open: nothing was heard from the peer for 10s")
}

func TestPingsDiffer(t *testing.T) {
	p := newServer(t, true)
	first := p.Tick(epoch.Add(2 * time.Second)).Reply
	second := p.Tick(epoch.Add(4 * time.Second)).Reply
	require.IsType(t, &message.Ping{}, first)
	require.IsType(t, &message.Ping{}, second)
	assert.NotEqual(t, first.ID(), second.ID())
}

func TestAnythingHeardIsASignOfLife(t *testing.T) {
	signs := map[string]func(*peer.Peer, time.Time){
		"a pong":            func(p *peer.Peer, now time.Time) { p.Receive(parse(t, abstract.Pong, `{}`), now) },
		"a response":        func(p *peer.Peer, now time.Time) { p.Receive(parse(t, abstract.RspRPC, `{"rcode":0}`), now) },
		"an unknown type":   func(p *peer.Peer, now time.Time) { p.Receive(parse(t, 99, `{}`), now) },
		"part of a message": func(p *peer.Peer, now time.Time) { p.Heard(now) },
	}
	for name, sign := range signs {
		t.Run(name, func(t *testing.T) {
			p := newServer(t, true)
			gone, pings := watch(p, 0, 9*time.Second)
			assert.Zero(t, gone)
			assert.Equal(t, seconds(2, 4, 6, 8), pings)
			sign(p, epoch.Add(9*time.Second))
			gone, pings = watch(p, 9*time.Second, time.Minute)
			assert.Equal(t, seconds(11, 13, 15, 17), pings)
			assert.Equal(t, 19*time.Second, gone)
		})
	}
}

func TestBusyPeerIsNotPinged(t *testing.T) {
	p := newServer(t, true)
	for at := time.Duration(0); at < time.Minute; at += time.Second {
		p.Heard(epoch.Add(at))
		assert.Equal(t, peer.Verdict{}, p.Tick(epoch.Add(at+time.Second)))
	}
}

func TestStandstillOfOursIsNotHeldAgainstThePeer(t *testing.T) {
	p := newServer(t, true)
	watch(p, 0, time.Second)
	v := p.Tick(epoch.Add(time.Hour))
	require.NoError(t, v.Close)
	assert.NotNil(t, v.Reply, "but it is asked for a sign of life")
	gone, pings := watch(p, time.Hour, 2*time.Hour)
	assert.Len(t, pings, 3)
	assert.Greater(t, gone, time.Hour+5*time.Second)
	assert.Less(t, gone, time.Hour+9*time.Second)
}

func TestOnlyModernPeersAreWatched(t *testing.T) {
	legacy := newServer(t, false)
	receive(t, legacy, frame{abstract.ReqRPC, `{}`})
	for name, p := range map[string]*peer.Peer{
		"fresh":         newServer(t, false),
		"legacy":        legacy,
		"legacy server": peer.New(peer.Config{Role: peer.LegacyClient}, epoch),
		"before HELLO":  newClient(t, false),
	} {
		t.Run(name, func(t *testing.T) {
			gone, pings := watch(p, 0, time.Minute)
			assert.Zero(t, gone)
			assert.Empty(t, pings)
			assert.Zero(t, p.PingInterval())
		})
	}
}

func TestServerWithoutTermsIsGivenUpAtTheDefaults(t *testing.T) {
	p := newClient(t, false)
	require.True(t, receive(t, p, frame{abstract.RspHello, `{"rcode":0,"version":1}`}).Met)
	gone, pings := watch(p, 0, time.Minute)
	assert.Equal(t, seconds(2, 4, 6, 8), pings)
	assert.Equal(t, 10*time.Second, gone)
}

func TestJudgingOrdinaryTrafficDoesNotAllocate(t *testing.T) {
	p := newServer(t, true)
	m := parse(t, abstract.ReqRPC, `{"method":"m","parameters":{}}`)
	at := epoch
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		at = at.Add(100 * time.Millisecond)
		p.Receive(m, at)
		p.Tick(at.Add(time.Second))
	}))
}

// TestSendersMayAskWhileMessagesAreJudged is for the race detector.
func TestSendersMayAskWhileMessagesAreJudged(t *testing.T) {
	p := newServer(t, false)
	meeting := parse(t, abstract.ReqHello, hello)
	rsp := &message.RpcResponse{Header: message.ID("i"), Code: abstract.Timeout}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for !p.Modern() {
				p.Shape(rsp)
				assert.NoError(t, p.CheckSize(1000))
				p.MaxFrame()
			}
			assert.Same(t, rsp, p.Shape(rsp))
			assert.Equal(t, 100_000, p.MaxFrame(), "whoever sees that it is modern sees its limit")
		})
	}
	p.Tick(epoch)
	p.Receive(meeting, epoch)
	p.Tick(epoch.Add(time.Hour))
	all.Wait()
}
