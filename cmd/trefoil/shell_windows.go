package main

import "context"

// untilHangup is ctx: a console that is closed ends the process.
func untilHangup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}

// onResize does nothing: the console tells nobody.
func onResize(func()) (stop func()) { return func() {} }
