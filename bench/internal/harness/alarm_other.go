//go:build !linux

package harness

import "time"

// alarm is as exact as Go's timers are.
type alarm struct{}

func newAlarm() *alarm { return &alarm{} }

func (*alarm) sleep(d time.Duration) { time.Sleep(d) }

func (*alarm) close() {}
