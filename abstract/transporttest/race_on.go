//go:build race

package transporttest

// integrityFrames is how many frames Integrity sends; the race detector is slow.
const integrityFrames = 50_000
