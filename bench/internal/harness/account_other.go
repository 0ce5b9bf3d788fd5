//go:build !linux

package harness

import (
	"errors"
	"time"
)

var errSystem = errors.New("the benchmark accounts processes as Linux does; run it there")

var start = time.Now()

func processCPU(int) (time.Duration, error) { return 0, errSystem }

func processMemory(int) (rss, peak float64, err error) { return 0, 0, errSystem }

// Monotonic is the time since this process started; only on Linux can it be
// compared between processes.
func Monotonic() int64 { return int64(time.Since(start)) }
