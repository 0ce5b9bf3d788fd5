package rpc

import (
	"fmt"
	"strconv"

	"trefoil/bench/internal/harness"
)

// cell is one load.
type cell struct {
	inFlight int // calls, over all connections together
	conns    int
	size     int     // bytes of the text echoed
	slow     float64 // percent of the calls that take 5 ms
}

// name is how results and budgets call the cell: "64x16 1KiB".
func (c cell) name() string {
	name := fmt.Sprintf("%dx%d %s", c.inFlight, c.conns, sizeName(c.size))
	if c.slow > 0 {
		name += " slow " + strconv.FormatFloat(c.slow, 'g', -1, 64) + "%"
	}
	return name
}

func sizeName(bytes int) string {
	if bytes%1024 == 0 {
		return strconv.Itoa(bytes/1024) + "KiB"
	}
	return strconv.Itoa(bytes) + "B"
}

// cells are the loads of a run. With --slow all of them have slow requests in
// them; without, there are two such cells at the end.
func cells(o harness.Options) []cell {
	switch o.Scale {
	case harness.Quick:
		return withSlow([]cell{{1, 1, 128, 0}, {64, 16, 128, 0}, {1000, 16, 128, 0}, {64, 16, 1 << 10, 0}, {64, 1, 128, 10}}, o.Slow)
	case harness.Smoke:
		return withSlow([]cell{{1, 1, 128, 0}, {8, 2, 1 << 10, 0}, {8, 1, 128, 10}}, o.Slow)
	}
	var list []cell
	for _, size := range []int{128, 1 << 10, 64 << 10} {
		for _, load := range [][2]int{{1, 1}, {64, 1}, {64, 16}, {1000, 1}, {1000, 16}} {
			list = append(list, cell{load[0], load[1], size, 0})
		}
	}
	for _, n := range []int{16, 64, 250, 1000} { // one call in flight on each connection
		list = append(list, cell{n, n, 128, 0})
	}
	if o.Slow > 0 {
		return withSlow(list, o.Slow)
	}
	return append(list, cell{64, 1, 128, 1}, cell{64, 1, 128, 10})
}

func withSlow(list []cell, percent float64) []cell {
	if percent == 0 {
		return list
	}
	for i := range list {
		list[i].slow = percent
	}
	return list
}
