package server_test

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/server"
)

// TestEndThatIsTooLargeIsToldShort: without its end the opener would wait for ever.
func TestEndThatIsTooLargeIsToldShort(t *testing.T) {
	s := startStreaming(t)
	require.NoError(t, s.HandleStream(server.Description{Method: "wordy", Result: server.KindAny}, func(json.RawMessage, abstract.Stream) error {
		return &abstract.Error{Code: abstract.Denied, Message: "no", Details: json.RawMessage(`"` + repeat("x", 9<<20) + `"`)}
	}))
	r := dialRaw(t, s.Addr()).hello()
	r.opens("1", "wordy")
	r.endsWith("1", abstract.Denied)
}

// TestParametersOfOpenStreamsAreBounded: they stay as long as the streams.
func TestParametersOfOpenStreamsAreBounded(t *testing.T) {
	s := startStreaming(t, server.WithMaxInbound(2<<20))
	large := func(id string) frame {
		return frame{typeStream, id, `{"method":"hold","parameters":{"x":"` + repeat("x", 900_000) + `"}}`}
	}
	r := dialRaw(t, s.Addr()).hello()
	for _, id := range []string{"1", "2"} {
		r.send(large(id))
		require.EqualValues(t, typeCredit, r.expect().mtype)
	}
	r.send(large("3"))
	assert.Contains(t, r.endsWith("3", abstract.Overloaded).field("message"), "parameters")
	r.opens("4", "echo", `"credit":100`)
	r.send(data("4", `"`+repeat("x", 600_000)+`"`))
	r.endsWith("4", abstract.Overloaded)
	r.send(frame{typeCancel, "1", `{}`})
	r.endsWith("1", abstract.Cancelled)
	<-s.held
	require.Eventually(t, func() bool { return s.Streams() == 1 }, patience, time.Millisecond)
	r.send(large("3"))
	require.EqualValues(t, typeCredit, r.expect().mtype)
}

// TestStreamsDoNotCloseAProviderThatDoesNotRead: what callers open through the broker waits
// for room in the provider's queue, and what they give up meanwhile does not stay open.
func TestStreamsDoNotCloseAProviderThatDoesNotRead(t *testing.T) {
	b := broker(t, server.WithMaxQueued(1<<20), server.WithWriteTimeout(time.Hour))
	p, c := dialRaw(t, b.Addr()).offers("deaf"), dialRaw(t, b.Addr()).hello()
	const streams = 300
	for i := range streams {
		id := strconv.Itoa(i)
		c.send(frame{typeStream, id, sprintf(`{"method":"m","relay":1,"parameters":{"i":%d,"x":"`, i) + repeat("x", 60_000) + `"}}`})
		if i%2 == 1 {
			c.send(frame{typeCancel, id, `{}`})
			c.endsWith(id, abstract.Cancelled)
		}
	}
	wanted, unwanted := 0, make(map[string]bool)
	for wanted < streams/2 || len(unwanted) > 0 {
		f := p.expectNot(typePing)
		switch params, _ := f.field("parameters").(map[string]any); {
		case f.mtype == typeCancel:
			require.True(t, unwanted[f.id], "a CANCEL before what it is about does nothing")
			delete(unwanted, f.id)
		case int(params["i"].(float64))%2 == 1:
			unwanted[f.id] = true
		default:
			wanted++
		}
	}
}
