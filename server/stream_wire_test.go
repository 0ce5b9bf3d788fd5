package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/server"
)

const (
	typeStream = 40
	typeData   = 41
	typeCredit = 42
	typeEnd    = 43
)

// streaming is a broker that serves streams: "echo" sends back what comes, "hold" reads
// nothing until it is over, "deaf" does not even look at its context before release is
// closed, "pour" sends 100 bytes again and again.
type streaming struct {
	*server.Broker
	held    chan error // why the contexts of "hold" ended
	poured  chan error // the same of "pour"
	release chan struct{}
}

func startStreaming(t *testing.T, opts ...server.Option) *streaming {
	t.Helper()
	s := &streaming{
		Broker: newBroker(append([]server.Option{server.WithLogger(quietLog())}, opts...)...),
		held:   make(chan error, 10_000), poured: make(chan error, 10_000), release: make(chan struct{}),
	}
	methods(t, s)
	handle := func(method string, h server.StreamHandler) {
		require.NoError(t, s.HandleStream(server.Description{Method: method, Result: server.KindAny}, h))
	}
	handle("echo", func(_ json.RawMessage, st abstract.Stream) error {
		for {
			var v json.RawMessage
			switch err := st.Receive(&v); {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			}
			if err := st.Send(v); err != nil {
				return err
			}
		}
	})
	handle("hold", func(_ json.RawMessage, st abstract.Stream) error {
		<-st.Context().Done()
		s.held <- context.Cause(st.Context())
		return errors.New("does not matter")
	})
	handle("deaf", func(json.RawMessage, abstract.Stream) error {
		<-s.release
		return nil
	})
	handle("pour", func(_ json.RawMessage, st abstract.Stream) error {
		for {
			if err := st.Send(repeat("x", 98)); err != nil {
				s.poured <- err
				return err
			}
		}
	})
	handle("open.hello", func(json.RawMessage, abstract.Stream) error { return nil })
	serve(t, s.Broker)
	t.Cleanup(func() { close(s.release) })
	return s
}

// opens opens a stream, and makes sure that it is taken.
func (r *raw) opens(id, method string, members ...string) {
	r.t.Helper()
	r.send(openStream(id, method, members...))
	f := r.expect()
	require.EqualValues(r.t, typeCredit, f.mtype, f.body)
	require.Equal(r.t, id, f.id)
}

func openStream(id, method string, members ...string) frame {
	body := sprintf(`{"method":%q,"parameters":{}`, method)
	for _, m := range members {
		body += "," + m
	}
	return frame{typeStream, id, body + "}"}
}

func data(id, v string) frame { return frame{typeData, id, `{"data":` + v + `}`} }

func credit(id string, n int) frame { return frame{typeCredit, id, sprintf(`{"bytes":%d}`, n)} }

// endsWith makes sure that the next thing that comes is the end of a stream.
func (r *raw) endsWith(id string, code abstract.RCode) frame {
	r.t.Helper()
	f := r.expect()
	require.EqualValues(r.t, typeEnd, f.mtype, f.body)
	require.Equal(r.t, id, f.id)
	require.EqualValues(r.t, code, f.rcode(), f.body)
	return f
}

func TestStreamOnTheWire(t *testing.T) {
	s := startStreaming(t)
	r := dialRaw(t, s.Addr()).hello()
	r.send(openStream("\x00s", "echo", `"credit":150`))
	assert.Equal(t, frame{typeCredit, "\x00s", `{"bytes":65536}`}, r.expect(), "it is taken, and so much may be sent")
	r.send(data("\x00s", `{"a" : 2.0}`))
	assert.Equal(t, frame{typeData, "\x00s", `{"data":{"a" : 2.0}}`}, r.expect(), "byte for byte")
	r.send(data("\x00s", `null`), data("\x00s", `3`), data("\x00s", `4`))
	assert.Equal(t, frame{typeData, "\x00s", `{"data":null}`}, r.expect(), "11 and 64 bytes have left 75")
	assert.Equal(t, frame{typeData, "\x00s", `{"data":3}`}, r.expect(), "there was some credit")
	r.silent() // 4 waits
	r.send(credit("\x00s", 58))
	r.silent() // the debt is paid
	r.send(credit("\x00s", 1))
	assert.Equal(t, frame{typeData, "\x00s", `{"data":4}`}, r.expect())
	r.send(frame{typeEnd, "\x00s", `{"rcode":0}`})
	assert.Equal(t, frame{typeEnd, "\x00s", `{"rcode":0}`}, r.expect())
	r.send(data("\x00s", `5`), credit("\x00s", 5), frame{typeEnd, "\x00s", `{"rcode":0}`}, frame{typeCancel, "\x00s", `{}`})
	r.silent() // it is over
	r.opens("\x00s", "echo")
}

func TestRefusedStreams(t *testing.T) {
	s := startStreaming(t)
	tests := map[string]struct {
		open frame
		code abstract.RCode
		text string
	}{
		"nobody serves it":         {openStream("1", "nothing"), abstract.ServiceNotFound, "not served"},
		"it serves no streams":     {openStream("1", "Add"), abstract.InvalidOp, "call it"},
		"without a method":         {frame{typeStream, "1", `{"parameters":{}}`}, abstract.InvalidMessage, "method"},
		"parameters are no object": {frame{typeStream, "1", `{"method":"echo","parameters":[1]}`}, abstract.InvalidParams, "object"},
		"a credit that is none":    {openStream("1", "echo", `"credit":"much"`), abstract.InvalidMessage, "credit"},
		"credit below nothing":     {openStream("1", "echo", `"credit":-1`), abstract.InvalidMessage, "credit"},
		"meant for another one":    {openStream("1", "echo", `"instance":"x"`), abstract.WrongInstance, "another"},
		"an id of the broker's":    {openStream("~1", "echo"), abstract.InvalidMessage, "~"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := dialRaw(t, s.Addr()).hello()
			r.send(tt.open)
			assert.Contains(t, r.endsWith(tt.open.id, tt.code).field("message"), tt.text)
			r.opens("2", "echo")
		})
	}
	t.Run("called in place of opened", func(t *testing.T) {
		r := dialRaw(t, s.Addr()).hello()
		r.send(frame{typeCall, "1", `{"method":"echo","parameters":{}}`})
		f := r.expect()
		assert.Equal(t, 7, f.rcode())
		assert.Contains(t, f.field("message"), "open one")
	})
	t.Run("by an existing program", func(t *testing.T) {
		r := dialRaw(t, s.Addr())
		r.send(openStream("1", "echo"))
		r.expectClosed()
	})
	t.Run("by a broker without methods", func(t *testing.T) {
		for _, role := range []server.Role{server.RoleRegistry, server.RoleTopic} {
			b := serve(t, newBroker(server.WithRoles(role)))
			r := dialRaw(t, b.Addr()).hello()
			r.send(openStream("1", "echo"))
			r.endsWith("1", abstract.WrongMessageType)
		}
	})
}

func TestMisbehavingPeerLosesItsStream(t *testing.T) {
	tests := map[string]struct {
		do   []frame
		code abstract.RCode
	}{
		"beyond its credit":          {[]frame{data("1", `"`+repeat("x", 40_000)+`"`), data("1", `"`+repeat("x", 40_000)+`"`), data("1", "1")}, abstract.Overloaded},
		"after its end":              {[]frame{{typeEnd, "1", `{"rcode":0}`}, data("1", "1")}, abstract.InvalidMessage},
		"a message without data":     {[]frame{{typeData, "1", `{}`}}, abstract.InvalidMessage},
		"credit that is no number":   {[]frame{{typeCredit, "1", `{"bytes":true}`}}, abstract.InvalidMessage},
		"an end that is none":        {[]frame{{typeEnd, "1", `{"rcode":"x"}`}}, abstract.InvalidMessage},
		"a second one with its id":   {[]frame{openStream("1", "hold")}, abstract.InvalidMessage},
		"cancelled by who opened it": {[]frame{{typeCancel, "1", `{}`}}, abstract.Cancelled},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := startStreaming(t)
			r := dialRaw(t, s.Addr()).hello()
			r.opens("other", "echo", `"credit":100`)
			r.opens("1", "hold")
			r.send(tt.do...)
			r.endsWith("1", tt.code)
			assert.Equal(t, tt.code, abstract.CodeOf(<-s.held), "and its handler knows why")
			r.send(data("other", "1"))
			assert.Equal(t, frame{typeData, "other", `{"data":1}`}, r.expect(), "the others go on")
		})
	}
}

func TestWhoFloodsStreamsThatAreNotThereIsClosed(t *testing.T) {
	for name, f := range map[string]frame{"messages": data("none", `"`+repeat("x", 1000)+`"`), "credit": credit("none", 1), "ends": {typeEnd, "none", `{"rcode":0}`}} {
		t.Run(name, func(t *testing.T) {
			s := startStreaming(t)
			r := dialRaw(t, s.Addr()).hello()
			for range 50 {
				r.send(f)
			}
			r.silent() // some may be late
			frames := make([]frame, 2000)
			for i := range frames {
				frames[i] = f
			}
			r.throw(frames...)
			bye := r.expect()
			assert.EqualValues(t, 20, bye.mtype)
			assert.EqualValues(t, abstract.Overloaded, bye.rcode())
			r.expectClosed()
		})
	}
}

func TestWhatWasSentBeforeTheEndIsKnownIsNoFlood(t *testing.T) {
	s := startStreaming(t)
	r := dialRaw(t, s.Addr()).hello()
	for i := range 200 {
		id := strconv.Itoa(i)
		r.opens(id, "hold")
		r.send(frame{typeCancel, id, `{}`})
		for range 60 { // nearly all that it may
			r.send(data(id, `"`+repeat("x", 1000)+`"`))
		}
		r.endsWith(id, abstract.Cancelled)
	}
	r.silent()
}

func TestStreamsAreLimited(t *testing.T) {
	t.Run("of a connection", func(t *testing.T) {
		s := startStreaming(t, server.WithStreams(2, 0))
		r := dialRaw(t, s.Addr()).hello()
		r.opens("1", "hold")
		r.opens("2", "deaf")
		r.send(openStream("3", "hold"))
		assert.Contains(t, r.endsWith("3", abstract.Overloaded).field("message"), "2 streams of this connection")
		r.send(frame{typeCancel, "1", `{}`})
		r.endsWith("1", abstract.Cancelled)
		<-s.held
		require.Eventually(t, func() bool { return s.Streams() == 1 }, patience, time.Millisecond)
		r.opens("3", "hold")
		r.send(frame{typeCancel, "2", `{}`})
		r.endsWith("2", abstract.Cancelled)
		r.send(openStream("4", "hold"))
		r.endsWith("4", abstract.Overloaded) // the handler that does not look has its place still
		s.SetLimits(server.Limits{StreamsPerConn: 3})
		r.opens("4", "hold")
		dialRaw(t, s.Addr()).hello().opens("1", "hold")
	})
	t.Run("in all", func(t *testing.T) {
		s := startStreaming(t, server.WithStreams(0, 2))
		for range 2 {
			dialRaw(t, s.Addr()).hello().opens("1", "hold")
		}
		r := dialRaw(t, s.Addr()).hello()
		r.send(openStream("1", "hold"))
		assert.NotNil(t, r.endsWith("1", abstract.Overloaded).field("details"), "when to try again")
	})
	t.Run("by quota", func(t *testing.T) {
		guard := bounded(t, `{"in_flight": 2}`)
		s := startStreaming(t, server.WithGuard(guard))
		r := dialRaw(t, s.Addr()).hello()
		r.opens("1", "hold")
		r.opens("2", "hold")
		r.send(openStream("3", "hold"))
		r.endsWith("3", abstract.Overloaded)
		r.send(frame{typeCall, "4", `{"method":"Add","parameters":{"num1":1,"num2":2}}`})
		assert.EqualValues(t, abstract.Overloaded, r.expect().rcode())
		r.Close()
		require.Eventually(t, func() bool { return guard.Account(access.Anonymous).Used(access.InFlight) == 0 }, patience, time.Millisecond)
	})
	t.Run("by rate", func(t *testing.T) {
		s := startStreaming(t, server.WithMethodRateLimit("echo", 0.001, 1))
		r := dialRaw(t, s.Addr()).hello()
		r.opens("1", "echo")
		r.send(openStream("2", "echo"))
		r.endsWith("2", abstract.Overloaded)
	})
	t.Run("by permissions", func(t *testing.T) {
		guard, _ := guarded(t)
		s := startStreaming(t, server.WithGuard(guard))
		r := dialRaw(t, s.Addr()).hello()
		r.send(openStream("1", "echo"))
		r.endsWith("1", abstract.Denied)
		r.opens("2", "open.hello")
		r.endsWith("2", abstract.OK)
	})
}

// TestStreamsOfAConnectionHaveTheirShare: whatever credit a peer has given, and however
// slowly it reads.
func TestStreamsOfAConnectionHaveTheirShare(t *testing.T) {
	s := startStreaming(t, server.WithMaxQueued(64<<20))
	r := dialRaw(t, s.Addr()).hello()
	const streams = 20
	frames := make([]frame, streams)
	for i := range frames {
		frames[i] = openStream(strconv.Itoa(i), "pour", `"credit":2147483647`)
	}
	r.send(frames...)
	got, served := make(map[string]int), 0
	for n := 0; served < streams; n++ {
		require.Less(t, n, 400_000, "some get nothing: %v", got)
		if f := r.expect(); f.mtype == typeData {
			if got[f.id]++; got[f.id] == 500 {
				served++
			}
		}
	}
	r.Close()
	for range streams {
		assert.ErrorIs(t, <-s.poured, abstract.ErrDisconnected)
	}
}

func TestShutdownEndsStreams(t *testing.T) {
	b := newBroker(server.WithLogger(quietLog()), server.WithDrain(0, 50*time.Millisecond))
	begun, cause := make(chan struct{}), make(chan error, 1)
	require.NoError(t, b.HandleStream(server.Description{Method: "hold", Result: server.KindAny}, func(_ json.RawMessage, st abstract.Stream) error {
		close(begun)
		<-st.Context().Done()
		cause <- context.Cause(st.Context())
		return nil
	}))
	require.NoError(t, b.Listen())
	ended := make(chan error, 1)
	go func() { ended <- b.Serve() }()
	r := dialRaw(t, b.Addr()).hello()
	r.opens("1", "hold")
	<-begun
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	down := make(chan error, 1)
	go func() { down <- b.Shutdown(ctx) }()
	r.endsWith("1", abstract.Draining)
	require.ErrorIs(t, <-cause, abstract.ErrDraining)
	r.send(openStream("2", "hold"))
	require.Condition(t, func() bool {
		for {
			f, err := r.read()
			if err != nil || f.mtype == typeEnd && f.rcode() == int(abstract.Draining) {
				return true
			}
			if f.mtype == typeCredit {
				return false
			}
		}
	}, "a new one is refused")
	r.Close()
	require.NoError(t, <-down)
	require.NoError(t, <-ended)
}
