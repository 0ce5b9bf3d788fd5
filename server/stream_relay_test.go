package server_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/server"
)

// opening is the next stream that comes to a provider.
func (r *raw) opening() frame {
	r.t.Helper()
	f := r.expectNot(typePing)
	require.EqualValues(r.t, typeStream, f.mtype, f.body)
	return f
}

func TestRelayedStreamOnTheWire(t *testing.T) {
	b := broker(t, server.WithStreamWindow(1000))
	p, c := dialRaw(t, b.Addr()).offers("one"), dialRaw(t, b.Addr()).hello()
	c.send(openStream("1", "m", `"relay":1`, `"credit":500`, `"timeout_ms":60000`, `"meta":{"a":"b"}`))
	got := p.opening()
	assert.Equal(t, "~", got.id[:1])
	assert.Equal(t, "m", got.field("method"))
	assert.Equal(t, "one", got.field("instance"))
	assert.Equal(t, map[string]any{"a": "b"}, got.field("meta"))
	assert.InDelta(t, 1000, got.field("credit"), 0, "the broker's window, whatever the caller has")
	assert.Nil(t, got.field("relay"))
	left, _ := got.field("timeout_ms").(float64)
	assert.True(t, left > 0 && left <= 60_000, left)
	c.silent() // nobody has taken it
	p.send(credit(got.id, 1<<30))
	assert.Equal(t, credit("1", 1000), c.expect())
	c.send(data("1", `{"x" : 1.0}`))
	assert.Equal(t, data(got.id, `{"x" : 1.0}`), p.expect(), "byte for byte")
	p.send(data(got.id, `"`+repeat("y", 498)+`"`), data(got.id, "2"))
	assert.Equal(t, data("1", `"`+repeat("y", 498)+`"`), c.expect())
	c.silent() // it has no credit left
	c.send(credit("1", 1000))
	assert.Equal(t, data("1", "2"), c.expect())
	assert.EqualValues(t, typeCredit, p.expect().mtype, "the broker has passed them on")
	c.send(frame{typeEnd, "1", `{"rcode":0}`})
	assert.Equal(t, frame{typeEnd, got.id, `{"rcode":0}`}, p.expect())
	p.send(frame{typeEnd, got.id, `{"rcode":77,"message":"why","details":[1]}`})
	end := c.endsWith("1", 77)
	assert.Equal(t, "why", end.field("message"))
	assert.Equal(t, []any{1.0}, end.field("details"))
	require.Eventually(t, func() bool { return b.Streams() == 0 && b.RelayedCalls() == 0 }, patience, time.Millisecond)
}

func TestBrokerEndsRelayedStreamsItself(t *testing.T) {
	sent := func(f frame) any { details, _ := f.field("details").(map[string]any); return details["sent"] }
	tests := map[string]struct {
		opened bool // before that
		do     func(p, c *raw, id string)
		code   abstract.RCode
		sent   any
	}{
		"the provider has gone before": {false, func(p, _ *raw, _ string) { p.Close() }, abstract.Disconnected, "unknown"},
		"the provider has gone":        {true, func(p, _ *raw, _ string) { p.Close() }, abstract.Disconnected, nil},
		"the caller cancels before":    {false, func(_, c *raw, _ string) { c.send(frame{typeCancel, "1", `{}`}) }, abstract.Cancelled, nil},
		"the caller cancels":           {true, func(_, c *raw, _ string) { c.send(frame{typeCancel, "1", `{}`}) }, abstract.Cancelled, nil},
		"the provider refuses":         {false, func(p, _ *raw, id string) { p.send(frame{typeEnd, id, `{"rcode":19}`}) }, abstract.Draining, nil},
		"the provider is beyond its credit": {true, func(p, _ *raw, id string) {
			p.send(data(id, `"`+repeat("x", 70_000)+`"`), data(id, `"`+repeat("x", 70_000)+`"`), data(id, "1"), data(id, "1"))
		}, abstract.Overloaded, nil},
		"the provider knows no streams": {false, func(p, _ *raw, id string) { p.send(frame{21, id, `{"rcode":25,"mtype":40}`}) }, abstract.Unsupported, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := broker(t)
			p, c := dialRaw(t, b.Addr()).offers("one"), dialRaw(t, b.Addr()).hello()
			c.send(openStream("1", "m", `"relay":1`))
			got := p.opening()
			if tt.opened {
				p.send(credit(got.id, 100))
				require.EqualValues(t, typeCredit, c.expect().mtype)
			}
			tt.do(p, c, got.id)
			assert.Equal(t, tt.sent, sent(c.endsWith("1", tt.code)))
			if tt.code == abstract.Cancelled {
				assert.Equal(t, frame{typeCancel, got.id, `{}`}, p.expect())
			}
			require.Eventually(t, func() bool { return b.Streams() == 0 && b.RelayedCalls() == 0 }, patience, time.Millisecond)
		})
	}
	t.Run("nobody takes it", func(t *testing.T) {
		b := broker(t)
		c := dialRaw(t, b.Addr()).hello()
		c.send(openStream("1", "m", `"relay":1`))
		assert.Equal(t, "no", sent(c.endsWith("1", abstract.ServiceNotFound)))
		b.SetRelaying(false)
		c.send(openStream("1", "m", `"relay":1`))
		assert.Equal(t, "no", sent(c.endsWith("1", abstract.Unsupported)))
	})
	t.Run("the caller has gone", func(t *testing.T) {
		b := broker(t)
		p, c := dialRaw(t, b.Addr()).offers("one"), dialRaw(t, b.Addr()).hello()
		c.send(openStream("1", "m", `"relay":1`))
		got := p.opening()
		p.send(credit(got.id, 100))
		require.EqualValues(t, typeCredit, c.expect().mtype)
		c.Close()
		assert.Equal(t, frame{typeCancel, got.id, `{}`}, p.expect())
	})
}
