package requestor_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/requestor"
)

// TestLookAfterAnyPauseMissesNobody looks again after about one turn of the wheel:
// no bucket may be passed over.
func TestLookAfterAnyPauseMissesNobody(t *testing.T) {
	for pause := 505; pause < 520; pause++ {
		r := requestor.New(requestor.Config{})
		r.Expire(epoch)
		var ends []*ending
		for tick := range 520 {
			e := new(ending)
			_, err := r.Add(epoch.Add(time.Duration(tick)*grain), abstract.RspRPC, e.done)
			require.NoError(t, err)
			ends = append(ends, e)
		}
		r.Expire(epoch.Add(time.Duration(pause) * grain))
		for tick, e := range ends {
			assert.Equal(t, tick < pause, e.times == 1, "deadline of tick %d, looked at %d", tick, pause)
		}
	}
}
