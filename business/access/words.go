package access

import (
	"strconv"
	"strings"
)

// maxQuoted bounds how much of somebody's words an error repeats.
const maxQuoted = 120

// quote puts text into an error: in quotes, cut when it is long, and hidden when
// there is a token in it, because people paste things into the wrong place.
func quote(text string) string {
	if strings.Contains(text, tokenPrefix) {
		return `"` + hidden + `"`
	}
	if len(text) > maxQuoted {
		text = text[:maxQuoted] + "..."
	}
	return strconv.Quote(text)
}

// nearest returns the one of the known words that word is most like; empty when
// none is like it.
func nearest(word string, known []string) string {
	best, least := "", max(len(word)/2, 2)+1
	if len(word) > maxQuoted {
		return ""
	}
	for _, k := range known {
		if d := distance(strings.ToLower(word), k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is how many letters must be changed, added or removed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := corner
			if a[i] != b[j] {
				next = 1 + min(corner, row[j], row[j+1])
			}
			corner, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
