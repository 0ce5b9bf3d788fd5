package server

import (
	"slices"
	"time"

	"trefoil/abstract"
	"trefoil/business/registry"
)

// lost takes a connection's providers out of the store and forgets it as a discoverer.
func (s *RegistryServer) lost(t *turn) {
	s.spans.lost(t.conn)
	why := registry.Disconnected
	if t.conn.left.Load() {
		why = registry.Left
	}
	s.index.Lock()
	t.conn.gone = true // from here on what it has registered is a stray
	s.pd.Forget(registry.ConnID(t.conn.id))
	if s.ep.draining() { // it is our doing: nobody is to be told that a provider has gone
		s.index.Unlock()
		return
	}
	if why == registry.Disconnected && !t.conn.parted.Load() && s.keep(t.conn, time.Now()) {
		told := s.index.told
		s.index.told = nil
		s.index.Unlock()
		t.touchAll(told)
		return
	}
	txns := s.pd.PlanDisconnect(registry.ConnID(t.conn.id), why)
	s.index.Unlock()
	for i, txn := range txns {
		if err := s.run(t, txn); err != nil {
			s.ep.logs.registry.Error("providers of a lost connection not removed yet", "peer", t.conn.name(), "err", err)
			s.after(storeTimeout, func() { s.removeLater(txns[i:]) })
			return
		}
	}
}

// run runs a transaction and returns when the index has it. Who was told is flushed at
// the end of t.
func (s *RegistryServer) run(t *turn, txn abstract.Txn) error {
	ctx := storeContext(time.Now().Add(storeTimeout))
	defer ctx.finish()
	_, told, err := s.index.run(ctx, txn)
	t.touchAll(told)
	return err
}

// strays sees to it, with the lock held, that what connections that are gone have
// registered goes too, or is kept with the rest: a write of unknown fate may take effect
// after its connection's end, and after the end of a broker.
func (s *RegistryServer) strays(change abstract.Change) {
	conns, foreign := s.pd.Made(change)
	for _, id := range conns {
		switch c := s.ep.conn(uint64(id)); {
		case c != nil && !c.gone:
		case slices.Contains(s.held, id):
			s.notify(s.pd.Lose(id))
		default:
			go s.removeStrays(id)
		}
	}
	if foreign && s.swept {
		go s.sweep()
	}
}

func (s *RegistryServer) removeStrays(id registry.ConnID) {
	s.index.Lock()
	txns := s.pd.PlanDisconnect(id, registry.Disconnected)
	s.index.Unlock()
	s.removeLater(txns)
}

// removeLater is removeAll until it succeeds. Nobody registers again what these remove:
// their keys name a connection that is gone.
func (s *RegistryServer) removeLater(txns []abstract.Txn) {
	if !s.removeAll(txns) {
		s.after(storeTimeout, func() { s.removeLater(txns) })
	}
}

// sweep removes what an earlier run has left, until that has succeeded.
func (s *RegistryServer) sweep() {
	s.index.Lock()
	s.swept = true
	txns := s.pd.PlanAbandoned()
	s.index.Unlock()
	if s.removeAll(txns) {
		return
	}
	s.after(storeTimeout, s.sweep)
}

// removeAll runs transactions that remove providers, for nobody's connection, and
// returns whether all of them succeeded.
func (s *RegistryServer) removeAll(txns []abstract.Txn) bool {
	for _, txn := range txns {
		if err := s.index.do(txn); err != nil {
			s.ep.logs.registry.Error("providers that are gone not removed yet", "err", err)
			return false
		}
	}
	return true
}
