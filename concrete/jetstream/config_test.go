package jetstream

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func TestParseSync(t *testing.T) {
	tests := []struct {
		text string
		want Sync
		ok   bool
	}{
		{"", SyncAlways, true},
		{"always", SyncAlways, true},
		{"os", SyncOS, true},
		{"interval=200ms", Sync(200 * time.Millisecond), true},
		{"interval=1ms", Sync(time.Millisecond), true},
		{"interval=0", 0, false},
		{"interval=-1s", 0, false},
		{"interval=", 0, false},
		{"200ms", 0, false},
		{"never", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, err := ParseSync(tt.text)
			if !tt.ok {
				assert.Equal(t, abstract.InvalidParams, abstract.CodeOf(err))
				assert.ErrorContains(t, err, "take always, os, or interval=200ms")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
			again, err := ParseSync(got.String())
			require.NoError(t, err)
			assert.Equal(t, got, again)
		})
	}
}

func TestConfigRefusesWhatIsWrong(t *testing.T) {
	tests := []struct {
		name string
		cfg  Config
		says string
	}{
		{"nothing", Config{}, "and not both"},
		{"both", Config{Dir: "d", URL: "u"}, "and not both"},
		{"replicas of one", Config{Dir: "d", Replicas: 3}, "is one"},
		{"two replicas", Config{URL: "u", Replicas: 2}, "take 1, 3 or 5"},
		{"a prefix with a dot", Config{Dir: "d", Prefix: "a.b"}, "the prefix"},
		{"a long prefix", Config{Dir: "d", Prefix: strings.Repeat("a", 33)}, "the prefix"},
		{"a negative quota", Config{Dir: "d", Quota: -1}, "negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open(context.Background(), tt.cfg)
			assert.ErrorContains(t, err, tt.says)
		})
	}
}

func TestOlderThan(t *testing.T) {
	for version, want := range map[string]bool{"2.11.9": true, "2.12.0": false, "2.15.2": false, "3.0.0": false, "1.99": true, "2.9.1": true, "dev": false} {
		assert.Equal(t, want, olderThan(version, oldest), version)
	}
}

// TestNamesAreSafe checks that every name gives something that servers and file systems take.
func TestNamesAreSafe(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range []string{"", "orders.eu", "ORDERS.EU", "a/../../b", "*", ">", "\x00\xff", "ü", strings.Repeat("x", 1024), "a b"} {
		n := abstract.LogName{Topic: name, Epoch: "e"}
		stream := streamName("trefoil", n)
		assert.Empty(t, strings.Trim(stream, safe+"_"), stream)
		assert.Less(t, len(stream), 120)
		assert.Empty(t, strings.Trim(subjectName("trefoil", n), safe+"."))
		assert.Empty(t, strings.Trim(consumerName(name), safe+"_"))
		assert.False(t, seen[strings.ToLower(stream)], "file systems may not tell capitals apart: %s", stream)
		seen[strings.ToLower(stream)] = true
		back, ok := unquoted(quoted(name))
		assert.True(t, ok)
		assert.Equal(t, name, back)
		assert.Equal(t, name, idOf(idText(name)))
	}
	assert.Equal(t, "trefoil_orders-eu_"+hash("orders.eu", "e"), streamName("trefoil", abstract.LogName{Topic: "orders.eu", Epoch: "e"}))
	assert.NotEqual(t, hash("ab", "c"), hash("a", "bc"))
}
