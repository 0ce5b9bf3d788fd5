package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"trefoil/abstract"
)

// Two brokers on one store would end each other's sessions: whoever uses a store
// holds this key in it, by a lease that it keeps alive.
const (
	claimKey     = "/broker"
	claimTTL     = 10 * time.Second
	claimRenewal = claimTTL / 4
)

// errClaimLost ends a broker.
var errClaimLost = errors.New("another broker may use the store")

// claim makes this process the store's only broker. It waits for one that was killed
// to run out of its time. When the claim is lost, stop is called: the broker must
// not go on. release gives it back.
func claim(ctx context.Context, store abstract.Store, stop context.CancelCauseFunc) (release func(), err error) {
	lease, err := takeClaim(ctx, store)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := keepClaim(ctx, store, lease); err != nil {
			stop(err)
		}
	}()
	return func() {
		cancel()
		<-ended
		giving, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimRenewal)
		defer cancel()
		_ = store.Revoke(giving, lease) // or it runs out
	}, nil
}

func takeClaim(ctx context.Context, store abstract.Store) (abstract.LeaseID, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*claimTTL)
	defer cancel()
	lease, err := store.Grant(ctx, claimTTL)
	if err != nil {
		return 0, err
	}
	host, _ := os.Hostname()
	name := fmt.Sprintf("process %d on %s", os.Getpid(), host)
	txn := abstract.Txn{
		If:   []abstract.Compare{{Key: claimKey, Target: abstract.CompareCreate, Rev: 0}},
		Then: []abstract.Op{{Key: claimKey, Value: []byte(name), Lease: lease}},
	}
	tick := time.NewTicker(claimRenewal / 5)
	defer tick.Stop()
	for refused := false; ; refused = true {
		res, err := store.Txn(ctx, txn)
		if err == nil && res.Succeeded {
			return lease, nil
		}
		_ = store.KeepAlive(ctx, lease) // it must not have run out when its turn comes
		if err != nil && (!refused || ctx.Err() == nil) {
			return 0, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, giveUp(context.WithoutCancel(ctx), store, lease)
		}
	}
}

// giveUp gives back a lease that was of no use, and returns the error that says who
// holds the claim.
func giveUp(ctx context.Context, store abstract.Store, lease abstract.LeaseID) error {
	ctx, cancel := context.WithTimeout(ctx, claimRenewal)
	defer cancel()
	_ = store.Revoke(ctx, lease)
	holder := "unknown"
	if kvs, _, err := store.Range(ctx, claimKey, 1); err == nil && len(kvs) > 0 {
		holder = string(kvs[0].Value)
	}
	return fmt.Errorf("another broker uses this store: %s; stop it, or give this one a store of its own", holder)
}

// keepClaim keeps the lease alive until ctx ends. The error says that it is lost, or
// that it must be taken for lost.
func keepClaim(ctx context.Context, store abstract.Store, lease abstract.LeaseID) error {
	tick := time.NewTicker(claimRenewal)
	defer tick.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		asked := time.Now()
		renewing, cancel := context.WithTimeout(ctx, claimRenewal)
		err := store.KeepAlive(renewing, lease)
		cancel()
		switch {
		case err == nil:
			renewed = asked
		case ctx.Err() != nil:
			return nil
		case abstract.CodeOf(err) == abstract.NotFound:
			return fmt.Errorf("%w: the claim to it has run out: %w", errClaimLost, err)
		case time.Since(renewed) > claimTTL-2*claimRenewal: // in time, before another one has it
			return fmt.Errorf("%w: it has not answered for %s: %w", errClaimLost, time.Since(renewed).Round(time.Second), err)
		}
	}
}
