package rpc

import (
	"fmt"
	"slices"
	"strconv"

	"trefoil/bench/internal/harness"
)

// cell is one load.
type cell struct {
	inFlight int // calls, over all connections together
	conns    int
	size     int     // bytes of the text echoed
	slow     float64 // percent of the calls that take 5 ms
	few      bool    // only for those who show how cost grows with connections
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

// telling is the cell that says most; it is also measured at fixed rates.
const telling = "64x16 128B"

// connections are how many there are in the cells that show growth, which have
// one call in flight on each.
func connections(scale harness.Scale) []int {
	if scale == harness.Smoke {
		return []int{3, 6}
	}
	return []int{16, 100, 1000}
}

// cells are the loads of a run. With --slow all of them have slow requests in
// them; without, there are such cells at the end.
func cells(o harness.Options) []cell {
	list := cellsOf(o.Scale)
	if o.Slow > 0 {
		list = slices.DeleteFunc(list, func(c cell) bool { return c.slow > 0 })
		for i := range list {
			list[i].slow = o.Slow
		}
	}
	return list
}

func cellsOf(scale harness.Scale) []cell {
	tenth := cell{inFlight: 64, conns: 1, size: 128, slow: 10}
	var list []cell
	add := func(size int, loads ...[2]int) {
		for _, l := range loads {
			list = append(list, cell{inFlight: l[0], conns: l[1], size: size})
		}
	}
	one, middle, many := [2]int{1, 1}, [2]int{64, 16}, [2]int{1000, 16}
	switch scale {
	case harness.Smoke:
		add(128, one, middle)
		add(1<<10, [2]int{8, 2})
		tenth.inFlight = 8
	case harness.Quick:
		add(128, one, middle, many)
		add(1<<10, middle)
	case harness.Medium:
		add(128, one, middle, many)
		add(1<<10, middle, many)
		add(64<<10, middle)
	default:
		add(128, one, [2]int{64, 1}, middle, [2]int{1000, 1}, many)
		add(1<<10, one, [2]int{64, 1}, middle, [2]int{1000, 1}, many)
		// 1000 texts of 64 KiB on one connection are more than a client of ours
		// queues: 32 MiB, beyond which calls fail at once with Overloaded.
		add(64<<10, one, [2]int{64, 1}, middle)
		list = append(list, cell{inFlight: 64, conns: 1, size: 128, slow: 1})
	}
	for _, n := range connections(scale) {
		list = append(list, few(n))
	}
	return append(list, tenth)
}

// few is a cell with one call in flight on each connection.
func few(conns int) cell { return cell{inFlight: conns, conns: conns, size: 128, few: true} }
