//go:build !linux

package topic

import (
	"errors"
	"time"
)

func openProgress(string, int) (*progress, error) {
	return nil, errors.New("the benchmark runs on Linux only")
}

func pause(d time.Duration) { time.Sleep(d) }
