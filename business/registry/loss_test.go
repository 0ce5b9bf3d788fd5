package registry

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestLossesOfMostAreNotBelieved(t *testing.T) {
	begin := time.Unix(0, 0)
	at := begin.Add
	tests := []struct {
		name  string
		cfg   LossConfig
		all   int
		every time.Duration // between two losses
		kept  int           // which loss is the first one that is not believed; 0: none
	}{
		{"all of a hundred at once", LossConfig{}, 100, 0, 51},
		{"all of twenty at once", LossConfig{}, 20, 0, 20},
		{"all of nineteen are too few", LossConfig{}, 19, 0, 0},
		{"a hundred one after the other, slowly", LossConfig{}, 100, 600 * time.Millisecond, 0},
		{"a hundred within the window", LossConfig{}, 100, 150 * time.Millisecond, 51},
		{"another share", LossConfig{Share: 0.9}, 100, 0, 91},
		{"switched off", LossConfig{Share: -1}, 100, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := NewLosses(tt.cfg)
			first := 0
			for i := 1; i <= tt.all; i++ {
				providing := tt.all - i + 1
				if keep, _ := l.Lost(providing, at(time.Duration(i)*tt.every)); keep {
					first = i
					break
				}
			}
			assert.Equal(t, tt.kept, first)
		})
	}
}

func TestProvidersThatAreReplacedAreNotMissing(t *testing.T) {
	l := NewLosses(LossConfig{})
	now := time.Unix(0, 0)
	for i := range 1000 {
		now = now.Add(10 * time.Millisecond)
		keep, _ := l.Lost(30-i%4, now) // four at a time, whose successors come before the next four go
		assert.False(t, keep)
	}
	for left := 30; left > 10; left-- {
		keep, _ := l.Lost(left, now)
		assert.Equal(t, left == 11, keep, "%d were there", left)
	}
}

func TestProtectionEnds(t *testing.T) {
	begin := time.Unix(0, 0)
	l := NewLosses(LossConfig{Least: 2, Hold: time.Minute})
	l.Lost(2, begin)
	keep, began := l.Lost(1, begin)
	assert.True(t, keep)
	assert.True(t, began)
	keep, began = l.Lost(1, begin.Add(59*time.Second))
	assert.True(t, keep)
	assert.False(t, began)
	assert.Equal(t, begin.Add(time.Minute), l.Until(), "further losses do not make it longer")
	assert.False(t, l.On(begin.Add(time.Minute)), "by itself")
	keep, _ = l.Lost(1, begin.Add(time.Minute))
	assert.False(t, keep, "what was held does not begin it again")

	l = NewLosses(LossConfig{Least: 2})
	l.Lost(2, begin)
	l.Lost(1, begin)
	l.Lift()
	assert.False(t, l.On(begin), "by a command")
}

func TestChecksTakeNoMoreThanAShareDown(t *testing.T) {
	l := NewLosses(LossConfig{})
	assert.True(t, l.Plausible(1, 1), "of few, all may be")
	assert.True(t, l.Plausible(5, 10))
	assert.False(t, l.Plausible(6, 10))
}

func TestLossesAreJudgedByWhatHoldsNow(t *testing.T) {
	now := time.Unix(0, 0)
	l := NewLosses(LossConfig{Share: -1})
	lose := func() (keep bool) {
		for n := 40; n > 10; n-- {
			keep, _ = l.Lost(n, now)
		}
		return keep
	}
	assert.False(t, lose())
	assert.True(t, l.Plausible(100, 100))
	l.Configure(LossConfig{Share: 0.2, Hold: time.Second})
	assert.False(t, l.Plausible(100, 100))
	assert.True(t, lose())
	until := l.Until()
	assert.Equal(t, now.Add(time.Second), until)
	l.Configure(LossConfig{Hold: time.Hour})
	assert.Equal(t, until, l.Until(), "what has begun ends when it was to")
}
