package registry

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/memstore"
	"trefoil/concrete/message"
)

// BenchmarkRegister registers and unregisters through the memory store, next to
// 10,000 others.
func BenchmarkRegister(b *testing.B) {
	const conns = 10_000
	store, pd := filled(b, conns)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		conn, method, p := registration(i % conns)
		txn, err := pd.PlanUnregister(conn, Unregistered, p, method)
		commit(b, store, txn, err)
		txn, err = pd.PlanRegister(conn, p, method)
		commit(b, store, txn, err)
	}
}

func BenchmarkDiscover(b *testing.B) {
	const conns = 10_000
	_, pd := filled(b, conns)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, _, err := pd.Discover(ConnID(i%conns), fmt.Sprint("service.method-", i%50))
		require.NoError(b, err)
	}
}

// BenchmarkNotify changes a method that 1,000 connections follow.
func BenchmarkNotify(b *testing.B) {
	store, pd := filled(b, 0)
	for conn := range ConnID(1000) {
		_, _, _ = pd.Discover(conn, "sum")
	}
	b.ReportAllocs()
	for b.Loop() {
		txn, err := pd.PlanRegister(1, at(1), "sum")
		commit(b, store, txn, err)
		txn, err = pd.PlanUnregister(1, Unregistered, at(1), "sum")
		commit(b, store, txn, err)
	}
}

// BenchmarkMemory reports what one registration holds, in the store and the index.
func BenchmarkMemory(b *testing.B) {
	const conns = 10_000
	for b.Loop() {
		before := heap()
		store, pd := filled(b, conns)
		b.ReportMetric(float64(heap()-before)/conns, "B/registration")
		runtime.KeepAlive(store)
		runtime.KeepAlive(pd)
	}
}

func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// filled has so many connections with one registration each, of 50 methods.
func filled(b *testing.B, conns int) (*memstore.Store, *PDManager) {
	store, pd := memstore.New(), NewPDManager(Config{})
	store.Follow(Prefix, func(c abstract.Change) { pd.Apply(c) })
	for i := range conns {
		conn, method, p := registration(i)
		txn, err := pd.PlanRegister(conn, p, method)
		commit(b, store, txn, err)
	}
	return store, pd
}

func registration(i int) (ConnID, string, message.ProviderHost) {
	p := modern(9000, "")
	p.IP = fmt.Sprintf("10.0.%d.%d", i/250, i%250)
	return ConnID(i), fmt.Sprint("service.method-", i%50), p
}

func commit(b *testing.B, store *memstore.Store, txn abstract.Txn, err error) {
	require.NoError(b, err)
	_, err = store.Txn(context.Background(), txn)
	require.NoError(b, err)
}
