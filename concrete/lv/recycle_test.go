package lv_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"trefoil/concrete/lv"
)

func TestMemoryHasTheRoomAskedFor(t *testing.T) {
	for _, n := range []int{0, 1, 512, 513, 2048, 2049, 8 << 10, 32 << 10, 96 << 10, 96<<10 + 1, 1 << 20} {
		b := lv.Memory(n)
		assert.Empty(t, b)
		assert.GreaterOrEqual(t, cap(b), n)
		lv.Recycle(append(b, "in use"...))
	}
}

func TestStrangeMemoryIsNotRecycled(t *testing.T) {
	strange := make([]byte, 300, 700)
	lv.Recycle(strange)
	lv.Recycle(nil)
	for range 100 {
		if b := lv.Memory(1); assert.Equal(t, 512, cap(b)) {
			assert.NotSame(t, &strange[0], &b[:1][0])
		}
	}
}

func TestRecyclingTakesNoMemory(t *testing.T) {
	assert.Less(t, testing.AllocsPerRun(100, func() { lv.Recycle(lv.Memory(1000)) }), 1.0)
}
