package balance_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/business/balance"
)

func TestCallsAndUpdatesSideBySide(t *testing.T) {
	for _, name := range append(balance.Names(), "zone:hash") {
		t.Run(name, func(t *testing.T) {
			mk, err := balance.ByName(name)
			assert.NoError(t, err)
			now := time.Now()
			g := balance.NewGroup(balance.Config{
				Balancer: mk(balance.Settings{Zone: "here"}),
				Outliers: balance.Outliers{Interval: time.Millisecond, First: time.Millisecond},
			}, now)
			g.Update(zoned(4, 4), now)
			var all sync.WaitGroup
			for c := range 4 {
				all.Go(func() {
					for i := range 1500 {
						now := now.Add(time.Duration(i) * 10 * time.Microsecond)
						p, ok := g.Pick(balance.Call{Now: now, Key: fmt.Sprint(i % 7)})
						if !ok {
							continue
						}
						o := balance.OK
						if p.Member.Instance().ID == "b" {
							o = balance.Outcome(c)
						}
						g.End(p, now.Add(time.Millisecond), o)
					}
				})
			}
			all.Go(func() {
				for i := range 150 {
					list := zoned(4, 4)
					list[i%8].Draining, list[(i+1)%8].Weight = true, i
					g.Update(list[:1+i%8], now.Add(time.Duration(i)*time.Millisecond))
					g.States(now)
				}
			})
			all.Wait()
			g.Update(zoned(4, 4), now)
			for _, s := range g.States(now) {
				assert.Zero(t, s.Pending, s.Instance.ID)
			}
		})
	}
}

// tens is a group of ten instances with calls in flight and latencies known.
func tens(name string) (*balance.Group, time.Time) {
	mk, err := balance.ByName(name)
	if err != nil {
		panic(err)
	}
	now := time.Now()
	g := balance.NewGroup(balance.Config{Balancer: mk(balance.Settings{Zone: "here"})}, now)
	g.Update(zoned(5, 5), now)
	for i := range 200 {
		p, _ := g.Pick(balance.Call{Now: now})
		if i%4 > 0 {
			g.End(p, now.Add(time.Millisecond), balance.OK)
		}
	}
	return g, now.Add(time.Second)
}

func TestACallAllocatesNothing(t *testing.T) {
	for _, name := range balance.Names() {
		g, now := tens(name)
		assert.Zero(t, testing.AllocsPerRun(200, func() {
			p, _ := g.Pick(balance.Call{Now: now, Key: "user-17"})
			g.End(p, now.Add(time.Millisecond), balance.OK)
		}), name)
	}
}

func BenchmarkPick(b *testing.B) {
	for _, name := range balance.Names() {
		b.Run(name, func(b *testing.B) {
			g, now := tens(name)
			b.ReportAllocs()
			for b.Loop() {
				p, _ := g.Pick(balance.Call{Now: now, Key: "user-17"})
				g.End(p, now, balance.Ignored)
			}
		})
	}
}

func BenchmarkCall(b *testing.B) {
	for _, name := range balance.Names() {
		b.Run(name, func(b *testing.B) {
			g, now := tens(name)
			b.ReportAllocs()
			for b.Loop() {
				p, _ := g.Pick(balance.Call{Now: now, Key: "user-17"})
				now = now.Add(10 * time.Microsecond)
				g.End(p, now, balance.OK)
			}
		})
	}
}
