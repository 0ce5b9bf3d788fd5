package balance_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/abstract"
	"trefoil/business/balance"
)

// An ejected instance gets the calls that all others are nothing for, a draining one
// does not.
func TestEjectedIsBetterThanNobody(t *testing.T) {
	now := time.Now()
	g := balance.NewGroup(balance.Config{}, now)
	at := func(ip string) balance.Instance { return balance.Instance{Host: abstract.Host{IP: ip, Port: 1}} }
	up, ill, leaving := at("up"), at("ill"), at("leaving")
	ill.Ejected, leaving.Draining = true, true
	g.Update([]balance.Instance{up, ill, leaving}, now)
	avoid := func(ips ...string) func(*balance.Member) bool {
		return func(m *balance.Member) bool {
			for _, ip := range ips {
				if m.Instance().Host.IP == ip {
					return true
				}
			}
			return false
		}
	}
	for name, test := range map[string]struct {
		call balance.Call
		want string
	}{
		"there is one":             {balance.Call{Away: true, Avoid: avoid("ill")}, "up"},
		"it is not asked for":      {balance.Call{Avoid: avoid("up")}, ""},
		"all others are avoided":   {balance.Call{Away: true, Avoid: avoid("up")}, "ill"},
		"only a draining one left": {balance.Call{Away: true, Avoid: avoid("up", "ill")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			test.call.Now = now
			pick, ok := g.Pick(test.call)
			assert.Equal(t, test.want != "", ok)
			if ok {
				assert.Equal(t, test.want, pick.Member.Instance().Host.IP)
				g.End(pick, now, balance.OK)
			}
		})
	}
}
