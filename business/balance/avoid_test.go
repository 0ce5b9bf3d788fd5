package balance_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/abstract"
	"trefoil/business/balance"
)

// What a call avoids may change while somebody is chosen for it: an instance has just
// been connected to, or its breaker has just opened.
func TestAvoidMayChangeItsMind(t *testing.T) {
	list := []balance.Instance{{Host: abstract.Host{IP: "a", Port: 1}}, {Host: abstract.Host{IP: "b", Port: 1}}, {Host: abstract.Host{IP: "c", Port: 1}}}
	for _, rule := range []string{"least-pending", "round-robin", "random", "weighted", "latency", "hash", "zone"} {
		t.Run(rule, func(t *testing.T) {
			choose, err := balance.ByName(rule)
			assert.NoError(t, err)
			now := time.Now()
			g := balance.NewGroup(balance.Config{Balancer: choose(balance.Settings{})}, now)
			g.Update(list, now)
			for asked := range 1 << 12 { // every way to answer twelve questions
				answers := asked
				pick, ok := g.Pick(balance.Call{Now: now, Avoid: func(*balance.Member) bool {
					avoid := answers&1 == 0
					answers >>= 1
					return avoid
				}})
				if ok {
					g.End(pick, now, balance.OK)
				}
			}
		})
	}
}
