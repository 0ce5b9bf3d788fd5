package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/etcdstore"
	"trefoil/concrete/memstore"
	"trefoil/server"
)

// The history of a tree is checked family by family: a parent with two children, so
// that what parents and children demand of each other is in the model.
const (
	families    = 24
	treeClients = 16
	treeOps     = 5600 // of all clients together
)

// treeInput is one operation on a family. Slot 0 is the parent.
type treeInput struct {
	op      string // create, set, delete, get, ls, both
	family  int
	slot    int
	data    string
	version int64 // condition of set and delete; 0: none
}

// treeOutput is what came back.
type treeOutput struct {
	unknown bool // it may have been done, now or later
	code    abstract.RCode
	version int64
	data    string
	list    string // of ls: which children there are
}

// slot is one node as the model sees it. Version 0: it is not there.
type slot struct {
	version int64
	data    string
}

type family [3]slot

// apply is what an operation does to a family, and answers.
func (f family) apply(in treeInput) (family, treeOutput) {
	s := f[in.slot]
	failed := func(code abstract.RCode) (family, treeOutput) { return f, treeOutput{code: code} }
	if in.op == "create" {
		switch {
		case s.version != 0:
			return failed(abstract.Exists)
		case in.slot > 0 && f[0].version == 0:
			return failed(abstract.NotFound)
		}
		f[in.slot] = slot{1, in.data}
		return f, treeOutput{}
	}
	if in.op == "both" { // set both children, or neither
		if f[1].version == 0 || f[2].version == 0 {
			return failed(abstract.NotFound)
		}
		f[1], f[2] = slot{f[1].version + 1, in.data}, slot{f[2].version + 1, in.data}
		return f, treeOutput{}
	}
	switch {
	case s.version == 0:
		return failed(abstract.NotFound)
	case in.op == "get":
		return f, treeOutput{version: s.version, data: s.data}
	case in.op == "ls":
		return f, treeOutput{list: children(f[1].version != 0, f[2].version != 0)}
	case in.version != 0 && in.version != s.version:
		return failed(abstract.Conflict)
	case in.op == "set":
		f[in.slot] = slot{s.version + 1, in.data}
		return f, treeOutput{version: s.version + 1}
	case in.slot == 0 && (f[1].version != 0 || f[2].version != 0):
		return failed(abstract.NotEmpty)
	}
	f[in.slot] = slot{}
	return f, treeOutput{}
}

func children(one, two bool) string { return fmt.Sprint(one, two) }

// treeModel is the tree as one family after the other sees it.
var treeModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := make([][]porcupine.Operation, families)
		for _, op := range history {
			f := op.Input.(treeInput).family
			parts[f] = append(parts[f], op)
		}
		return parts
	},
	Init: func() any { return family{} },
	Step: func(state, input, output any) (bool, any) {
		next, want := state.(family).apply(input.(treeInput))
		got := output.(treeOutput)
		if got.unknown { // what was never done stands at the end of the history, where it changes nothing
			return true, next
		}
		return got == want, next
	},
	Equal: func(a, b any) bool { return a.(family) == b.(family) },
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%+v -> %+v", input, output)
	},
}

// historian does operations, and writes down what it saw.
type historian struct {
	began   time.Time
	mu      sync.Mutex
	history []porcupine.Operation
	count   atomic.Int64
	unknown int
}

func (h *historian) now() int64 { return int64(time.Since(h.began)) }

// forever is when an operation of unknown fate has been done at the latest.
const forever = int64(1) << 62

func (h *historian) note(id int, in treeInput, called int64, out treeOutput) {
	returned := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if out.unknown {
		if in.op == "get" || in.op == "ls" {
			return
		}
		h.unknown++
		returned = forever
	}
	h.history = append(h.history, porcupine.Operation{ClientId: id, Input: in, Call: called, Output: out, Return: returned})
}

func pathOf(family, slot int) string {
	path := "/f" + strconv.Itoa(family)
	if slot > 0 {
		path += "/" + string(rune('a'+slot-1))
	}
	return path
}

// do does one operation through a client.
func doTree(ctx context.Context, n *client.NodeClient, in treeInput) treeOutput {
	path := pathOf(in.family, in.slot)
	var out treeOutput
	var err error
	switch in.op {
	case "create":
		_, err = n.Create(ctx, path, []byte(in.data))
	case "set":
		var node client.Node
		node, err = n.Set(ctx, path, []byte(in.data), client.IfVersion(in.version))
		out.version = node.Stat.Version
	case "delete":
		err = n.Delete(ctx, path, client.IfVersion(in.version))
	case "get":
		var node client.Node
		node, err = n.Get(ctx, path, client.Linearizable())
		out.version, out.data = node.Stat.Version, string(node.Data)
	case "ls":
		var list []client.Node
		list, err = n.List(ctx, path, client.Linearizable())
		if err == nil {
			has := func(slot int) bool {
				return slices.ContainsFunc(list, func(n client.Node) bool { return n.Path == pathOf(in.family, slot) })
			}
			out.list = children(has(1), has(2))
		}
	case "both":
		_, err = n.Multi(ctx, client.SetOp(pathOf(in.family, 1), []byte(in.data)), client.SetOp(pathOf(in.family, 2), []byte(in.data)))
	}
	if err == nil {
		return out
	}
	code := abstract.CodeOf(err)
	switch code {
	case abstract.NotFound, abstract.Exists, abstract.Conflict, abstract.NotEmpty:
		return treeOutput{code: code}
	}
	return treeOutput{unknown: true}
}

// random is some operation.
func random(r *rand.Rand) treeInput {
	in := treeInput{family: r.IntN(families), slot: r.IntN(3), data: strconv.Itoa(r.IntN(1 << 30))}
	in.op = []string{"create", "create", "create", "set", "set", "set", "delete", "get", "get", "get", "ls", "both"}[r.IntN(12)]
	switch in.op {
	case "ls", "both":
		in.slot = 0
	case "delete", "set":
		if r.IntN(2) == 0 {
			in.version = int64(1 + r.IntN(3))
		}
	}
	if in.op == "get" || in.op == "ls" || in.op == "delete" {
		in.data = ""
	}
	return in
}

// record runs clients against a broker on a store, cuts their connections now and
// then, and returns what they saw. lie, unless nil, may change what a client saw.
func record(t *testing.T, store abstract.Store, lie func(id int, in treeInput, out treeOutput) treeOutput) *historian {
	s := start(t, server.WithStore(store), server.WithLogger(quietLog()))
	h := &historian{began: time.Now()}
	var conns [treeClients]*client.Conn
	for id := range conns { // before the first cut
		conns[id], _ = s.dial(client.WithLogger(quietLog()), client.WithTimeout(patience))
	}
	var running sync.WaitGroup
	for id, conn := range conns {
		nodes := client.NewNodeClient(conn)
		r := rand.New(rand.NewPCG(uint64(id), 1))
		running.Go(func() {
			defer conn.Close()
			for h.count.Add(1) <= treeOps {
				in := random(r)
				called := h.now()
				out := doTree(t.Context(), nodes, in)
				if lie != nil {
					out = lie(id, in, out)
				}
				h.note(id, in, called, out)
				if h.count.Load()%701 == 0 {
					s.network.Cut()
				}
			}
		})
	}
	running.Wait()
	s.stop()
	return h
}

// linearizable checks a history.
func (h *historian) linearizable(t *testing.T) bool {
	result := porcupine.CheckOperationsTimeout(treeModel, h.history, 5*time.Minute)
	require.NotEqual(t, porcupine.Unknown, result, "the checker has not come to an end")
	t.Logf("%d operations, %d of unknown fate: %v", len(h.history), h.unknown, result)
	return result == porcupine.Ok
}

func TestTreeIsLinearizable(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		store := memstore.New()
		defer store.Close()
		h := record(t, store, nil)
		assert.True(t, h.linearizable(t))
		assert.GreaterOrEqual(t, len(h.history), 5000)
	})
	t.Run("etcd", func(t *testing.T) {
		store, err := etcdstore.Open(t.Context(), etcdstore.Config{Dir: t.TempDir(), Logger: quietLog()})
		require.NoError(t, err)
		defer store.Close()
		h := record(t, store, nil)
		assert.True(t, h.linearizable(t))
		assert.GreaterOrEqual(t, len(h.history), 5000)
	})
}

// carelessStore acknowledges some transactions and forgets them.
type carelessStore struct {
	*memstore.Store
	n atomic.Int64
}

func (s *carelessStore) Txn(ctx context.Context, t abstract.Txn) (abstract.TxnResult, error) {
	if s.n.Add(1)%50 == 0 {
		_, rev, err := s.Range(ctx, "/", 1)
		return abstract.TxnResult{Succeeded: true, Revision: rev}, err
	}
	return s.Store.Txn(ctx, t)
}

func TestCheckerFindsWhatIsNotLinearizable(t *testing.T) {
	t.Run("writes are lost", func(t *testing.T) {
		store := &carelessStore{Store: memstore.New()}
		defer store.Close()
		assert.False(t, record(t, store, nil).linearizable(t))
	})
	t.Run("reads are stale", func(t *testing.T) {
		store := memstore.New()
		defer store.Close()
		var mu sync.Mutex
		seen := map[[2]int]treeOutput{}
		h := record(t, store, func(_ int, in treeInput, out treeOutput) treeOutput {
			if in.op != "get" || out.unknown {
				return out
			}
			mu.Lock()
			defer mu.Unlock()
			before, ok := seen[[2]int{in.family, in.slot}]
			seen[[2]int{in.family, in.slot}] = out
			if ok && len(seen)%3 == 0 {
				return before
			}
			return out
		})
		assert.False(t, h.linearizable(t))
	})
	t.Run("answers come before the write", func(t *testing.T) {
		store := memstore.New()
		defer store.Close()
		var n atomic.Int64
		h := record(t, store, func(_ int, in treeInput, out treeOutput) treeOutput {
			if in.op == "create" && out.code == abstract.Exists && n.Add(1)%100 == 0 {
				return treeOutput{}
			}
			return out
		})
		assert.False(t, h.linearizable(t))
	})
}
