// Package storetest is the behaviour that every abstract.Store must show. A
// driver's test calls Run.
package storetest

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// Run runs the suite. open returns a Store without keys for each test; the suite
// closes it. The Store must not be written by anybody else. Some tests wait for a
// lease to expire, which takes some seconds where leases are long.
func Run(t *testing.T, open func(t *testing.T) abstract.Store) {
	tests := []struct {
		name string
		run  func(*testing.T, *bench)
	}{
		{"TxnAppliesAllOrNothing", txnAppliesAllOrNothing},
		{"TxnComparesKeys", txnComparesKeys},
		{"TxnCountsRevisions", txnCountsRevisions},
		{"TxnWithoutOperationsChangesNothing", txnWithoutOperationsChangesNothing},
		{"TxnKeepsItsOwnValues", txnKeepsItsOwnValues},
		{"TxnRefusesWhatIsWrong", txnRefusesWhatIsWrong},
		{"TxnTakesTheLargest", txnTakesTheLargest},
		{"RecreatedKeyHasANewCreateRevision", recreatedKeyHasANewCreateRevision},
		{"TxnComparesPrefixes", txnComparesPrefixes},
		{"TxnComparesTheAgeBelowPrefixes", txnComparesTheAgeBelowPrefixes},
		{"PrefixGuardLeavesNoOrphan", prefixGuardLeavesNoOrphan},
		{"RangeOrdersAndLimits", rangeOrdersAndLimits},
		{"RangeOfManyKeys", rangeOfManyKeys},
		{"FollowTellsWhatHappened", followTellsWhatHappened},
		{"FollowKeepsToItsPrefix", followKeepsToItsPrefix},
		{"FollowTellsATransactionAtOnce", followTellsATransactionAtOnce},
		{"FollowIsSilentAboutWhatDidNotHappen", followIsSilentAboutWhatDidNotHappen},
		{"FollowStartsWhenCalled", followStartsWhenCalled},
		{"StopEndsCalls", stopEndsCalls},
		{"FollowersSeeTheSameOrder", followersSeeTheSameOrder},
		{"SyncShowsWhatWasAcknowledged", syncShowsWhatWasAcknowledged},
		{"EpochStaysTheSame", epochStaysTheSame},
		{"RevokeDeletesTheLeasesKeys", revokeDeletesTheLeasesKeys},
		{"LastPutDecidesTheLease", lastPutDecidesTheLease},
		{"LeaseThatIsGoneIsRefused", leaseThatIsGoneIsRefused},
		{"LeaseExpiresUnlessKeptAlive", leaseExpiresUnlessKeptAlive},
		{"GrantRefusesWhatIsWrong", grantRefusesWhatIsWrong},
		{"CompareAndSwapLosesNothing", compareAndSwapLosesNothing},
		{"CancelledContextDoesNothing", cancelledContextDoesNothing},
		{"ClosedStoreRefuses", closedStoreRefuses},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			tt.run(t, &bench{Store: s, t: t})
		})
	}
}

// bench is a Store with shorthands for tests.
type bench struct {
	abstract.Store
	t *testing.T
}

// txn runs a transaction that must not be an error.
func (b *bench) txn(t abstract.Txn) abstract.TxnResult {
	b.t.Helper()
	res, err := b.Txn(context.Background(), t)
	require.NoError(b.t, err)
	return res
}

// put puts keys with values, all in one transaction, and returns its revision.
func (b *bench) put(keysAndValues ...string) int64 {
	b.t.Helper()
	res := b.txn(abstract.Txn{Then: puts(keysAndValues...)})
	require.True(b.t, res.Succeeded)
	return res.Revision
}

// remove deletes a key that is there and returns the revision.
func (b *bench) remove(key string) int64 {
	b.t.Helper()
	res := b.txn(abstract.Txn{Then: []abstract.Op{{Key: key, Delete: true}}})
	require.True(b.t, res.Changed)
	return res.Revision
}

// list returns a range that has everything from before, and the revision it was read at.
func (b *bench) list(prefix string, limit int) ([]abstract.KV, int64) {
	b.t.Helper()
	b.sync()
	kvs, rev, err := b.Range(context.Background(), prefix, limit)
	require.NoError(b.t, err)
	return kvs, rev
}

// sync catches up with what was acknowledged.
func (b *bench) sync() int64 {
	b.t.Helper()
	rev, err := b.Sync(context.Background())
	require.NoError(b.t, err)
	return rev
}

// get returns one key, which must be there.
func (b *bench) get(key string) abstract.KV {
	b.t.Helper()
	kvs, _ := b.list(key, 1)
	require.Len(b.t, kvs, 1)
	require.Equal(b.t, key, kvs[0].Key)
	return kvs[0]
}

func puts(keysAndValues ...string) []abstract.Op {
	var ops []abstract.Op
	for i := 0; i < len(keysAndValues); i += 2 {
		ops = append(ops, abstract.Op{Key: keysAndValues[i], Value: []byte(keysAndValues[i+1])})
	}
	return ops
}

// text writes keys and values as "k=v k=v".
func text(kvs []abstract.KV) string {
	var parts []string
	for _, kv := range kvs {
		parts = append(parts, kv.Key+"="+string(kv.Value))
	}
	return strings.Join(parts, " ")
}
