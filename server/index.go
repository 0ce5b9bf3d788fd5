package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"trefoil/abstract"
)

// storeTimeout bounds one operation of the store.
const storeTimeout = 5 * time.Second

// index is what the parts have in common that hold some of the Store's keys as an
// index in memory. Its lock keeps events in order: a change of the index and the
// queueing of what it says to whom are one step. Nothing is written to a socket
// under it, and the Store is not called under it, as its followers take it.
type index struct {
	sync.Mutex
	store   abstract.Store
	applied func() int64 // the revision that the index has; called with the lock held

	told  []*conn // who has been queued a notice and is to be flushed
	runs  int     // transactions under way; who ends one flushes
	moved sync.Cond

	stop   func() // ends the following of the store
	closed bool
}

func (x *index) init(store abstract.Store, applied func() int64) {
	x.store, x.applied, x.moved.L, x.stop = store, applied, &x.Mutex, func() {}
}

// follow begins to follow the Store's changes below a prefix.
func (x *index) follow(prefix string, apply func(abstract.Change)) {
	x.stop = x.store.Follow(prefix, apply)
}

// close ends following. Who waits for something gives up.
func (x *index) close() {
	x.stop()
	x.Lock()
	defer x.Unlock()
	x.closed = true
	x.moved.Broadcast()
}

// tell notes, with the lock held, that something was queued for a connection.
func (x *index) tell(c *conn) { x.told = append(x.told, c) }

// advanced ends the applying of a change, with the lock held.
func (x *index) advanced() {
	if x.runs == 0 && len(x.told) > 0 { // another broker's doing, or a transaction that was given up
		go flushAll(x.told)
		x.told = nil
	}
	x.moved.Broadcast()
}

func flushAll(conns []*conn) {
	for _, c := range conns {
		c.Flush()
	}
}

// run runs a transaction within ctx, waits until the index has applied it, and
// returns who was told something and is to be flushed, also beside an error. When
// it has not succeeded, the index has what it failed by.
func (x *index) run(ctx context.Context, txn abstract.Txn) (res abstract.TxnResult, told []*conn, err error) {
	x.Lock()
	x.runs++
	x.Unlock()
	res, err = x.store.Txn(ctx, txn)
	if err == nil && !res.Succeeded {
		_, err = x.store.Sync(ctx)
	}
	x.Lock()
	defer x.Unlock()
	x.runs--
	if err == nil && res.Changed {
		err = x.await(ctx, res.Revision)
	}
	told, x.told = x.told, nil
	return res, told, err
}

// do is run for nobody's turn: a transaction that does nothing is not run, the time is
// the store's, and who was told something is flushed at once.
func (x *index) do(txn abstract.Txn) error {
	if len(txn.Then) == 0 {
		return nil
	}
	ctx := storeContext(time.Now().Add(storeTimeout))
	defer ctx.finish()
	_, told, err := x.run(ctx, txn)
	flushAll(told)
	return err
}

// await waits, with the lock held, until the index has applied a revision.
func (x *index) await(ctx context.Context, revision int64) error {
	if x.applied() >= revision {
		return nil // as a rule: the store in memory tells its followers at once
	}
	defer context.AfterFunc(ctx, func() {
		x.Lock()
		defer x.Unlock()
		x.moved.Broadcast()
	})()
	for x.applied() < revision {
		if ctx.Err() != nil || x.closed {
			return &abstract.Error{Code: abstract.UnknownFate, Op: "write to the store", Message: "it is written, and the broker has not heard of it yet; ask again", Err: ctx.Err()}
		}
		x.moved.Wait()
	}
	return nil
}

// storeContext is a context for operations of the store that end at a time. Its
// timer is made when somebody waits. Finish it.
func storeContext(deadline time.Time) *callContext {
	return &callContext{Context: context.Background(), deadline: deadline}
}

// load reads what is below prefix until the reader takes it: it does not when the
// following of the store has gone further in the meantime.
func load(store abstract.Store, prefix string, take func(kvs []abstract.KV, rev int64) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	for {
		kvs, rev, err := store.Range(ctx, prefix, 0)
		if err != nil {
			return fmt.Errorf("read the store: %w", err)
		}
		if take(kvs, rev) {
			return nil
		}
	}
}
