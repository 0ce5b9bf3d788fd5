package router_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"trefoil/business/router"
)

func TestNearest(t *testing.T) {
	known := []string{"math.add", "math.sub", "math.mul", "text.upper", "time.now", "echo", "Math.Div"}
	tests := []struct {
		name string
		want []string
	}{
		{"math.ad", []string{"math.add"}},
		{"math.addd", []string{"math.add"}},
		{"mth.add", []string{"math.add"}},
		{"math.dad", []string{"math.add"}},
		{"MATH.ADD", []string{"math.add"}},
		{"math.div", []string{"Math.Div"}},
		{"add", []string{"math.add"}},
		{"maths.upper", []string{"text.upper"}},
		{"ehco", []string{"echo"}},
		{"time.nwo", []string{"time.now"}},
		{"orders.place", nil},
		{"x", nil},
		{"", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := router.Nearest(tt.name, known)
			if tt.want == nil {
				assert.Empty(t, got)
				return
			}
			assert.Equal(t, tt.want[0], got[0])
			assert.LessOrEqual(t, len(got), 3)
		})
	}
	assert.Equal(t, "; did you mean a or b?", router.DidYouMean([]string{"a", "b"}))
	assert.Empty(t, router.DidYouMean(nil))
}
