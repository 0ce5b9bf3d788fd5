package requestor

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func ignore(abstract.BaseMessage, error) {}

// TestIdsGoOnWhenTheNumberWraps: the number comes round after 4 thousand million
// calls, and none of those in flight has the same one in the same slot.
func TestIdsGoOnWhenTheNumberWraps(t *testing.T) {
	r := New(Config{})
	r.table.salt = math.MaxUint32 - 3
	seen := make(map[string]bool)
	var calls []*Pending
	for range 8 {
		p, err := r.Add(noon, abstract.RspRPC, ignore)
		require.NoError(t, err)
		require.False(t, seen[p.ID()], "%s twice", p.ID())
		seen[p.ID()] = true
		calls = append(calls, p)
	}
	for _, p := range calls {
		assert.True(t, r.Complete(&message.RpcResponse{Header: message.ID(p.ID())}))
	}
	p, err := r.Add(noon, abstract.RspRPC, ignore)
	require.NoError(t, err)
	assert.False(t, seen[p.ID()], "not again in a slot that was used before")
}

func TestIdNamesItsSlot(t *testing.T) {
	for _, slot := range []uint32{1, 9, 10, 0xabcdef, math.MaxUint32} {
		var b [idLen]byte
		formatID(&b, slot, 7)
		id := string(b[:])
		assert.Len(t, id, idLen)
		got, ok := slotOf(id)
		assert.True(t, ok)
		assert.Equal(t, slot, got)
	}
}

func TestBurstLeavesNoMoreThanASmallTable(t *testing.T) {
	ends := map[string]func(*Requestor, []*Pending){
		"answered": func(r *Requestor, calls []*Pending) {
			for _, p := range calls {
				r.Complete(&message.RpcResponse{Header: message.ID(p.ID())})
			}
		},
		"expired": func(r *Requestor, _ []*Pending) { r.Expire(noon.Add(time.Second)) },
		"closed":  func(r *Requestor, _ []*Pending) { r.CloseAll(nil) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			r := New(Config{})
			var calls []*Pending
			for range 10 * idleSlots {
				p, err := r.Add(noon, abstract.RspRPC, ignore)
				require.NoError(t, err)
				calls = append(calls, p)
			}
			require.Greater(t, len(r.table.slots), 10*idleSlots)
			end(r, calls)
			assert.Zero(t, r.Len())
			assert.LessOrEqual(t, len(r.table.slots), idleSlots)
		})
	}
}

// FuzzComplete lets a peer answer with any id: nothing but a call's own ends it.
func FuzzComplete(f *testing.F) {
	for _, id := range []string{"", "0", "0000000000000000", "0000000100000001", "0000000100000002", "00000001ffffffff", "FFFFFFFFFFFFFFFF", "ffffffff00000001", "\x00\xff", "73b1b921-b894-51bb-0000-000000000001"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		r := New(Config{})
		ended := 0
		p, err := r.Add(noon, abstract.RspRPC, func(abstract.BaseMessage, error) { ended++ })
		require.NoError(t, err)
		mine := id == p.ID()
		require.Equal(t, mine, r.Complete(&message.RpcResponse{Header: message.ID(id)}))
		require.Equal(t, mine, ended == 1)
		require.Equal(t, !mine, r.Complete(&message.RpcResponse{Header: message.ID(p.ID())}))
		require.Equal(t, 1, ended)
		require.Zero(t, r.Len())
	})
}
