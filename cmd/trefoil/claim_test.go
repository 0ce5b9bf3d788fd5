package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/memstore"
)

func TestOneBrokerAtATimeHasAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		defer store.Close()
		ctx, stop := context.WithCancelCause(t.Context())
		release, err := claim(ctx, store, stop)
		require.NoError(t, err)
		begun := time.Now()
		_, err = claim(t.Context(), store, func(error) {})
		require.ErrorContains(t, err, "another broker uses this store: process")
		assert.GreaterOrEqual(t, time.Since(begun), claimTTL, "one that was killed would have run out by then")
		release()
		assert.NoError(t, ctx.Err())
		again, err := claim(t.Context(), store, func(error) {})
		require.NoError(t, err)
		again()
	})
}

func TestBrokerStopsWhenItsClaimIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		defer store.Close()
		ctx, stop := context.WithCancelCause(t.Context())
		release, err := claim(ctx, store, stop)
		require.NoError(t, err)
		defer release()
		kvs, _, err := store.Range(t.Context(), claimKey, 0)
		require.NoError(t, err)
		require.Len(t, kvs, 1)
		require.NoError(t, store.Close())
		<-ctx.Done()
		assert.ErrorIs(t, context.Cause(ctx), errClaimLost)
		assert.Equal(t, abstract.Unavailable, abstract.CodeOf(context.Cause(ctx)))
	})
}
