// Command trefoil is the whole of Trefoil in one binary: the broker, a provider
// made of any shell command, the calls, topics and discoveries a person or a
// script makes, and a demonstration that checks itself.
//
// It exits with 0 when all went well, 1 when what was asked for failed, and 2
// when it was asked in a way it does not understand.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals // a second one ends the process at once
		os.Exit(exitFailed)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
