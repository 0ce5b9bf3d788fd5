// Command bench measures Trefoil beside comparable systems: one subcommand per
// table, see README.md. Its processes are this executable started again with the
// subcommands serve and load, which are no use by hand.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"trefoil/bench/discovery"
	"trefoil/bench/durable"
	"trefoil/bench/idle"
	"trefoil/bench/internal/harness"
	"trefoil/bench/mixed"
	"trefoil/bench/rpc"
	"trefoil/bench/streams"
	"trefoil/bench/topic"
)

// tables are the tables, in the order in which `all` runs them.
func tables() []harness.Table {
	return []harness.Table{rpc.Table(), topic.Table(), durable.Table(), discovery.Table(), mixed.Table(), streams.Table(), idle.Table()}
}

func main() { os.Exit(exitCode()) }

func exitCode() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}

// run is main for tests.
func run(ctx context.Context, args []string, in io.Reader, out, log io.Writer) error {
	if len(args) == 0 {
		return usage()
	}
	switch name, rest := args[0], args[1:]; name {
	case "serve", "load":
		return child(ctx, name, rest, in, out)
	case "all":
		return all(ctx, rest, out, log)
	case "budgets":
		return harness.Summarise(tables(), rest, out, log)
	case "profile":
		return profile(ctx, rest, out, log)
	case "charts":
		return harness.DrawCharts(tables(), rest, log)
	default:
		t, ok := table(name)
		if !ok {
			return usage()
		}
		return harness.Run(ctx, t, rest, out, log)
	}
}

// child runs what the harness started this process for.
func child(ctx context.Context, what string, args []string, in io.Reader, out io.Writer) error {
	if len(args) != 3 {
		return usage()
	}
	t, ok := table(args[0])
	if !ok {
		return usage()
	}
	if what == "serve" {
		return harness.RunServe(ctx, t, args[1], args[2], in, out)
	}
	return harness.RunLoad(ctx, t, args[1], args[2], in, out)
}

// profile says where one table's contestants spend their time.
func profile(ctx context.Context, args []string, out, log io.Writer) error {
	if len(args) == 0 {
		return usage()
	}
	t, ok := table(args[0])
	if !ok {
		return usage()
	}
	return harness.Profile(ctx, t, args[1:], out, log)
}

// all runs every table and holds the budgets against them; a table that fails does
// not keep the others from running.
func all(ctx context.Context, args []string, out, log io.Writer) error {
	var errs []error
	began := time.Now()
	for _, t := range tables() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := harness.Run(ctx, t, args, out, log); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.Name, err))
		}
	}
	fmt.Fprintf(log, "all tables took %s\n", time.Since(began).Round(time.Second))
	return errors.Join(append(errs, harness.SummariseRun(tables(), args, out, log))...)
}

func table(name string) (harness.Table, bool) {
	for _, t := range tables() {
		if t.Name == name {
			return t, true
		}
	}
	return harness.Table{}, false
}

func usage() error {
	text := "usage: bench <table> [flags], bench all [flags], bench profile <table> [flags], bench budgets [flags], bench charts [flags]; tables:"
	for _, t := range tables() {
		text += fmt.Sprintf("\n  %-10s %s", t.Name, t.About)
	}
	return errors.New(text)
}
