package server

import (
	"context"
	"time"

	"trefoil/abstract"
	"trefoil/business/registry"
	"trefoil/concrete/message"
)

// enlist makes the sender a provider, and returns when the index has that.
func (s *RegistryServer) enlist(t *turn, p message.ProviderHost, methods []string) error {
	c := t.conn
	ctx := storeContext(time.Now().Add(storeTimeout))
	defer ctx.finish()
	for {
		s.index.Lock()
		txn, err := s.pd.PlanRegister(registry.ConnID(c.id), p, methods...)
		s.index.Unlock()
		if err != nil || len(txn.Then) == 0 {
			return err
		}
		done, err := s.commit(ctx, t, c, txn)
		switch {
		case abstract.CodeOf(err) == abstract.UnknownFate:
			s.doubt(c, txn)
			return err
		case err != nil:
			return err
		case done:
			s.health.back(p.Host)
			return nil
		}
	}
}

// remove takes registrations of the connection out, and returns when the index has that.
// When the store does not take it, it is gone on with later.
func (s *RegistryServer) remove(t *turn, why registry.Reason, p message.ProviderHost, methods ...string) error {
	c := t.conn
	ctx := storeContext(time.Now().Add(storeTimeout))
	defer ctx.finish()
	for {
		s.index.Lock()
		txn, err := s.pd.PlanUnregister(registry.ConnID(c.id), why, p, methods...)
		s.index.Unlock()
		if err != nil || len(txn.Then) == 0 {
			return err
		}
		done, err := s.commit(ctx, t, c, txn)
		if err != nil {
			s.doubt(c, txn)
			return err
		}
		if done {
			return nil
		}
	}
}

// removeInTime takes registrations of a connection out later.
func (s *RegistryServer) removeInTime(c *conn, why registry.Reason, p message.ProviderHost, methods ...string) {
	s.index.Lock()
	defer s.index.Unlock()
	if txn, err := s.pd.PlanUnregister(registry.ConnID(c.id), why, p, methods...); err == nil {
		s.pd.Doubt(registry.ConnID(c.id), txn)
		s.mendLater(c)
	}
}

// commit runs a transaction of a connection, and returns when the index has it. Not done:
// the keys had changed, and the index has that by now. Who was told is flushed at the end
// of t.
func (s *RegistryServer) commit(ctx context.Context, t *turn, c *conn, txn abstract.Txn) (done bool, err error) {
	res, told, err := s.index.run(ctx, txn)
	t.touchAll(told)
	if err != nil || !res.Succeeded {
		return false, err
	}
	if !s.index.store.Instant() {
		s.index.Lock()
		s.pd.Settle(registry.ConnID(c.id), txn)
		s.index.Unlock()
	}
	return true, nil
}

// doubt notes that a transaction may take effect late, and looks after that.
func (s *RegistryServer) doubt(c *conn, txn abstract.Txn) {
	s.index.Lock()
	defer s.index.Unlock()
	s.pd.Doubt(registry.ConnID(c.id), txn)
	s.mendLater(c)
}

// mendLater mends a connection's registrations after a while. It is called with the lock
// held.
func (s *RegistryServer) mendLater(c *conn) {
	s.schedule(storeTimeout, func() {
		s.index.Lock()
		defer s.index.Unlock()
		s.mendSoon(c)
	})
}

// mendSoon mends a connection's registrations behind what it has asked for. It is called
// with the lock held.
func (s *RegistryServer) mendSoon(c *conn) {
	if c.mending || c.gone || s.drained {
		return
	}
	c.mending = true
	c.send(&c.errands, errand{do: s.mend})
}

// contradicted undoes, with the lock held, what has taken effect late.
func (s *RegistryServer) contradicted(change abstract.Change) {
	for _, id := range s.pd.Contradicted(change) {
		if c := s.ep.conn(uint64(id)); c != nil {
			s.mendSoon(c)
		}
	}
}

// mend makes registrations, of whose writes the fate is unknown, what the connection
// wants.
func (s *RegistryServer) mend(t *turn) {
	c := t.conn
	ctx := storeContext(time.Now().Add(storeTimeout))
	defer ctx.finish()
	for {
		s.index.Lock()
		c.mending = false
		txn := s.pd.PlanMend(registry.ConnID(c.id))
		s.index.Unlock()
		if len(txn.Then) == 0 {
			return
		}
		if _, err := s.commit(ctx, t, c, txn); err != nil {
			s.ep.logs.registry.Error("registrations not as their connection wants them yet", "peer", c.name(), "err", err)
			s.index.Lock()
			s.mendLater(c)
			s.index.Unlock()
			return
		}
	}
}
