package topic

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// deal gives out all it can, and returns what each member got.
func deal(g *Group) map[*Member][]int {
	got := map[*Member][]int{}
	for {
		m, _, it, ok := g.Next()
		if !ok {
			return got
		}
		got[m] = append(got[m], it.Message.(int))
	}
}

func TestWhoHasLeastInHandIsNext(t *testing.T) {
	g := NewGroup(GroupConfig{})
	a, b := g.Join(&Subscription{}, 4), g.Join(&Subscription{}, 2)
	for i := range 8 {
		require.Zero(t, g.Offer(&Item{Message: i, Size: 1}))
	}
	got := deal(g)
	assert.Len(t, got[a], 4)
	assert.Len(t, got[b], 2)
	assert.Equal(t, 2, g.Waiting(), "nobody gets more than its window")
	_, ok := g.Done(b, 1)
	require.True(t, ok)
	_, ok = g.Done(b, 1)
	assert.False(t, ok, "twice")
	assert.Equal(t, map[*Member][]int{b: {6}}, deal(g))
}

func TestWhatALeavingMemberHadGoesFirst(t *testing.T) {
	g := NewGroup(GroupConfig{})
	a, b := g.Join(&Subscription{}, 2), g.Join(&Subscription{}, 2)
	for i := range 6 {
		g.Offer(&Item{Message: i})
	}
	got := deal(g)
	g.Leave(a)
	g.Leave(a)
	for _, n := range []uint64{1, 2} {
		_, ok := g.Done(b, n)
		require.True(t, ok)
	}
	assert.Equal(t, map[*Member][]int{b: got[a]}, deal(g))
	assert.Equal(t, 1, g.Len())
}

func TestWhatWaitsIsBounded(t *testing.T) {
	g := NewGroup(GroupConfig{MaxBytes: 10})
	for i := range 5 {
		assert.Equal(t, max(0, min(1, i-1)), g.Offer(&Item{Message: i, Size: 5}), "%d", i)
	}
	assert.Equal(t, 2, g.Offer(&Item{Message: 9, Size: 100}), "one may always wait, and all others go")
	assert.False(t, g.Fits(1))
	assert.True(t, g.DropOldest())
	assert.False(t, g.DropOldest(), "nothing waits any more")
	assert.True(t, g.Fits(100))
	assert.Zero(t, g.Bytes())
}

func TestBytesAreThoseThatWaitAndThoseInHand(t *testing.T) {
	g := NewGroup(GroupConfig{})
	for i := range 3 {
		g.Offer(&Item{Message: i, Size: 5})
	}
	a := g.Join(&Subscription{}, 2)
	deal(g)
	assert.Equal(t, 15, g.Bytes())
	_, ok := g.Done(a, 1)
	require.True(t, ok)
	assert.Equal(t, 10, g.Bytes())
	g.TakeBack(a)
	assert.Equal(t, 5, g.Bytes())
	b := g.Join(&Subscription{}, 2)
	deal(g)
	g.Leave(b)
	assert.Equal(t, 5, g.Bytes())
}

func TestAPausedMemberGetsNothing(t *testing.T) {
	g := NewGroup(GroupConfig{})
	a, b := g.Join(&Subscription{}, 2), g.Join(&Subscription{}, 2)
	g.Pause(a, true)
	for i := range 5 {
		g.Offer(&Item{Message: i})
	}
	assert.Equal(t, map[*Member][]int{b: {0, 1}}, deal(g))
	assert.Equal(t, 0, g.Room())
	g.Pause(a, false)
	assert.Equal(t, map[*Member][]int{a: {2, 3}}, deal(g))
	_, _, _, ok := g.Next()
	assert.False(t, ok)
	g.Leave(b)
	c := g.Join(&Subscription{}, 1)
	m, delivery, it, ok := g.Next()
	require.True(t, ok)
	assert.Equal(t, []any{c, 0, 2}, []any{m, it.Message, it.Delivered})
	g.Undo(m, delivery)
	assert.Equal(t, 1, it.Delivered, "it was not given, after all")
	assert.Equal(t, map[*Member][]int{c: {0}}, deal(g))
	g.Leave(a)
	g.Pause(a, false)
	assert.Equal(t, 1, g.Len())
}

func TestItemsAreForWhoMayHaveThem(t *testing.T) {
	g := NewGroup(GroupConfig{})
	a, b := g.Join(&Subscription{Tag: "a"}, 1), g.Join(&Subscription{Tag: "b"}, 1)
	only := func(tag string) func(*Subscription) bool {
		return func(s *Subscription) bool { return s.Tag == tag }
	}
	g.Offer(&Item{Message: 0, Only: only("b")})
	g.Offer(&Item{Message: 1, Only: only("b")})
	g.Offer(&Item{Message: 2, Only: only("nobody")})
	g.Offer(&Item{Message: 3})
	assert.Equal(t, map[*Member][]int{a: {3}, b: {0}}, deal(g), "nobody waits for what is for others")
	assert.Equal(t, 1, g.Waiting(), "what nobody may have is gone")
	g.Leave(b)
	_, ok := g.Done(a, 1)
	require.True(t, ok)
	assert.Empty(t, deal(g))
	assert.Zero(t, g.Waiting(), "nor may anybody have this any more")
}

// TestNothingIsLostInAGroup plays at random: at the end everything that was offered was
// done once, and no member waited while items did.
func TestNothingIsLostInAGroup(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := NewGroup(GroupConfig{})
		type held struct {
			m        *Member
			delivery uint64
		}
		var in []*Member
		var hands []held
		done := map[int]int{}
		offered := 0
		now := time.Unix(0, 0)
		give := func() {
			g.Wake(now)
			for {
				m, n, it, ok := g.Next()
				if !ok {
					break
				}
				require.Same(t, it, m.Held(n))
				hands = append(hands, held{m, n})
			}
			if g.Waiting() > 0 {
				for _, m := range in {
					require.Equal(t, m.window, m.InHand(), "a member is idle while messages wait")
				}
				require.Zero(t, g.Room())
			}
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				in = append(in, g.Join(&Subscription{}, rapid.IntRange(0, 3).Draw(t, "window")))
			case 1, 2:
				g.Offer(&Item{Message: offered})
				offered++
			case 3:
				if len(hands) > 0 {
					i := rapid.IntRange(0, len(hands)-1).Draw(t, "which")
					it, ok := g.Done(hands[i].m, hands[i].delivery)
					require.True(t, ok)
					hands = slices.Delete(hands, i, i+1)
					switch rapid.IntRange(0, 2).Draw(t, "returned") {
					case 0:
						g.Return(it)
					case 1:
						g.Rest(it, now.Add(time.Duration(rapid.IntRange(0, 9).Draw(t, "rest"))))
					default:
						done[it.Message.(int)]++
					}
				}
			case 4:
				if len(in) > 0 {
					i := rapid.IntRange(0, len(in)-1).Draw(t, "who")
					m := in[i]
					in = slices.Delete(in, i, i+1)
					hands = slices.DeleteFunc(hands, func(h held) bool { return h.m == m })
					if rapid.Bool().Draw(t, "kept elsewhere") {
						for _, it := range g.TakeBack(m) {
							g.Return(it)
						}
					} else {
						g.Leave(m)
					}
				}
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "time")))
			give()
		}
		in = append(in, g.Join(&Subscription{}, 1000))
		now = now.Add(time.Hour)
		give()
		for _, h := range hands {
			it, ok := g.Done(h.m, h.delivery)
			require.True(t, ok)
			done[it.Message.(int)]++
		}
		require.Len(t, done, offered)
		for message, times := range done {
			require.Equal(t, 1, times, "message %d", message)
		}
	})
}
