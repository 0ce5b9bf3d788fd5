package topic

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"", "", true}, {"a.b", "a.b", true}, {"a.b", "a", false},
		{"*", "a", true}, {"*", "a.b", false}, {"*", "", true}, {"a.*", "a.b", true}, {"a.*", "a", false}, {"a.*", "a.b.c", false},
		{"*.b", "a.b", true}, {"*.b", "a.c", false}, {"a.*.c", "a.b.c", true}, {"a.*.c", "a..c", true},
		{">", "a", true}, {">", "a.b.c", true}, {"a.>", "a", false}, {"a.>", "a.b", true}, {"a.>", "a.b.c", true}, {"*.>", "a.b", true}, {"*.>", "a", false},
		{"a>", "a>", true}, {"a>", "ab", false}, {"a.>.b", "a.>.b", true}, {"a.>.b", "a.x.b", false}, {"a*", "a*", true}, {"a*", "ab", false},
	} {
		assert.Equal(t, c.want, Match(c.filter, c.topic), "%q %q", c.filter, c.topic)
	}
}

func drawLevels(t *rapid.T, of []string) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(of), 1, 4).Draw(t, "levels"), levels)
}

// TestTrieIsMatch adds and removes subscriptions, and holds the trie against Match.
func TestTrieIsMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tr trie
		var all []*Subscription
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if len(all) > 0 && rapid.IntRange(0, 2).Draw(t, "what") == 0 {
				i := rapid.IntRange(0, len(all)-1).Draw(t, "which")
				tr.remove(all[i])
				tr.remove(all[i]) // a second time changes nothing
				all = slices.Delete(all, i, i+1)
			} else if f := drawLevels(t, []string{"a", "b", "", anyOne, anyRest}); IsWild(f) {
				all = append(all, &Subscription{Filter: f})
				tr.add(all[len(all)-1])
			}
			require.Equal(t, len(all), tr.size)
			topic := drawLevels(t, []string{"a", "b", "c", ""})
			var want []*Subscription
			for _, sub := range all {
				if Match(sub.Filter, topic) {
					want = append(want, sub)
				}
			}
			require.ElementsMatch(t, want, tr.match(nil, topic), "%s", topic)
		}
		for _, sub := range all {
			tr.remove(sub)
		}
		require.True(t, tr.root.empty(), "levels are left behind")
	})
}
