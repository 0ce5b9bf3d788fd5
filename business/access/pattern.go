package access

import (
	"fmt"
	"strings"
)

// syntax is how names are divided into segments, and what stands for the rest.
type syntax struct {
	sep  byte
	rest string // as the last segment, it stands for all that follow
	self bool   // and for none: the name before it matches too
}

var (
	dotted = syntax{sep: '.', rest: ">"}
	paths  = syntax{sep: '/', rest: "**", self: true}
)

const anyOne = "*" // stands for one whole segment

// maxPattern bounds a pattern, as names are bounded.
const maxPattern = 1024

// pattern is a pattern with at least one wildcard. It is matched segment by
// segment from the left and never goes back, so that a match takes no longer than
// one look at the name, whatever the pattern is.
type pattern struct {
	syn      syntax
	segments []string // without the rest
	rest     bool
}

// compile reads a pattern. exact is set instead of p when it has no wildcard.
func (syn syntax) compile(text string) (p pattern, exact bool, err error) {
	if fault := syn.fault(text); fault != "" {
		return p, false, fmt.Errorf("pattern %s %s", quote(text), fault)
	}
	p = pattern{syn: syn, segments: syn.split(text)}
	last := len(p.segments) - 1
	if p.segments[last] == syn.rest {
		p.rest, p.segments = true, p.segments[:last]
		return p, false, nil
	}
	for _, s := range p.segments {
		if s == anyOne {
			return p, false, nil
		}
	}
	return p, true, nil
}

// fault is what is wrong with a pattern, in words that follow it; empty: nothing.
func (syn syntax) fault(text string) string {
	switch {
	case text == "":
		return "is empty; write a name, or " + syn.everything() + " for all of them"
	case len(text) > maxPattern:
		return "has more than 1,024 bytes; take a shorter one"
	case syn.sep == '/' && text[0] != '/':
		return `does not begin with a slash; write it from the root, as "/config/db"`
	case text == "/":
		return ""
	}
	segments := syn.split(text)
	for i, s := range segments {
		switch {
		case s == "" && syn.sep == '/':
			return "has an empty segment; write one slash between two names and none at the end"
		case s == anyOne:
		case s == syn.rest && i == len(segments)-1:
		case s == syn.rest:
			return fmt.Sprintf("has %q before its end; %s stands for the rest and comes last, * for one segment", s, s)
		case strings.Contains(s, anyOne), syn.sep == '.' && strings.Contains(s, syn.rest):
			return fmt.Sprintf("has a wildcard inside the segment %s; it stands for a whole segment", quote(s))
		}
	}
	return ""
}

// everything is the pattern of all names.
func (syn syntax) everything() string {
	if syn.sep == '/' {
		return `"/**"`
	}
	return `">"`
}

// split divides a name. That of a path leaves the first slash out; the root has no
// segments but an empty one.
func (syn syntax) split(name string) []string {
	return strings.Split(syn.trim(name), string(syn.sep))
}

// trim takes off the slash that a path begins with.
func (syn syntax) trim(name string) string {
	if syn.sep == '/' {
		return strings.TrimPrefix(name, "/")
	}
	return name
}

// canonical reports whether name can be the name of anything. What is not, no
// pattern allows, so that "/a//b" never is another way to write "/a/b".
func (syn syntax) canonical(name string) bool {
	if syn.sep != '/' {
		return name != ""
	}
	return name == "/" || name != "" && name[0] == '/' && name[len(name)-1] != '/' && !strings.Contains(name, "//")
}

// match reports whether name is one of those that p stands for. It does not
// allocate.
func (p *pattern) match(name string) bool {
	rest, more := p.syn.trim(name), true
	if p.syn.sep == '/' && rest == "" {
		more = false // the root
	}
	for _, want := range p.segments {
		if !more {
			return false
		}
		var s string
		s, rest, more = cut(rest, p.syn.sep)
		if want != anyOne && want != s {
			return false
		}
	}
	if p.rest {
		return more || p.syn.self
	}
	return !more
}

func cut(s string, sep byte) (head, tail string, more bool) {
	if i := strings.IndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// parse reads a name as a pattern without judging it: what a subscriber asks for
// may have wildcards, too.
func (syn syntax) parse(text string) pattern {
	p := pattern{syn: syn, segments: syn.split(text)}
	if syn.sep == '/' && text == "/" {
		p.segments = nil
	}
	if last := len(p.segments) - 1; last >= 0 && p.segments[last] == syn.rest {
		p.rest, p.segments = true, p.segments[:last]
	}
	return p
}

// covers reports whether p stands for every name that q stands for.
func (p *pattern) covers(q *pattern) bool {
	if len(q.segments) < len(p.segments) || q.rest && !p.rest {
		return false
	}
	for i, want := range p.segments {
		if want != anyOne && want != q.segments[i] {
			return false
		}
	}
	if len(q.segments) == len(p.segments) {
		return p.rest == q.rest || p.syn.self
	}
	return p.rest
}

// overlaps reports whether there is a name that both p and q stand for.
func (p *pattern) overlaps(q *pattern) bool {
	short, long := p, q
	if len(short.segments) > len(long.segments) {
		short, long = long, short
	}
	for i, s := range short.segments {
		if l := long.segments[i]; s != l && s != anyOne && l != anyOne {
			return false
		}
	}
	if len(long.segments) > len(short.segments) {
		return short.rest
	}
	return short.rest == long.rest || p.syn.self
}
