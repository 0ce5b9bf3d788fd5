package main

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	// minBenchSize has room for what a bench puts into a request or a message.
	minBenchSize = 32
	// maxBenchSize fits into a frame as peers take it when nobody changed their limit.
	maxBenchSize = 4 << 20
	// maxBenchConns is for one process: each connection takes a descriptor at both ends.
	maxBenchConns = 10_000
	// maxBenchInFlight is what a connection takes when nobody changed its limit.
	maxBenchInFlight = 65_536
	maxBenchRate     = 10_000_000
	maxBenchDuration = time.Hour
)

// benchSettings is what the flags of the bench commands say.
type benchSettings struct {
	method, params                    string
	size, inflight, conns, rate       int
	publishers, subscribers, sessions int
	duration                          time.Duration
}

func (a *app) benchCommand() *cobra.Command {
	bench := &cobra.Command{
		Use:   "bench",
		Short: "Measure a running broker: calls, topics or discovery",
		Long: "Measure how fast a running broker and its clients are here and now: throughput,\n" +
			"latency, errors, and what the bench itself takes of the processor. It is a quick\n" +
			"look, with both ends of the load in one process. What it creates or registers has\n" +
			"a name of its own and is taken back at the end. An interrupt ends it early, with\n" +
			"what there is. It exits with 1 when nothing succeeded.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("say what to measure: rpc, topic or discovery")
		},
	}
	bench.AddCommand(a.benchRpcCommand(), a.benchTopicCommand(), a.benchDiscoveryCommand())
	return bench
}

// benchOf makes a command of the bench.
func (a *app) benchOf(name, short, long string, do action) *cobra.Command {
	return a.command(cobra.Command{
		Use: name + " [flags]", Short: short, Long: long, Args: cobra.NoArgs,
		Annotations: map[string]string{inTable: "bench-" + name},
	}, do)
}

// uniqueName is a name that nobody else has.
func uniqueName(kind string) string { return "bench." + kind + "." + strings.ToLower(rand.Text()[:13]) }

// padded is a JSON text of size bytes: before, as many x as it takes, after.
func padded(size int, before, after string) json.RawMessage {
	text := make([]byte, 0, size)
	text = append(text, before...)
	for len(text)+len(after) < size {
		text = append(text, 'x')
	}
	return append(text, after...)
}

// between is for flags with bounds.
func between[N int | time.Duration](flag string, n, low, high N) error {
	switch {
	case n < low:
		return usagef("--%s must be at least %v", flag, low)
	case n > high:
		return usagef("--%s must be at most %v", flag, high)
	}
	return nil
}

// firstError is the first of the checks that found something.
func firstError(checks ...error) error {
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkBench checks what all bench commands have.
func (s *settings) checkBench() error {
	return firstError(
		positive("timeout", s.timeout),
		positive("duration", s.bench.duration),
		between("duration", s.bench.duration, 0, maxBenchDuration),
	)
}
