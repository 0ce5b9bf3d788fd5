package requestor_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/requestor"
)

// TestOddFirstDeadlineSpoilsNoOther: the first call's deadline may be any time,
// and is all that is known of the time before the first Expire.
func TestOddFirstDeadlineSpoilsNoOther(t *testing.T) {
	firsts := map[string]struct {
		deadline time.Time
		over     bool // it has passed
	}{
		"no time at all":      {time.Time{}, true},
		"long ago":            {time.Date(1066, 10, 14, 0, 0, 0, 0, time.UTC), true},
		"the end of all days": {time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), false},
		"as long as can be":   {epoch.Add(1<<63 - 1), false},
		"a second before":     {epoch.Add(-time.Second), true},
	}
	for name, first := range firsts {
		for _, looked := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", after a first look"}[looked], func(t *testing.T) {
				r := requestor.New(requestor.Config{})
				if looked {
					require.Zero(t, r.Expire(epoch))
				}
				odd, plain := new(ending), new(ending)
				_, err := r.Add(first.deadline, abstract.RspRPC, odd.done)
				require.NoError(t, err)
				_, err = r.Add(epoch.Add(time.Second), abstract.RspRPC, plain.done)
				require.NoError(t, err)

				r.Expire(epoch.Add(time.Second - 1))
				assert.Zero(t, plain.times, "not early")
				next := r.Expire(epoch.Add(time.Second - 1))
				assert.False(t, next.IsZero())
				assert.False(t, next.After(epoch.Add(time.Second+grain)), "the next look is in time")
				r.Expire(epoch.Add(time.Second + grain))
				assert.Equal(t, 1, plain.times, "not late")
				assert.Equal(t, first.over, odd.times == 1)
				r.CloseAll(nil)
				assert.Equal(t, 1, odd.times)
			})
		}
	}
}

// TestDeadlinesHoldAfterABurst: the table that is given back takes nothing of the
// time with it.
func TestDeadlinesHoldAfterABurst(t *testing.T) {
	r := requestor.New(requestor.Config{})
	for range 3000 {
		add(t, r)
	}
	r.Expire(epoch.Add(2 * time.Second))
	require.Zero(t, r.Len())
	passed, e := new(ending), new(ending)
	_, err := r.Add(epoch, abstract.RspRPC, passed.done)
	require.NoError(t, err)
	_, err = r.Add(epoch.Add(3*time.Second), abstract.RspRPC, e.done)
	require.NoError(t, err)
	r.Expire(epoch.Add(2*time.Second + grain))
	assert.Equal(t, 1, passed.times)
	assert.Zero(t, e.times)
	r.Expire(epoch.Add(3*time.Second + grain))
	assert.Equal(t, 1, e.times)
}
