package registry

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
	"trefoil/concrete/memstore"
)

// fate is what becomes of a transaction.
type fate int

const (
	done  fate = iota
	late       // nobody is answered, and it takes effect at some later time
	never      // nobody is answered, and it does not
)

// tardy is a PDManager on a Store that loses answers, and what its connections want.
type tardy struct {
	store *memstore.Store
	pd    *PDManager
	conns []ConnID // that live
	last  ConnID
	late  []abstract.Txn
	want  map[string]string // what stands in the store in the end
	mend  map[ConnID]bool   // of those that have been contradicted, or have something in doubt
	stray map[ConnID]bool   // of which something has appeared when they were gone
}

func newTardy() *tardy {
	w := &tardy{
		store: memstore.New(), pd: NewPDManager(Config{Broker: "a"}), conns: []ConnID{1, 2}, last: 2,
		want: map[string]string{}, mend: map[ConnID]bool{}, stray: map[ConnID]bool{},
	}
	w.store.Follow(Prefix, func(c abstract.Change) {
		w.pd.Apply(c)
		for _, conn := range w.pd.Contradicted(c) {
			w.mend[conn] = true
		}
		made, _ := w.pd.Made(c)
		for _, conn := range made {
			w.stray[conn] = !slices.Contains(w.conns, conn)
		}
	})
	return w
}

// apply runs a transaction, and returns whether its conditions held.
func (w *tardy) apply(t require.TestingT, txn abstract.Txn) bool {
	res, err := w.store.Txn(context.Background(), txn)
	require.NoError(t, err)
	return res.Succeeded
}

// commit plans and runs until it succeeds or is not answered; something that is late may
// take effect in between.
func (w *tardy) commit(t *rapid.T, conn ConnID, plan func() abstract.Txn) (ok bool) {
	for {
		txn := plan()
		if len(txn.Then) == 0 {
			return true
		}
		if rapid.Bool().Draw(t, "between") {
			w.comesThrough(t)
		}
		f := rapid.SampledFrom([]fate{done, done, late, never}).Draw(t, "fate")
		if f == done {
			if !w.apply(t, txn) {
				continue
			}
			w.pd.Settle(conn, txn)
			return true
		}
		if f == late {
			w.late = append(w.late, txn)
		}
		w.pd.Doubt(conn, txn)
		w.mend[conn] = true
		return false
	}
}

// comesThrough lets one transaction take effect that is late.
func (w *tardy) comesThrough(t *rapid.T) {
	if len(w.late) > 0 {
		i := rapid.IntRange(0, len(w.late)-1).Draw(t, "late")
		txn := w.late[i]
		w.late = slices.Delete(w.late, i, i+1)
		w.apply(t, txn)
	}
}

func (w *tardy) conn(t *rapid.T) ConnID { return rapid.SampledFrom(w.conns).Draw(t, "conn") }

func (w *tardy) register(t *rapid.T) {
	conn := w.conn(t)
	o := offering{conn: conn, method: drawMethod(t), p: modern(1, "i")}
	o.p.Weight = rapid.IntRange(0, 1).Draw(t, "weight")
	e := w.pd.entry(conn, o.method, o.p)
	if w.commit(t, conn, func() abstract.Txn {
		txn, err := w.pd.PlanRegister(conn, o.p, o.method)
		require.NoError(t, err)
		return txn
	}) {
		value, err := e.value(o.p.Hello, o.p.Traits)
		require.NoError(t, err)
		w.want[e.key()] = string(value)
	}
}

func (w *tardy) unregister(t *rapid.T) {
	conn := w.conn(t)
	o := offering{conn: conn, method: drawMethod(t), p: modern(1, "i")}
	w.commit(t, conn, func() abstract.Txn {
		txn, err := w.pd.PlanUnregister(conn, Unregistered, o.p, o.method)
		require.NoError(t, err)
		return txn
	})
	delete(w.want, w.pd.entry(conn, o.method, o.p).key()) // also when it has failed
}

// disconnect ends a connection, in two steps: between them something that is late may
// take effect.
func (w *tardy) disconnect(t *rapid.T) {
	conn := w.conn(t)
	w.last++
	w.conns[slices.Index(w.conns, conn)] = w.last
	w.pd.Forget(conn)
	delete(w.mend, conn)
	for key := range w.want {
		if e, ok := parseKey(key); ok && e.owner.conn == conn {
			delete(w.want, key)
		}
	}
	txns := w.pd.PlanDisconnect(conn, Disconnected)
	w.comesThrough(t)
	for _, txn := range txns {
		w.apply(t, txn)
	}
}

// repair does what a server does of its own accord. Here every transaction is answered.
func (w *tardy) repair(t *rapid.T) {
	for _, conn := range w.conns {
		for w.mend[conn] {
			txn := w.pd.PlanMend(conn)
			if len(txn.Then) == 0 {
				w.mend[conn] = false
			} else if w.apply(t, txn) {
				w.pd.Settle(conn, txn)
			}
		}
	}
	for conn, is := range w.stray {
		if is {
			for _, txn := range w.pd.PlanDisconnect(conn, Disconnected) {
				w.apply(t, txn)
			}
		}
	}
	clear(w.stray)
}

// stands is what the store holds.
func (w *tardy) stands(t *rapid.T) map[string]string {
	kvs, _, err := w.store.Range(context.Background(), Prefix, 0)
	require.NoError(t, err)
	all := map[string]string{}
	for _, kv := range kvs {
		all[kv.Key] = string(kv.Value)
	}
	return all
}

// TestLateWritesChangeNothing: whatever takes effect late, nobody goes who was told to be
// registered, and in the end the store holds what the connections were answered.
func TestLateWritesChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTardy()
		t.Repeat(map[string]func(*rapid.T){
			"register":   w.register,
			"register2":  w.register,
			"unregister": w.unregister,
			"late":       w.comesThrough,
			"disconnect": w.disconnect,
			"repair": func(t *rapid.T) {
				w.repair(t)
				require.Equal(t, w.want, w.stands(t))
			},
			"": func(t *rapid.T) {
				check(t, w.pd)
				stands := w.stands(t)
				for key := range w.want {
					require.Contains(t, stands, key, "who is answered stays")
				}
			},
		})
		for len(w.late) > 0 {
			w.comesThrough(t)
		}
		w.repair(t)
		require.Equal(t, w.want, w.stands(t))
	})
}
