package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/memstore"
	"trefoil/server"
)

// benchTime is how long the benches of the tests go on: long enough for something to be
// done on any machine.
const benchTime = 500 * time.Millisecond

// benchBroker is a broker in this process, whose store can be looked into.
type benchBroker struct {
	*server.Broker
	store *memstore.Store
	addr  string
}

func newBenchBroker(t *testing.T) *benchBroker {
	t.Helper()
	store := memstore.New()
	b := &benchBroker{Broker: server.NewBroker("127.0.0.1:0", server.WithStore(store)), store: store}
	require.NoError(t, b.Listen())
	b.addr = b.Addr().String()
	served := make(chan error, 1)
	go func() { served <- b.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		assert.NoError(t, b.Shutdown(ctx))
		assert.NoError(t, <-served)
		assert.NoError(t, store.Close())
	})
	return b
}

// holdsNothing waits until nobody has a topic or a registration at the broker: it
// hears of closed connections a moment later.
func (b *benchBroker) holdsNothing(t *testing.T) {
	t.Helper()
	var keys []abstract.KV
	assert.Eventually(t, func() bool {
		var err error
		keys, _, err = b.store.Range(t.Context(), "", 0)
		keys = slices.DeleteFunc(keys, func(kv abstract.KV) bool { return kv.Key == "/topics//ended" }) // when a topic was removed last
		return err == nil && len(keys) == 0
	}, patience, time.Millisecond)
	assert.Empty(t, keys)
}

// bench runs a bench for a short time and reads its JSON.
func (b *benchBroker) bench(t *testing.T, out any, args ...string) finished {
	t.Helper()
	args = append([]string{"bench"}, args...)
	f := inProcess(t, "", append(args, "--broker", b.addr, "--duration", benchTime.String(), "--json")...)
	require.Equal(t, 1, strings.Count(f.out, "\n"), "%s%s", f.out, f.err)
	require.NoError(t, json.Unmarshal([]byte(f.out), out))
	return f
}

func assertAddsUp(t *testing.T, m *measuredOutput) {
	t.Helper()
	require.NotNil(t, m)
	assert.Positive(t, m.Operations)
	assert.Positive(t, m.PerSecond)
	var counted, failed int64
	for _, st := range m.Histogram {
		counted += st.Count
	}
	for _, e := range m.Errors {
		failed += e.Count
	}
	assert.Equal(t, m.Operations, counted, "the histogram counts every operation")
	assert.Equal(t, m.Failed, failed, "every failure has a code")
	require.NotNil(t, m.Latency)
	l := m.Latency
	assert.IsNonDecreasing(t, []float64{0, l.P50, l.P90, l.P99, l.P999, l.Max})
	assert.Positive(t, l.P50)
}

func TestBenchRpcAddsUpAndLeavesNothing(t *testing.T) {
	for name, args := range map[string][]string{
		"sync":     {"--mode", "sync"},
		"future":   {"--mode", "future", "--conns", "3"},
		"callback": {"--mode", "callback", "--inflight", "1"},
		"paced":    {"--rate", "500"},
		"big":      {"--size", "65536", "--inflight", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBenchBroker(t)
			var out rpcOutput
			f := b.bench(t, &out, append([]string{"rpc"}, args...)...)
			require.Equal(t, exitOK, f.code, f.err)
			assert.Empty(t, f.err)
			assert.Equal(t, "rpc", out.Bench)
			assertAddsUp(t, out.Calls)
			assert.Zero(t, out.Calls.Failed)
			b.holdsNothing(t)
		})
	}
}

func TestPacedBenchBeginsWhatWasDueOrSaysThatItDidNot(t *testing.T) {
	b := newBenchBroker(t)
	var out rpcOutput
	b.bench(t, &out, "rpc", "--rate", "1000")
	assert.EqualValues(t, 1000*benchTime.Seconds(), out.Calls.Operations+out.Calls.Failed+out.Calls.Unsent, "1000 a second")
}

func TestBenchTopicAddsUpAndLeavesNothing(t *testing.T) {
	for name, args := range map[string][]string{
		"one publisher": {},
		"several":       {"--publishers", "3", "--subscribers", "7", "--size", "1024"},
		"paced":         {"--rate", "500", "--subscribers", "2"},
		"smallest":      {"--size", "32"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBenchBroker(t)
			var out topicBenchOutput
			f := b.bench(t, &out, append([]string{"topic"}, args...)...)
			require.Equal(t, exitOK, f.code, f.err)
			assert.Empty(t, f.err)
			assertAddsUp(t, out.Published)
			assertAddsUp(t, out.Deliveries)
			assert.Equal(t, out.Published.Operations*int64(out.Subscribers), out.Deliveries.Operations+out.Missed)
			assert.Zero(t, out.Lost)
			assert.Greater(t, out.Deliveries.Latency.Max, 1.0, "it is the time since the message was due")
			b.holdsNothing(t)
		})
	}
}

func TestBenchDiscoveryAddsUpAndLeavesNothing(t *testing.T) {
	b := newBenchBroker(t)
	var out discoveryOutput
	f := b.bench(t, &out, "discovery", "--sessions", "4")
	require.Equal(t, exitOK, f.code, f.err)
	assert.Empty(t, f.err)
	for _, m := range []*measuredOutput{out.LookUps, out.Registrations, out.Online} {
		assertAddsUp(t, m)
		assert.Zero(t, m.Failed)
	}
	b.holdsNothing(t)
}

// TestInterruptedBenchLeavesNothing interrupts as soon as a bench has created or
// registered something.
func TestInterruptedBenchLeavesNothing(t *testing.T) {
	for _, kind := range []string{"rpc", "topic", "discovery"} {
		t.Run(kind, func(t *testing.T) {
			b := newBenchBroker(t)
			ctx, interrupt := context.WithTimeout(t.Context(), patience)
			defer interrupt()
			var saw atomic.Bool
			defer b.store.Follow("", func(abstract.Change) { saw.Store(true); interrupt() })()
			run(ctx, []string{"bench", kind, "--broker", b.addr, "--duration", "1h"}, strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{})
			assert.True(t, saw.Load(), "there was something to leave")
			b.holdsNothing(t)
		})
	}
}

func TestInterruptedBenchPrintsWhatThereIs(t *testing.T) {
	t.Parallel()
	b := newBenchBroker(t)
	ctx, interrupt := context.WithTimeout(t.Context(), patience)
	defer interrupt()
	var calls atomic.Int64
	serve(t, b, func(ctx context.Context) error {
		switch n := calls.Add(1); {
		case n == 100:
			interrupt()
		case n > 100: // until its caller has gone
			<-ctx.Done()
		}
		return nil
	})
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"bench", "rpc", "--direct", b.addr, "--method", "m", "--duration", "1h", "--timeout", "1h", "--json"}, strings.NewReader(""), &stdout, &stderr)
	require.Equal(t, exitOK, code, stderr.String())
	var out rpcOutput
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &out))
	assertAddsUp(t, out.Calls)
	assert.True(t, out.Interrupted)
	assert.GreaterOrEqual(t, calls.Load(), out.Calls.Operations+out.Calls.Unfinished)
}

// serve serves a method m in the broker itself.
func serve(t *testing.T, b *benchBroker, do func(context.Context) error) {
	t.Helper()
	err := b.HandleFunc(server.Description{Method: "m", Result: "object"}, func(ctx context.Context, _ json.RawMessage) (any, error) {
		return struct{}{}, do(ctx)
	})
	require.NoError(t, err)
}

func TestBenchOfAMethodThatFailsExitsWithOneAndCountsByCode(t *testing.T) {
	b := newBenchBroker(t)
	serve(t, b, func(context.Context) error { return abstract.Errorf(abstract.Overloaded, "too much") })
	f := inProcess(t, "", "bench", "rpc", "--direct", b.addr, "--method", "m", "--duration", benchTime.String(), "--json")
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "too much")
	var out rpcOutput
	require.NoError(t, json.Unmarshal([]byte(f.out), &out))
	assert.Zero(t, out.Calls.Operations)
	assert.Positive(t, out.Calls.Failed)
	require.Len(t, out.Calls.Errors, 1)
	assert.Equal(t, "overloaded", out.Calls.Errors[0].Code)
	assert.Equal(t, out.Calls.Failed, out.Calls.Errors[0].Count)
}

func TestBenchOfAMethodThatSometimesFailsGoesOn(t *testing.T) {
	b := newBenchBroker(t)
	var calls atomic.Int64
	serve(t, b, func(context.Context) error {
		if calls.Add(1)%2 == 1 {
			return abstract.Errorf(abstract.Denied, "not you")
		}
		return nil
	})
	f := inProcess(t, "", "bench", "rpc", "--direct", b.addr, "--method", "m", "--params", `{"a":1}`, "--duration", benchTime.String())
	assert.Equal(t, exitOK, f.code, f.err)
	assert.Contains(t, f.out, "failed: denied (rcode 21), such as: ")
	assert.Contains(t, f.out, "p99.9")
}

func TestBenchOfAMethodThatNobodyProvidesSaysSo(t *testing.T) {
	b := newBenchBroker(t)
	f := inProcess(t, "", "bench", "rpc", "--broker", b.addr, "--method", "nobody")
	assert.Equal(t, exitFailed, f.code)
	assert.Empty(t, f.out)
	assert.Contains(t, f.err, "nobody provides nobody now")
}

func TestBenchPrintsForPeople(t *testing.T) {
	b := newBenchBroker(t)
	for kind, what := range map[string][]string{
		"rpc":       {"calling an echo", " calls in "},
		"topic":     {"1 publisher to 10 subscribers", " deliveries in ", "were missed"},
		"discovery": {"16 sessions", " look-ups in ", " registrations, each taken back, in ", " seen by a watcher in "},
	} {
		t.Run(kind, func(t *testing.T) {
			f := inProcess(t, "", "bench", kind, "--broker", b.addr, "--duration", benchTime.String())
			require.Equal(t, exitOK, f.code, f.err)
			for _, text := range append(what, "p50", "p99.9", "max", "<=", "##", "processor time") {
				assert.Contains(t, f.out, text)
			}
		})
	}
}

func TestBenchWithoutBrokerFailsAndSaysWhatToDo(t *testing.T) {
	addr := freeAddr(t)
	for name, args := range map[string][]string{
		"rpc":       {"rpc", "--broker", addr},
		"method":    {"rpc", "--method", "m", "--broker", addr},
		"direct":    {"rpc", "--method", "m", "--direct", addr},
		"topic":     {"topic", "--broker", addr},
		"discovery": {"discovery", "--broker", addr},
	} {
		t.Run(name, func(t *testing.T) {
			f := inProcess(t, "", append([]string{"bench"}, args...)...)
			assert.Equal(t, exitFailed, f.code)
			assert.Empty(t, f.out)
			assert.Equal(t, 1, strings.Count(f.err, "\n"), f.err)
			assert.Contains(t, f.err, addr)
		})
	}
}

func TestWrongUsageOfBenchExitsWithTwoAndOneLine(t *testing.T) {
	for name, args := range map[string][]string{
		"nothing to measure":      {},
		"unknown":                 {"disk"},
		"an argument":             {"rpc", "x"},
		"unknown mode":            {"rpc", "--mode", "later"},
		"no time":                 {"rpc", "--duration", "0s"},
		"too long":                {"topic", "--duration", "2h"},
		"no timeout":              {"discovery", "--timeout", "0s"},
		"nothing in flight":       {"rpc", "--inflight", "0"},
		"fewer calls than conns":  {"rpc", "--inflight", "2", "--conns", "3"},
		"no connection":           {"rpc", "--conns", "0"},
		"too many connections":    {"rpc", "--conns", "100000", "--inflight", "100000"},
		"negative rate":           {"rpc", "--rate", "-1"},
		"size too small":          {"topic", "--size", "31"},
		"size too big":            {"rpc", "--size", "4194305"},
		"direct without a method": {"rpc", "--direct", "a:1"},
		"params without a method": {"rpc", "--params", "{}"},
		"params no object":        {"rpc", "--method", "m", "--params", "[]"},
		"method and size":         {"rpc", "--method", "m", "--size", "64"},
		"broker and direct":       {"rpc", "--method", "m", "--broker", "a:1", "--direct", "b:1"},
		"no publisher":            {"topic", "--publishers", "0"},
		"no subscriber":           {"topic", "--subscribers", "0"},
		"no session":              {"discovery", "--sessions", "0"},
		"rate of discovery":       {"discovery", "--rate", "5"},
	} {
		t.Run(name, func(t *testing.T) {
			f := inProcess(t, "", append([]string{"bench"}, args...)...)
			assert.Equal(t, exitUsage, f.code)
			assert.Empty(t, f.out)
			assert.Equal(t, 1, strings.Count(f.err, "\n"), f.err)
			assert.Contains(t, f.err, "--help")
		})
	}
}

func TestOperationsNamesEveryFlagOfBench(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(text), "\n## Measuring\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n## ")
	for _, row := range flagTable(&settings{}) {
		for name := range strings.FieldsSeq(row.commands) {
			kind, ok := strings.CutPrefix(name, "bench-")
			if ok && !strings.HasPrefix(row.name, "log-") {
				assert.Contains(t, section, "trefoil bench "+kind)
				assert.Contains(t, section, "`--"+row.name, name)
			}
		}
	}
}
