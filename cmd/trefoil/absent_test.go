package main

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/server"
)

// ownWorld is a broker that serves a method and a stream itself.
func ownWorld(t *testing.T) (addr string) {
	t.Helper()
	b := server.NewBroker("127.0.0.1:0", server.WithLogger(silent))
	require.NoError(t, b.HandleFunc(server.Description{Method: "house.upper", Result: server.KindAny}, func(_ context.Context, params json.RawMessage) (any, error) {
		return params, nil
	}))
	require.NoError(t, b.HandleStream(server.Description{Method: "house.ticks", Result: server.KindAny}, func(_ json.RawMessage, s abstract.Stream) error {
		return s.Send(1)
	}))
	require.NoError(t, b.Listen())
	ended := make(chan error, 1)
	go func() { ended <- b.Serve() }()
	t.Cleanup(func() {
		assert.NoError(t, b.Shutdown(context.Background()))
		assert.NoError(t, <-ended)
	})
	return b.Addr().String()
}

func TestMethodsOfTheBrokerItselfAreProposed(t *testing.T) {
	broker := ownWorld(t)
	there := "nobody provides house.upper, but the broker at " + broker + " serves it itself; add --direct " + broker
	near := "nobody provides house.uper now; did you mean house.upper with --direct " + broker + "?"
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"describe":          {[]string{"describe", "house.upper"}, there},
		"call":              {[]string{"call", "house.upper"}, there},
		"send":              {[]string{"call", "house.upper", "--oneway"}, there},
		"all":               {[]string{"call", "house.upper", "--all"}, there},
		"stream":            {[]string{"call", "house.upper", "--stream"}, there},
		"describe a near":   {[]string{"describe", "house.uper"}, near},
		"call a near":       {[]string{"call", "house.uper"}, near},
		"services":          {[]string{"services"}, "the broker at " + broker + " serves house.ticks, house.upper itself; see 'trefoil describe house.ticks --direct " + broker + "'"},
		"services of those": {[]string{"services", "house.u"}, "the broker at " + broker + " serves house.upper itself"},
	} {
		t.Run(name, func(t *testing.T) {
			f := inProcess(t, "", append(tt.args, "--broker", broker)...)
			assert.Equal(t, exitFailed, f.code)
			assert.Contains(t, f.err, tt.want)
			assert.Empty(t, f.out)
		})
	}
	f := inProcess(t, "", "services", "other", "--broker", broker)
	assert.NotContains(t, f.err, "itself")
	f = inProcess(t, "", "call", "house.upper", "--direct", broker)
	assert.Equal(t, exitOK, f.code, "what was proposed: %s", f.err)

	f = inProcess(t, "", "describe", "house.upper", "--direct", broker)
	require.Equal(t, exitOK, f.code, f.err)
	assert.Contains(t, f.out, "house.upper(...) any\n  what it takes and returns is not described\n")
}

// With providers, what the broker serves is beside them, and not on standard output.
func TestServicesTellOfTheBrokersOwnBesideTheOthers(t *testing.T) {
	broker := ownWorld(t)
	startProvider(t, broker, "echo", "cat")
	f := inProcess(t, "", "services", "--broker", broker)
	require.Equal(t, exitOK, f.code, f.err)
	assert.Equal(t, "(no service)\n  echo  1 up\n", f.out)
	assert.Contains(t, f.err, "house.ticks, house.upper itself")
}

func TestCallsAndStreamsOfTheOtherKindSaySo(t *testing.T) {
	broker := ownWorld(t)
	f := inProcess(t, "", "call", "house.ticks", "--direct", broker)
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "house.ticks is a bidirectional stream; call it with --stream")
	f = inProcess(t, "", "call", "house.upper", "--stream", "--direct", broker)
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "house.upper is no stream; call it without --stream")
	f = inProcess(t, "", "call", "house.ticks", "--direct", broker, "--json")
	var out callOutput
	require.NoError(t, json.Unmarshal([]byte(f.out), &out))
	assert.Equal(t, abstract.InvalidOp, out.Error.RCode)
}

func TestNearMissesOfCallsAreProposed(t *testing.T) {
	broker, provider := describedWorld(t)
	for name, args := range map[string][]string{
		"through the broker": {"call", "orders.plac", "--broker", broker},
		"to everybody":       {"call", "orders.plac", "--all", "--broker", broker},
		"directly":           {"call", "orders.plac", "--direct", provider},
	} {
		t.Run(name, func(t *testing.T) {
			f := inProcess(t, "", args...)
			assert.Equal(t, exitFailed, f.code)
			assert.Contains(t, f.err, "did you mean orders.place?")
		})
	}
}

// What is about brokers asks a broker, whatever registry the environment names, and says so.
func TestBrokersCommandsSayWhomTheyAsk(t *testing.T) {
	broker, _ := describedWorld(t)
	for _, args := range [][]string{{"services"}, {"registry", "status"}} {
		t.Run(args[0], func(t *testing.T) {
			t.Setenv("TREFOIL_BROKER", broker)
			t.Setenv(registryEnv, "zookeeper://me:secret@127.0.0.1:1")
			f := inProcess(t, "", args...)
			require.Equal(t, exitOK, f.code, f.err)
			assert.Contains(t, f.err, "asking the broker at "+broker+": this is about brokers, and not about $TREFOIL_REGISTRY, which is zookeeper://127.0.0.1:1\n")
			assert.NotContains(t, f.err, "secret")

			f = inProcess(t, "", append(args, "--broker", broker)...)
			require.Equal(t, exitOK, f.code, f.err)
			assert.Empty(t, f.err, "it was said")

			t.Setenv("TREFOIL_BROKER", freeAddr(t))
			t.Setenv(registryEnv, "trefoil://"+broker)
			f = inProcess(t, "", args...)
			require.Equal(t, exitOK, f.code, f.err)
			assert.Empty(t, f.err)

			t.Setenv(registryEnv, "nonsense")
			f = inProcess(t, "", args...)
			assert.Equal(t, exitUsage, f.code)
			assert.Contains(t, f.err, "$TREFOIL_REGISTRY")
		})
	}
}
