//go:build !linux

package link

// setOptions does nothing: TCP keep-alive alone watches the connection here, and
// the send buffer alone bounds what the kernel holds.
func setOptions(uintptr) { _, _ = userTimeout, unsentBytes }
