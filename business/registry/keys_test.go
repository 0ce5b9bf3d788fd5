package registry

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
)

func TestKeyShowsWhoProvidesWhat(t *testing.T) {
	tests := []struct {
		name string
		e    entry
		key  string
	}{
		{"legacy", entry{"math.add", owner{"local", 42}, "", abstract.Host{IP: "10.0.0.1", Port: 9000}}, "/services/math.add/local-42/10.0.0.1:9000"},
		{"with instance", entry{"math.add", owner{"b-1", 0}, "i7", abstract.Host{IP: "h", Port: 1}}, "/services/math.add/b-1-0/i7,h:1"},
		{"slashes", entry{"a/b", owner{"x/y", 1}, "i/j", abstract.Host{IP: "/", Port: 65535}}, "/services/a%2Fb/x%2Fy-1/i%2Fj,%2F:65535"},
		{"separators", entry{"a%2Fb", owner{"-", 1}, ",", abstract.Host{IP: "::1,", Port: 80}}, "/services/a%252Fb/--1/%2C,::1%2C:80"},
		{"other scripts", entry{"和", owner{"local", 1}, "", abstract.Host{IP: "h", Port: 80}}, "/services/%E5%92%8C/local-1/h:80"},
		{"not UTF-8", entry{"\xff", owner{"local", 1}, "", abstract.Host{IP: "h", Port: 80}}, "/services/%FF/local-1/h:80"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.key, tt.e.key())
			e, ok := parseKey(tt.key)
			require.True(t, ok)
			assert.Equal(t, tt.e, e)
		})
	}
}

func TestKeysThatWeDoNotWriteAreNotRead(t *testing.T) {
	const good = "/services/sum/local-1/h:80"
	_, ok := parseKey(good)
	require.True(t, ok)
	for name, key := range map[string]string{
		"empty":                  "",
		"prefix":                 Prefix,
		"another prefix":         "/topics/sum/local-1/h:80",
		"a part missing":         "/services/sum/local-1",
		"a part too many":        good + "/x",
		"empty method":           "/services//local-1/h:80",
		"no connection":          "/services/sum/local/h:80",
		"connection no number":   "/services/sum/local-x/h:80",
		"connection with sign":   "/services/sum/local-+1/h:80",
		"connection with zeros":  "/services/sum/local-01/h:80",
		"connection too large":   "/services/sum/local-18446744073709551616/h:80",
		"no port":                "/services/sum/local-1/h",
		"no ip":                  "/services/sum/local-1/:80",
		"port 0":                 "/services/sum/local-1/h:0",
		"port too large":         "/services/sum/local-1/h:65536",
		"port wraps round":       "/services/sum/local-1/h:18446744073709551615",
		"port with zeros":        "/services/sum/local-1/h:080",
		"empty instance":         "/services/sum/local-1/,h:80",
		"comma not escaped":      "/services/sum/local-1/a,b,h:80",
		"escaped without need":   "/services/%73um/local-1/h:80",
		"lower-case escape":      "/services/a%2fb/local-1/h:80",
		"unfinished escape":      "/services/sum%2/local-1/h:80",
		"space not escaped":      "/services/s um/local-1/h:80",
		"other bytes unescaped":  "/services/和/local-1/h:80",
		"prefix in another case": "/Services/sum/local-1/h:80",
	} {
		t.Run(name, func(t *testing.T) {
			e, ok := parseKey(key)
			assert.False(t, ok, "read as %+v", e)
		})
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("/services/sum/local-1/h:80")
	f.Add("/services/a%2Fb/x-1/i,::1:80")
	f.Add("/services/%/-/,:")
	f.Fuzz(func(t *testing.T, key string) {
		if e, ok := parseKey(key); ok {
			assert.Equal(t, key, e.key(), "one provider, one key")
		}
	})
}

func TestDifferentProvidersHaveDifferentKeys(t *testing.T) {
	odd := rapid.OneOf(rapid.String(), rapid.StringMatching(`[/%,:@.\-a]{0,4}`), rapid.StringMatching(`.{0,3}`))
	some := odd.Filter(func(s string) bool { return s != "" })
	entries := rapid.Custom(func(t *rapid.T) entry {
		return entry{
			method:   some.Draw(t, "method"),
			owner:    owner{odd.Draw(t, "broker"), ConnID(rapid.Uint64().Draw(t, "conn"))},
			instance: odd.Draw(t, "instance"),
			host:     abstract.Host{IP: some.Draw(t, "ip"), Port: rapid.IntRange(1, maxPort).Draw(t, "port")},
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		want := entries.Draw(t, "entry")
		got, ok := parseKey(want.key())
		require.True(t, ok, want.key())
		require.Equal(t, want, got)
	})
}

func TestLongestProviderFitsIntoAKey(t *testing.T) {
	cfg := Config{}.withDefaults()
	e := entry{
		method:   strings.Repeat("/", cfg.MaxMethod),
		owner:    owner{cfg.Broker, ^ConnID(0)},
		instance: strings.Repeat("/", cfg.MaxInstance),
		host:     abstract.Host{IP: strings.Repeat("/", cfg.MaxIP), Port: maxPort},
	}
	require.NoError(t, cfg.checkProvider(e))
	assert.LessOrEqual(t, len(e.key()), 4<<10, "a Store takes no longer key")
}

func TestValueSaysWhoSpeaksHello(t *testing.T) {
	for name, tt := range map[string]struct {
		value string
		hello bool
	}{
		"modern":           {`{"ip":"h","port":80,"hello":true}`, true},
		"legacy":           {`{"ip":"h","port":80}`, false},
		"false":            {`{"hello":false}`, false},
		"in an instance":   {`{"instance":"\"hello\":true"}`, false},
		"other white":      {`{ "hello" : true }`, true},
		"not understood":   {`{"hello":1}`, false},
		"no JSON":          {`x`, false},
		"nothing":          {``, false},
		"not at the top":   {`{"x":{"hello":true}}`, false},
		"cut":              {`{"hello":true`, false},
		"several: last":    {`{"hello":true,"hello":false}`, false},
		"instance is text": {`{"instance":"hello","hello":true}`, true},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.hello, parseValue([]byte(tt.value)).hello) })
	}
	e := entry{"sum", owner{"local", 1}, `i"7`, abstract.Host{IP: "h", Port: 80}}
	text, err := e.value(true, abstract.Traits{})
	require.NoError(t, err)
	assert.JSONEq(t, `{"ip":"h","port":80,"instance":"i\"7","hello":true}`, string(text))
	text, err = e.value(false, abstract.Traits{})
	require.NoError(t, err)
	assert.JSONEq(t, `{"ip":"h","port":80,"instance":"i\"7"}`, string(text))
}

// TestValueIsJSON: whatever the texts are, a value reads as JSON does.
func TestValueIsJSON(t *testing.T) {
	texts := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "10.0.0.1", `a"b`, `","hello":true}`, "é", "<x>", "\\", "{"}))
	rapid.Check(t, func(t *rapid.T) {
		e := entry{host: abstract.Host{IP: texts.Draw(t, "ip"), Port: 7}, instance: texts.Draw(t, "instance")}
		hello := rapid.Bool().Draw(t, "hello")
		traits := abstract.Traits{Weight: rapid.IntRange(0, 3).Draw(t, "weight"), Zone: texts.Draw(t, "zone"), Version: texts.Draw(t, "version")}
		b, err := e.value(hello, traits)
		require.NoError(t, err)
		var v value
		require.NoError(t, json.Unmarshal(b, &v))
		require.Equal(t, strings.ToValidUTF8(e.host.IP, "\ufffd"), v.IP)
		require.Equal(t, strings.ToValidUTF8(e.instance, "\ufffd"), v.Instance)
		require.Equal(t, hello, v.Hello)
		says := parseValue(b)
		require.Equal(t, hello, says.hello)
		traits.Zone, traits.Version = strings.ToValidUTF8(traits.Zone, "\ufffd"), strings.ToValidUTF8(traits.Version, "\ufffd")
		require.Equal(t, traits, says.shown())
	})
}
