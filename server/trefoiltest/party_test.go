package trefoiltest_test

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil"
	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/client"
	"trefoil/server"
	"trefoil/server/trefoiltest"
)

func TestAllPartsWorkTogetherOverTLS(t *testing.T) {
	inBothTimes(t, func(t *testing.T) {
		broker := trefoiltest.NewTLS(t, server.WithDialBack(time.Minute))
		require.NoError(t, server.Handle(broker.Provide(t), "greet", greet))
		c := broker.As("reader").Dial(t)
		var text string
		require.NoError(t, c.Rpc().Call(t.Context(), "greet", GreetArgs{"a"}, &text))
		assert.Equal(t, "hello a", text)
		require.NoError(t, c.Topics().Create(t.Context(), "news"))
		got := hears(t, broker.Dial(t).Topics(), "news")
		require.NoError(t, c.Topics().Publish(t.Context(), "news", "m"))
		assert.Equal(t, "m", <-got)
	})
}

func TestConnectionsOverTLSBreakAndComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := trefoiltest.NewTLS(t)
		writer, reader := broker.Dial(t), broker.As("reader").Open(t)
		require.NoError(t, News.Create(t.Context(), writer.Topics()))
		got := hears(t, reader.Topics(), "news")
		for name, fault := range map[string]func(){"cut": reader.Cut, "half open": reader.HalfOpen, "restart": broker.Restart} {
			fault()
			time.Sleep(time.Minute)
			broker.Settle()
			require.NoError(t, writer.Topics().Publish(t.Context(), "news", name))
			assert.Equal(t, name, <-got)
		}
		reader.Stall()
		for range 100 {
			require.NoError(t, writer.Topics().Publish(t.Context(), "news", strings.Repeat("x", 8<<10)))
		}
		synctest.Wait()
		assert.Empty(t, got)
		reader.Heal()
		for range 100 {
			assert.Len(t, <-got, 8<<10)
		}
	})
}

func TestWhoDoesNotSpeakTLSIsNotServed(t *testing.T) {
	broker := trefoiltest.NewTLS(t)
	raw, err := broker.Network().Dial(t.Context(), broker.Addr())
	require.NoError(t, err)
	defer raw.Close()
	_, err = io.WriteString(raw, "GET / HTTP/1.1\r\n\r\n")
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, raw)
	require.NoError(t, err, "it is closed")
}

// Programs that make their clients themselves join, too.
func TestProgramsJoinOverTLS(t *testing.T) {
	broker := trefoiltest.NewTLS(t)
	require.NoError(t, server.Handle(broker.Server(), "greet", greet))
	calls, err := client.DialRpc(t.Context(), broker.Addr(), client.WithTransport(broker.As("program").Client), client.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	defer calls.Close()
	require.NoError(t, calls.Call(t.Context(), "greet", GreetArgs{"a"}, nil))
}

func TestProvidersAreSomebody(t *testing.T) {
	policy, err := access.ParsePolicy([]byte(`{
		"identities": {"greeter": {"allow": {"provide": ["greet"]}}, "anonymous": {"allow": {"discover": [">"]}}},
		"certificates": [{"dns": "greeter-1", "identity": "greeter"}]
	}`))
	require.NoError(t, err)
	broker := trefoiltest.NewTLS(t, server.WithGuard(access.NewGuard(policy, nil)))
	require.NoError(t, Greet.Handle(broker.As("greeter-1").Provide(t), func(_ context.Context, in GreetArgs) (string, error) {
		return "hello " + in.Name, nil
	}))
	text, err := Greet.Call(t.Context(), broker.Rpc(t), GreetArgs{"you"}, trefoil.Timeout(time.Minute))
	require.NoError(t, err)
	assert.Equal(t, "hello you", text)
	err = Greet.Handle(broker.Provide(t), greet)
	assert.ErrorIs(t, err, abstract.ErrDenied)
}
