package node

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// What a path may be. Its bytes are at most message.MaxNodePath.
const (
	MaxSegment = 255 // bytes between two slashes
	MaxDepth   = 64  // segments
)

const root = "/"

// CheckPath says what is wrong with a path, with code InvalidParams. One is "/", or
// segments that each begin with a slash: not empty, UTF-8 without control
// characters, not "." or "..".
func CheckPath(path string) error {
	if fault := pathFault(path); fault != "" {
		return abstract.Errorf(abstract.InvalidParams, "path %.80q %s", path, fault)
	}
	return nil
}

// pathFault is what is wrong with a path, in words that follow it; empty: nothing.
func pathFault(path string) string {
	if path == root || usual(path) {
		return ""
	}
	return unusualFault(path)
}

// usual says whether a path is one without doubt: it has at most as many bytes as a
// segment may have, all of them printable ASCII, and no segment that is empty or begins
// with a dot. It is much the faster way, and enough for most paths.
func usual(path string) bool {
	if path == "" || path[0] != '/' || path[len(path)-1] == '/' || len(path) > MaxSegment {
		return false
	}
	depth := 0
	for i := range len(path) {
		switch c := path[i]; {
		case c == '/':
			if next := path[i+1]; next == '/' || next == '.' {
				return false
			}
			depth++
		case c < ' ' || c > '~':
			return false
		}
	}
	return depth <= MaxDepth
}

// unusualFault is pathFault for any path but the root.
func unusualFault(path string) string {
	switch {
	case path == "" || path[0] != '/':
		return `does not begin with a slash; write it from the root, as "/config/db"`
	case len(path) > message.MaxNodePath:
		return "has more than 1,024 bytes; take shorter names"
	case !utf8.ValidString(path):
		return "is not UTF-8"
	case strings.ContainsFunc(path, unicode.IsControl):
		return "has a control character; leave it out"
	}
	depth := 0
	for name := range strings.SplitSeq(path[1:], "/") {
		if fault := nameFault(name); fault != "" {
			return fault
		}
		depth++
	}
	if depth > MaxDepth {
		return "has more than 64 segments; take a flatter tree"
	}
	return ""
}

func nameFault(name string) string {
	switch {
	case name == "":
		return "has an empty segment; write one slash between two names and none at the end"
	case name == "." || name == "..":
		return `has a segment "." or ".."; write the path out`
	case len(name) > MaxSegment:
		return "has a segment of more than 255 bytes; take a shorter name"
	}
	return ""
}

// parentOf returns the path without its last segment. The root has no parent.
func parentOf(path string) string { return path[:max(strings.LastIndexByte(path, '/'), 1)] }

// depthOf returns how many segments a path has.
func depthOf(path string) int {
	if path == root {
		return 0
	}
	return strings.Count(path, "/")
}

// join returns the path of a child.
func join(path, name string) string {
	if path == root {
		return root + name
	}
	return path + "/" + name
}

// below says whether a path is somewhere below another.
func below(path, above string) bool {
	if above == root {
		return path != root
	}
	return len(path) > len(above) && path[len(above)] == '/' && path[:len(above)] == above
}

// reserved says whether the registry alone makes the nodes at a path.
func reserved(path string) bool { return path == services || below(path, services) }
