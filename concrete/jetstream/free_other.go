//go:build !linux && !darwin && !windows

package jetstream

// freeSpace is not known here: only the quota keeps the disk from filling up.
func freeSpace(string) (bytes int64, known bool) { return 0, false }
