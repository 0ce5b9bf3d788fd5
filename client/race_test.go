//go:build race

package client_test

// raceDetector says that the race detector runs, which makes sync.Pool forget at
// random, and so allocations mean nothing.
const raceDetector = true
