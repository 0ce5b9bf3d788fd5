package harness

import (
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

// Snapshot is what processes have used since they started.
type Snapshot struct {
	CPU     time.Duration `json:"cpu"`      // user and system time, of the operating system's accounting
	RSSKiB  float64       `json:"rss_kib"`  // resident now
	PeakKiB float64       `json:"peak_kib"` // largest resident size so far
	Go      bool          `json:"go"`       // the figures below are given
	Mallocs uint64        `json:"mallocs,omitempty"`
	HeapKiB float64       `json:"heap_kib,omitempty"` // live and not yet collected objects
	Procs   int           `json:"goroutines,omitempty"`
}

// Self is the Snapshot of this process. With settle it collects garbage and gives
// memory back to the system first. It stops the world for a moment: take it
// outside of what is measured, or at its edges.
func Self(settle bool) (Snapshot, error) { return snapshot([]int{os.Getpid()}, true, settle) }

// ProcessCPU is the CPU time that a process has used, user and system, by the
// operating system's accounting.
func ProcessCPU(pid int) (time.Duration, error) { return processCPU(pid) }

// snapshot sums up processes; self says that they are just this one.
func snapshot(pids []int, self, settle bool) (Snapshot, error) {
	var s Snapshot
	if self && settle {
		runtime.GC()
		debug.FreeOSMemory()
	}
	if self {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		s.Go, s.Mallocs, s.HeapKiB, s.Procs = true, m.Mallocs, float64(m.HeapAlloc)/1024, runtime.NumGoroutine()
	}
	for _, pid := range pids {
		cpu, err := processCPU(pid)
		if err != nil {
			return s, err
		}
		rss, peak, err := processMemory(pid)
		if err != nil {
			return s, err
		}
		s.CPU += cpu
		s.RSSKiB += rss
		s.PeakKiB += peak
	}
	return s, nil
}

// cpuOf sums the CPU time of processes.
func cpuOf(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		cpu, err := processCPU(pid)
		if err != nil {
			return 0, err
		}
		sum += cpu
	}
	return sum, nil
}
