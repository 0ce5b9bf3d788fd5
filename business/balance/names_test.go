package balance_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/balance"
)

func TestBalancersHaveNames(t *testing.T) {
	for _, name := range append(balance.Names(), "", "zone:latency", "zone:") {
		mk, err := balance.ByName(name)
		require.NoError(t, err, name)
		one, other := mk(balance.Settings{}), mk(balance.Settings{})
		assert.NotSame(t, one, other, "each group has its own")
	}
	for _, name := range []string{"p2c", "zone:zone", "zone:zone:hash", "zone:p2c", "hash:zone"} {
		_, err := balance.ByName(name)
		assert.Equal(t, abstract.InvalidParams, abstract.CodeOf(err))
		assert.ErrorContains(t, err, "least-pending", name)
	}
}

func TestOutcomesOfErrors(t *testing.T) {
	tests := []struct {
		err  error
		want balance.Outcome
	}{
		{nil, balance.OK},
		{abstract.ErrInvalidParams, balance.OK},
		{abstract.ErrDenied, balance.OK},
		{fmt.Errorf("call: %w", abstract.ErrDisconnected), balance.Failed},
		{abstract.ErrUnavailable, balance.Failed},
		{context.DeadlineExceeded, balance.Failed},
		{abstract.ErrUnknownFate, balance.Failed},
		{abstract.ErrInternal, balance.Errored},
		{abstract.ErrOverloaded, balance.Overloaded},
		{context.Canceled, balance.Ignored},
		{abstract.ErrDraining, balance.Ignored},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, balance.OutcomeOf(tt.err), "%v is %v", tt.err, tt.want)
	}
	assert.Equal(t, "unknown", balance.Outcome(99).String())
}

// last is somebody's own Picker.
type last struct{ seen []abstract.Provider }

func (l *last) Pick(list []abstract.Provider) int {
	l.seen = list
	return len(list) - 1
}

func TestAPickerCanBeABalancer(t *testing.T) {
	w, picker := newWorld(1), new(last)
	list := instances(4)
	list[3].Draining = true
	g := w.group(balance.Config{Balancer: balance.FromPicker("math.add", picker)}, list)
	assert.Equal(t, map[string]int{"c": 10}, w.chosen(g, 10, balance.Call{}))
	assert.Equal(t, abstract.Provider{Method: "math.add", Host: list[0].Host, Instance: "a", Hello: true}, picker.seen[0])
	avoid := func(m *balance.Member) bool { return m.Instance().ID == "c" }
	assert.Equal(t, map[string]int{"b": 10}, w.chosen(g, 10, balance.Call{Avoid: avoid}))
	assert.Empty(t, w.chosen(g, 1, balance.Call{Avoid: func(*balance.Member) bool { return true }}))
}
