package harness

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// processCPU reads the process' CPU-time clock: the sum that getrusage and
// /proc/pid/stat show too, in nanoseconds instead of ticks of 10 ms.
func processCPU(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED: user and system time together
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &ts); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// processMemory reads VmRSS and VmHWM, in KiB.
func processMemory(pid int) (rss, peak float64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "VmRSS:":
			rss, err = strconv.ParseFloat(f[1], 64)
		case "VmHWM:":
			peak, err = strconv.ParseFloat(f[1], 64)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return rss, peak, nil
}

// epoch is a moment by both clocks: Go's reads faster than a system call, and
// only differs from the kernel's by a constant.
var epoch = struct {
	goTime time.Time
	kernel int64
}{time.Now(), kernelMonotonic()}

func kernelMonotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail for this clock
	return ts.Nano()
}

// Monotonic is the time of the machine's monotonic clock in nanoseconds: the
// same clock for all processes, so that their readings can be compared.
func Monotonic() int64 { return epoch.kernel + int64(time.Since(epoch.goTime)) }
