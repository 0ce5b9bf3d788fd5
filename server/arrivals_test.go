package server_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/concrete/mem"
	"trefoil/server"
)

// greet says HELLO on a new connection, and returns it when the server takes it, else
// after how many milliseconds to come again.
func greet(t *testing.T, network *mem.Network) (nc net.Conn, again int) {
	nc, err := network.Dial(context.Background(), "broker")
	if err != nil { // its backlog is full
		return nil, 1
	}
	_, err = nc.Write(frame{16, "h", `{"version":1,"agent":"test","max_frame":65536}`}.bytes())
	if !assert.NoError(t, err) {
		return nil, 0
	}
	var head [12]byte
	_, err = io.ReadFull(nc, head[:])
	if !assert.NoError(t, err, "it is answered in any case") {
		return nil, 0
	}
	rest := make([]byte, binary.BigEndian.Uint32(head[:4])-8)
	_, err = io.ReadFull(nc, rest)
	assert.NoError(t, err)
	f := frame{17, "h", string(rest[binary.BigEndian.Uint32(head[8:]):])}
	if f.rcode() == 0 {
		return nc, 0
	}
	assert.Equal(t, 20, f.rcode())
	_, err = nc.Read(head[:])
	assert.Error(t, err, "it is closed")
	nc.Close()
	after, _ := f.field("retry_after_ms").(float64)
	assert.Positive(t, after)
	return nil, int(after)
}

// TestAllGetBackAfterARestart: thousands who come back at once get in one after the
// other, and none has to come often, as each is told a time of its own.
func TestAllGetBackAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, rate = 5000, 500
		s := start(t, server.WithAcceptRate(rate), server.WithLogger(quietLog()))
		s.stop()
		s.again(server.WithAcceptRate(rate), server.WithLogger(quietLog()))
		defer s.stop()
		begun := time.Now()
		var all sync.WaitGroup
		var tries atomic.Int64
		at := make([]time.Duration, clients)
		conns := make([]net.Conn, clients)
		for i := range clients {
			all.Go(func() {
				for {
					tries.Add(1)
					conn, again := greet(t, s.network)
					if conns[i] = conn; conn != nil || t.Failed() {
						at[i] = time.Since(begun)
						return
					}
					time.Sleep(time.Duration(again) * time.Millisecond)
				}
			})
		}
		all.Wait()
		perSecond := map[int]int{}
		for i, d := range at {
			require.NotNil(t, conns[i])
			perSecond[int(d/time.Second)]++
		}
		t.Logf("%d clients were back after %v, with %d tries", clients, time.Since(begun), tries.Load())
		assert.LessOrEqual(t, tries.Load(), int64(3*clients))
		for second, n := range perSecond {
			most := rate + 1
			if second == 0 {
				most += 4 * rate
			}
			assert.LessOrEqual(t, n, most, "in second %d", second)
		}
		assert.LessOrEqual(t, time.Since(begun), 12*time.Second)
		for _, nc := range conns {
			nc.Close()
		}
	})
}

// TestConnectionsThatAreOneTooMany: existing programs are closed, and who says nothing is.
func TestConnectionsThatAreOneTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, server.WithAcceptRate(1), server.WithLogger(quietLog()))
		defer s.stop()
		for range 4 {
			rawOver(t, s.network, "broker").silent()
		}
		legacy, mute := rawOver(t, s.network, "broker"), rawOver(t, s.network, "broker")
		_, _ = legacy.Write(frame{2, "1", `{"optype":0,"topic_key":"t"}`}.bytes())
		legacy.expectClosed()
		begun := time.Now()
		mute.expectClosed()
		assert.Equal(t, 2*time.Second, time.Since(begun))
		rawOver(t, s.network, "broker").silent()
		s.broker.SetLimits(server.Limits{AcceptRate: -1})
		for range 20 {
			rawOver(t, s.network, "broker").silent()
		}
		s.broker.SetLimits(server.Limits{AcceptRate: 1})
		for range 4 {
			rawOver(t, s.network, "broker").silent()
		}
		_, again := greet(t, s.network)
		assert.Positive(t, again)
	})
}
