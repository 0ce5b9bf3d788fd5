package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAMissingStartSaysWhatThereIs(t *testing.T) {
	for name, c := range map[string]struct {
		offset, first, last uint64
		want                string
	}{
		"nothing was published": {7, 1, 0, "nothing was published yet"},
		"beyond the last":       {7, 3, 5, "no offset 7 yet: the last one is 5"},
		"beyond, none is kept":  {7, 6, 5, "no offset 7 yet: the last one is 5"},
		"gone, none is kept":    {2, 6, 5, "nor any other up to the last one, 5"},
		"gone":                  {2, 3, 5, "any more: it has 3 to 5, which are shown from 3 on"},
	} {
		m := &missedStart{c.offset, keptOffsets{c.first, c.last}}
		assert.Contains(t, m.in("news"), c.want, name)
	}
}
