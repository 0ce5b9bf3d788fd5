//go:build !race

package transporttest

// integrityFrames is how many frames Integrity sends.
const integrityFrames = 1_000_000
