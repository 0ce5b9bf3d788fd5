package server

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestMethodIsSlowAfterASecondStuckHandler: one stuck handler, or several at once,
// may be the collector's doing; two in a short time are the method's.
func TestMethodIsSlowAfterASecondStuckHandler(t *testing.T) {
	for name, tt := range map[string]struct {
		then func(w *watchdog)
		slow bool
	}{
		"once":                   {func(*watchdog) {}, false},
		"together with another":  {func(w *watchdog) { w.passed("m") }, false},
		"again at the next look": {func(w *watchdog) { w.returned("m"); w.looks++; w.passed("m") }, true},
		"again much later":       {func(w *watchdog) { w.returned("m"); w.looks += stuckAgain; w.passed("m") }, false},
		"much later, while the first has not returned": {func(w *watchdog) { w.looks += 1000; w.passed("m") }, true},
		"another method": {func(w *watchdog) { w.looks++; w.passed("other") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := new(watchdog)
			w.looks = 50
			w.passed("m")
			tt.then(w)
			assert.Equal(t, tt.slow, w.slowMethod("m") != nil)
			assert.Nil(t, w.slowMethod("other"))
		})
	}
}

// TestStrangeMethodsAreNotRememberedForEver: their names come from peers.
func TestStrangeMethodsAreNotRememberedForEver(t *testing.T) {
	w := new(watchdog)
	for i := range 3 * maxStuck {
		w.looks += 2 * stuckAgain
		name := strconv.Itoa(i)
		w.passed(name)
		w.returned(name)
	}
	assert.LessOrEqual(t, len(w.stuck), maxStuck)
	assert.Nil(t, w.slow.Load())
}
