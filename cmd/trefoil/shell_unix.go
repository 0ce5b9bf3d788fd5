//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

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
