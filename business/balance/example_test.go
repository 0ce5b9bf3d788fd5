package balance_test

import (
	"fmt"
	"time"

	"trefoil/abstract"
	"trefoil/business/balance"
)

// A client keeps one Group for each method.
func ExampleGroup() {
	choose, err := balance.ByName("zone:weighted") // from an option or a configuration
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Now()
	group := balance.NewGroup(balance.Config{
		Balancer: choose(balance.Settings{Zone: "east"}),
		OnNotice: func(n balance.Notice) { fmt.Println(n.Member.Instance().ID, n.Ejected, n.Why) },
	}, now)

	// After every change that discovery tells of:
	group.Update([]balance.Instance{
		{ID: "a", Host: abstract.Host{IP: "10.0.0.1", Port: 7000}, Zone: "east"},
		{ID: "b", Host: abstract.Host{IP: "10.0.0.2", Port: 7000}, Zone: "west"},
	}, now)

	// For every attempt of a call; a retry avoids those that have failed:
	var failed []*balance.Member
	pick, ok := group.Pick(balance.Call{Now: now})
	if !ok {
		fmt.Println("nobody provides it")
		return
	}
	err = abstract.ErrUnavailable // calling pick.Member.Instance().Host came to this
	group.End(pick, now.Add(time.Millisecond), balance.OutcomeOf(err))
	fmt.Println(pick.Member.Instance().ID, err)

	failed = append(failed, pick.Member)
	pick, _ = group.Pick(balance.Call{Now: now, Avoid: func(m *balance.Member) bool { return m == failed[0] }})
	group.End(pick, now.Add(time.Millisecond), balance.OutcomeOf(nil))
	fmt.Println(pick.Member.Instance().ID)
	// Output:
	// a unavailable
	// b
}

// first is a balancer of one's own: it prefers instances of a version.
type first struct {
	balance.Passive
	version string
	list    []*balance.Member // a program with several goroutines keeps it in an atomic.Pointer
}

func (f *first) Change(m balance.Members) { f.list = m.List }

func (f *first) Choose(c balance.Call) (other *balance.Member) {
	for _, m := range f.list {
		if !c.Accepts(m) {
			continue
		}
		if m.Instance().Version == f.version {
			return m
		}
		other = m
	}
	return other
}

func ExampleBalancer() {
	now := time.Now()
	group := balance.NewGroup(balance.Config{Balancer: &first{version: "2"}}, now)
	group.Update([]balance.Instance{
		{ID: "a", Host: abstract.Host{IP: "10.0.0.1", Port: 7000}, Version: "1"},
		{ID: "b", Host: abstract.Host{IP: "10.0.0.2", Port: 7000}, Version: "2"},
	}, now)
	pick, _ := group.Pick(balance.Call{Now: now})
	fmt.Println(pick.Member.Instance().ID)
	group.End(pick, now, balance.OK)
	// Output: b
}
