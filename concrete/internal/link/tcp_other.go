//go:build !linux

package link

// setUserTimeout does nothing: TCP keep-alive alone watches the connection here.
func setUserTimeout(uintptr) { _ = userTimeout }
