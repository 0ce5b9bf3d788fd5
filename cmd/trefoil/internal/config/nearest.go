package config

import (
	"fmt"
	"strings"
)

// suggestion is "; did you mean ...?" when one of known is near to text.
func suggestion(text string, known []string) string {
	if best, ok := nearest(text, known); ok {
		return fmt.Sprintf(", did you mean %q?", best)
	}
	return ""
}

// nearest is the one of known with the least edit distance to text, if fewer than
// half of its letters have to be changed.
func nearest(text string, known []string) (best string, ok bool) {
	least := 0
	for _, k := range known {
		d := distance(strings.ToLower(text), strings.ToLower(k))
		if 2*d > len([]rune(k)) {
			continue
		}
		if !ok || d < least {
			best, least, ok = k, d, true
		}
	}
	return best, ok
}

// maxWord is how much of a word is compared. What is longer is no slip.
const maxWord = 64

// distance counts the letters that must be put in, left out, exchanged, or swapped
// with their neighbour, to make b of a.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	if len(x) > maxWord || len(y) > maxWord {
		return max(len(x), len(y))
	}
	rows := [3][]int{make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := range x {
		older, old, row := rows[0], rows[1], rows[2]
		row[0] = i + 1
		for j := range y {
			change := 1
			if x[i] == y[j] {
				change = 0
			}
			row[j+1] = min(old[j]+change, old[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], older[j-1]+1)
			}
		}
		rows = [3][]int{old, row, older}
	}
	return rows[1][len(y)]
}
