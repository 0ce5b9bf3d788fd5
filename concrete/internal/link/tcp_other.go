//go:build !linux

package link

import "time"

// setOptions does nothing: TCP keep-alive alone watches the connection here, and
// the send buffer alone bounds what the kernel holds.
func setOptions(uintptr, time.Duration) { _ = unsentBytes }
