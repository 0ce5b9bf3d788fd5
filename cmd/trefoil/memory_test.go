package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMemoryIsGivenBackWhenIdleAfterABurst(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name               string
		settled, last, now heap
		want               bool
	}{
		{"burst is over", heap{held: 20 * mib, cycles: 3}, heap{cycles: 7}, heap{held: 90 * mib, cycles: 7}, true},
		{"still working", heap{held: 20 * mib, cycles: 3}, heap{cycles: 6}, heap{held: 90 * mib, cycles: 7}, false},
		{"nothing since it gave back", heap{held: 20 * mib, cycles: 7}, heap{cycles: 7}, heap{held: 90 * mib, cycles: 7}, false},
		{"that much is in use", heap{held: 80 * mib, cycles: 3}, heap{cycles: 7}, heap{held: 90 * mib, cycles: 7}, false},
		{"too little to matter", heap{held: 8 * mib, cycles: 3}, heap{cycles: 7}, heap{held: 17 * mib, cycles: 7}, false},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, tt.now.idleWithGarbage(tt.last, tt.settled)) })
	}
}

func TestHeapIsRead(t *testing.T) {
	h := readHeap()
	assert.NotZero(t, h.held)
	returnMemory(t.Context())()
}
