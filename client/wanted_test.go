package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// After any mixture of cuts, black holes and restarts, what clients want is what the broker knows.
func TestWhatIsWantedIsRestored(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, func(w *world) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				b := w.broker()
				maker := client.NewTopicClient(w.dial())
				for i := range 3 {
					require.NoError(w, maker.Create(ctx, fmt.Sprint("t", i)))
				}
				conns := []*client.Conn{w.dial(), w.dial(), w.dial()}
				wantReg := map[int]bool{}
				subs := map[int]*client.Subscription{}
				got := map[int]*atomic.Int64{}
				for range 40 {
					c := rnd.IntN(3)
					short, cancel := context.WithTimeout(ctx, 8*time.Second)
					switch k := rnd.IntN(10); {
					case k < 2:
						p := rnd.IntN(4)
						// Register keeps trying also after an error
						_ = client.NewRegistryClient(conns[c]).Register(short, abstract.Provider{Method: fmt.Sprint("m", p), Host: abstract.Host{IP: fmt.Sprint("h", c), Port: 1}})
						wantReg[c*10+p] = true
					case k < 4:
						p := rnd.IntN(4)
						if client.NewRegistryClient(conns[c]).Unregister(short, abstract.Provider{Method: fmt.Sprint("m", p), Host: abstract.Host{IP: fmt.Sprint("h", c), Port: 1}}) == nil {
							delete(wantReg, c*10+p)
						} else {
							delete(wantReg, c*10+p)
							delete(wantReg, -1)
						}
					case k < 6:
						key := c*10 + rnd.IntN(3)
						if subs[key] == nil {
							n := new(atomic.Int64)
							s, err := client.NewTopicClient(conns[c]).Subscribe(short, fmt.Sprint("t", key%10), func(client.Message) { n.Add(1) })
							if err == nil {
								subs[key], got[key] = s, n
							}
						}
					case k < 7:
						key := c*10 + rnd.IntN(3)
						if s := subs[key]; s != nil {
							_ = s.Cancel(short)
							delete(subs, key)
						}
					case k < 8:
						w.net.Cut()
					case k < 9:
						w.net.Refuse(true)
						w.net.Cut()
						time.AfterFunc(time.Duration(rnd.IntN(4000))*time.Millisecond, func() { w.net.Refuse(false) })
					default:
						b.stop()
						b = w.broker()
					}
					cancel()
					time.Sleep(time.Duration(rnd.IntN(500)) * time.Millisecond)
				}
				w.net.Refuse(false)
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				d := client.NewDiscoveryClient(w.dial())
				for p := range 4 {
					list, err := d.Discover(ctx, fmt.Sprint("m", p))
					require.NoError(w, err)
					have := map[string]bool{}
					for _, q := range list {
						have[q.Host.IP] = true
					}
					for c := range 3 {
						assert.Equal(w, wantReg[c*10+p], have[fmt.Sprint("h", c)], "seed %d: method m%d host h%d", seed, p, c)
					}
				}
				for i := range 3 {
					require.NoError(w, maker.Publish(ctx, fmt.Sprint("t", i), 1))
				}
				before := map[int]int64{}
				_ = before
				time.Sleep(time.Second)
				synctest.Wait()
				for key, n := range got {
					if subs[key] != nil {
						assert.NotZero(w, n.Load(), "seed %d: subscription %d hears nothing", seed, key)
					}
				}
			})
		})
	}
}
