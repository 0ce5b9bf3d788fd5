//go:build unix

package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// untilHangup is ctx until the terminal goes: a shell then leaves as at its end, so
// that its session nodes go at once.
func untilHangup(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGHUP)
}

// onResize calls fn whenever the terminal gets another size, until stop is called.
func onResize(fn func()) (stop func()) {
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-resized:
				fn()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(resized)
		close(done)
	}
}
