package router

import (
	"slices"
	"strings"
)

// Nearest returns the names that somebody may have meant who wrote another one, the
// nearest first, three at most: those with few letters changed, and those that only
// differ in what stands before the last dot.
func Nearest(name string, known []string) []string {
	type near struct {
		name string
		off  int
	}
	var list []near
	wanted := strings.ToLower(name)
	for _, k := range known {
		have := strings.ToLower(k)
		off := distance(wanted, have, len(name)/3+1)
		if _, last, ok := cutLast(have); ok && off > 1 && (last == wanted || strings.HasSuffix(wanted, "."+last)) {
			off = 1
		}
		if off <= len(name)/3+1 {
			list = append(list, near{k, off})
		}
	}
	slices.SortStableFunc(list, func(a, b near) int { return a.off - b.off })
	names := make([]string, 0, 3)
	for _, n := range list[:min(3, len(list))] {
		names = append(names, n.name)
	}
	return names
}

// cutLast cuts a name at its last dot.
func cutLast(name string) (before, last string, ok bool) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

// DidYouMean puts names into words, to end a sentence; empty when there are none.
func DidYouMean(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(names, " or ") + "?"
}

// distance is how many bytes must be changed, added, left out, or swapped with the next
// one, to make b of a; any number above most when it is more than that.
func distance(a, b string, most int) int {
	if d := len(a) - len(b); d > most || -d > most {
		return most + 1
	}
	before, last, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			changed := last[j-1]
			if a[i-1] != b[j-1] {
				changed++
			}
			next[j] = min(changed, last[j]+1, next[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, last, next = last, next, before
	}
	return last[len(b)]
}
