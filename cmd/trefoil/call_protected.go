package main

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"trefoil/business/balance"
	"trefoil/client"
)

// protectSettings is what the flags say of how a call is protected.
type protectSettings struct {
	hedge   time.Duration
	retry   int
	explain bool
}

func protectFlags(s *settings) []flagRow {
	return []flagRow{
		{commands: "call", name: "hedge", to: &s.protect.hedge, def: time.Duration(0), help: "with --idempotent: when the answer takes longer than this time, ask a second provider, too (0: do not)"},
		{commands: "call", name: "retry", to: &s.protect.retry, def: 0, help: "try at most `N` times, the first attempt included; 1 is no retry (0: as often as the deadline allows)"},
		{commands: "call", name: "explain", to: &s.protect.explain, def: false, help: "after the call write to standard error what is known of each provider; with --json as a member of the output"},
	}
}

// checkProtection says what is wrong with the flags.
func checkProtection(s *settings) error {
	switch {
	case s.protect.hedge < 0:
		return usagef("--hedge is a time of 0 or more, not %s", s.protect.hedge)
	case s.protect.hedge > 0 && !s.idempotent:
		return usagef("--hedge may call the method twice; give --idempotent, too, if that does no harm")
	case s.protect.retry < 0:
		return usagef("--retry is a number of 0 or more, not %d", s.protect.retry)
	}
	return nil
}

// callOptions is what the flags say of one call.
func callOptions(s *settings) []client.CallOption {
	opts := []client.CallOption{client.Timeout(s.timeout)}
	if s.idempotent {
		opts = append(opts, client.Idempotent())
	}
	if s.key != "" {
		opts = append(opts, client.Key(s.key))
	}
	if s.way.instance != "" {
		opts = append(opts, client.OnInstance(s.way.instance))
	}
	if s.protect.hedge > 0 {
		opts = append(opts, client.HedgeAfter(s.protect.hedge))
	}
	if s.protect.retry > 0 {
		opts = append(opts, client.Retry(s.protect.retry))
	}
	return append(opts, relayOptions(s)...)
}

// instanceOutput is what a caller knows of a provider, for programs.
type instanceOutput struct {
	providerOutput
	State     string  `json:"state"`
	Connected bool    `json:"connected"`
	Pending   int     `json:"pending"`
	LatencyMs float64 `json:"latency_ms,omitempty"`
	Share     float64 `json:"share"`
	Ejected   bool    `json:"ejected,omitempty"`
	Gone      bool    `json:"gone,omitempty"` // another process has its address
	Problem   string  `json:"problem,omitempty"`
}

func instanceOutputs(states []client.InstanceState) []instanceOutput {
	out := make([]instanceOutput, 0, len(states))
	for _, s := range states {
		o := instanceOutput{
			providerOutput: newProviderOutput(s.Provider, false), State: s.Provider.State.String(), Connected: s.Connected, Pending: s.Pending,
			LatencyMs: float64(s.Latency.Microseconds()) / 1000, Share: s.Share, Ejected: s.Ejected, Gone: s.Gone,
		}
		if s.Problem != nil {
			o.Problem = s.Problem.Error()
		}
		out = append(out, o)
	}
	return out
}

// explain writes a line for each provider that the client could have called.
func explain(w io.Writer, out callOutput, attempts int) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s: %s in %g ms\n", out.Method, plural(attempts, "attempt"), out.Ms)
	for _, i := range out.Instances {
		role := "not connected"
		switch {
		case i.Gone:
			role = "another process is there"
		case i.Problem != "":
			role = oneLine(i.Problem)
		case fmt.Sprintf("%s:%d", i.Host, i.Port) == out.Instance:
			role = fmt.Sprintf("answered, %g ms", i.LatencyMs)
		case i.Connected:
			role = "connected"
		}
		fmt.Fprintf(table, "  %s:%d\t%s\tweight %d\tshare %.2f\t%s\t%s\n", oneLine(i.Host), i.Port, i.State, cmp.Or(max(i.Weight, 0), balance.DefaultWeight), i.Share, oneLine(orDash(i.Zone)), role)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the explanation: %w", err)
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
