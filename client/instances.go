package client

import (
	"time"

	"trefoil/abstract"
	"trefoil/business/balance"
)

// InstanceState is what an RpcClient knows of one provider of a method.
type InstanceState struct {
	Provider  abstract.Provider
	Connected bool
	Pending   int           // calls of the method that wait for it
	Latency   time.Duration // of the method's calls lately; 0: unknown
	Share     float64       // of its weight; below 1 while it is new
	Ejected   bool          // left out because it did worse than the others
	Ejections int           // how often it was, less one for each 10 s that went well since
	Until     time.Time     // when it is tried again, if it is ejected or its breaker is open
	Breaker   string        // closed, open or half-open; empty when it has none
	Gone      bool          // another process has its address
	Problem   error         // why it could not be reached last; nil when it could
}

// Instances returns what is known of the providers of a method that the client has
// called: those it chooses from, in the order of the registry's list. A client of one
// server has none.
func (c *RpcClient) Instances(method string) []InstanceState {
	p, ok := c.target.(*providers)
	if !ok {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.routes[method]
	if r == nil {
		return nil
	}
	now := time.Now()
	var states []InstanceState
	for _, s := range r.group.States(now) {
		states = append(states, stateOf(s, now))
	}
	return states
}

func stateOf(s balance.State, now time.Time) InstanceState {
	q := s.Instance.Value.(*listed)
	h := q.entry
	state := InstanceState{
		Provider: q.Provider, Connected: h.current.Load() != nil, Pending: s.Pending, Latency: s.Latency,
		Share: s.Share, Ejected: s.Ejected, Ejections: s.Times, Until: s.Until, Gone: h.gone.Load(),
	}
	h.mu.Lock()
	state.Problem = h.problem
	h.mu.Unlock()
	if h.breaker != nil {
		state.Breaker = h.breaker.State().String()
		if again := h.breaker.Again(now); again.After(state.Until) {
			state.Until = again
		}
	}
	return state
}
