package access

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func (syn syntax) must(t testing.TB, text string) set {
	t.Helper()
	p, exact, err := syn.compile(text)
	require.NoError(t, err)
	if exact {
		return set{exact: map[string]struct{}{text: {}}}
	}
	return set{patterns: []pattern{p}}
}

func TestPatternsMatchWholeNames(t *testing.T) {
	for _, tt := range []struct {
		name, pattern string
		yes, no       []string
	}{
		{"a name is itself", "math.add", []string{"math.add"}, []string{"math.ad", "math.add2", "xmath.add", "math", "Math.add", "math.add."}},
		{"a star is one segment", "math.*", []string{"math.add", "math.*"}, []string{"math", "math.add.fast", "xmath.add"}},
		{"a star in the middle", "a.*.c", []string{"a.b.c"}, []string{"a.c", "a.b.b.c", "a.b.c.d", "a.b"}},
		{"stars only", "*.*", []string{"a.b"}, []string{"a", "a.b.c"}},
		{"the rest is one segment or more", "orders.>", []string{"orders.a", "orders.a.b"}, []string{"orders", "orders2.a"}},
		{"the rest alone is everything", ">", []string{"a", "a.b.c"}, nil},
		{"a star and the rest", "*.log.>", []string{"x.log.y"}, []string{"log.y", "x.log"}},
		{"a path is itself", "/a/b", []string{"/a/b"}, []string{"/a", "/a/b/c", "/a/bb", "a/b"}},
		{"a star is one segment of a path", "/a/*/c", []string{"/a/b/c", "/a/x.y/c"}, []string{"/a/c", "/a/b/b/c", "/a/b/c/d"}},
		{"all below, and the node itself", "/a/**", []string{"/a", "/a/b", "/a/b/c"}, []string{"/", "/ab", "/b/a"}},
		{"the whole tree", "/**", []string{"/", "/a", "/a/b"}, nil},
		{"the root", "/", []string{"/"}, []string{"/a"}},
		{"top level", "/*", []string{"/a"}, []string{"/", "/a/b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			syn := dotted
			if tt.pattern[0] == '/' {
				syn = paths
			}
			s := syn.must(t, tt.pattern)
			for _, name := range tt.yes {
				assert.True(t, s.has(name), name)
			}
			for _, name := range tt.no {
				assert.False(t, s.has(name), name)
			}
		})
	}
}

func TestBadPatternsAreRefusedWithTheReason(t *testing.T) {
	for _, tt := range []struct {
		syn           syntax
		pattern, says string
	}{
		{dotted, "", "is empty"},
		{dotted, "a.>.b", "before its end"},
		{dotted, "or*", "whole segment"},
		{dotted, "a.b>", "whole segment"},
		{dotted, strings.Repeat("a", maxPattern+1), "1,024 bytes"},
		{paths, "", "is empty"},
		{paths, "a/b", "does not begin with a slash"},
		{paths, "/a//b", "empty segment"},
		{paths, "/a/", "empty segment"},
		{paths, "/a/**/b", "before its end"},
		{paths, "/a/b*", "whole segment"},
	} {
		t.Run(tt.says+" "+tt.pattern[:min(9, len(tt.pattern))], func(t *testing.T) {
			_, _, err := tt.syn.compile(tt.pattern)
			assert.ErrorContains(t, err, tt.says)
		})
	}
}

// reference matches by a regular expression.
func reference(syn syntax, text string) *regexp.Regexp {
	one, sep := `[^`+regexp.QuoteMeta(string(syn.sep))+`]*`, regexp.QuoteMeta(string(syn.sep))
	if syn == paths {
		one = `[^/]+` // a path has no empty segments
	}
	if text == "/**" {
		return regexp.MustCompile(`(?s)^/.*$`)
	}
	var b strings.Builder
	b.WriteString(`(?s)^`)
	for i, s := range strings.Split(text, string(syn.sep)) {
		lead := sep
		if i == 0 {
			lead = ""
		}
		switch {
		case s == "*":
			b.WriteString(lead + one)
		case s == ">" && syn == dotted:
			b.WriteString(lead + `.*`)
		case s == "**" && syn == paths:
			b.WriteString(`(/.*)?`)
		default:
			b.WriteString(lead + regexp.QuoteMeta(s))
		}
	}
	return regexp.MustCompile(b.String() + `$`)
}

func checkAgainstReference(t testing.TB, syn syntax, text, name string) {
	p, exact, err := syn.compile(text)
	if err != nil || !syn.canonical(name) {
		return
	}
	got := exact && name == text || !exact && p.match(name)
	if want := reference(syn, text).MatchString(name); got != want {
		t.Fatalf("pattern %q, name %q: got %v, want %v", text, name, got, want)
	}
}

func FuzzPatternsAgreeWithTheReference(f *testing.F) {
	for _, seed := range [][2]string{{"a.*.c", "a.b.c"}, {"a.>", "a"}, {">", "a.b"}, {"/a/**", "/a/b"}, {"/*/*", "/a/b"},
		{strings.Repeat("*.", 500) + ">", strings.Repeat(".", 600)}, {"/**", "/"}, {"a..b", "a..b"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		if strings.ContainsRune(text+name, '\uFFFD') || !validUTF8(text) || !validUTF8(name) {
			return // the reference works on characters
		}
		checkAgainstReference(t, dotted, text, name)
		checkAgainstReference(t, paths, text, name)
	})
}

func validUTF8(s string) bool { return strings.ToValidUTF8(s, "\uFFFD") == s }

// words draws patterns and names of few letters, so that they often match.
func words(t *rapid.T, syn syntax, label string, wild bool) string {
	choice := []string{"a", "b", "ab"}
	if wild {
		choice = append(choice, anyOne)
	}
	list := rapid.SliceOfN(rapid.SampledFrom(choice), 1, 4).Draw(t, label)
	if wild && rapid.Bool().Draw(t, label+" rest") {
		list = append(list[:len(list)-1], syn.rest)
	}
	text := strings.Join(list, string(syn.sep))
	if syn.sep == '/' {
		return "/" + text
	}
	return text
}

func drawSyntax(t *rapid.T) syntax {
	return rapid.SampledFrom([]syntax{dotted, paths}).Draw(t, "syntax")
}

func TestPatternsAgreeWithTheReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		syn := drawSyntax(t)
		text, name := words(t, syn, "pattern", true), words(t, syn, "name", false)
		p, exact, err := syn.compile(text)
		if err != nil {
			t.Fatal(err)
		}
		got := exact && name == text || !exact && p.match(name)
		if want := reference(syn, text).MatchString(name); got != want {
			t.Fatalf("pattern %q, name %q: got %v, want %v", text, name, got, want)
		}
	})
}

// TestCoversAndOverlapsAgreeWithNames tries all names that are short enough.
func TestCoversAndOverlapsAgreeWithNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		syn := drawSyntax(t)
		p, q := syn.parse(words(t, syn, "p", true)), syn.parse(words(t, syn, "q", true))
		covers, overlaps := true, false
		each(syn, 6, func(name string) {
			if q.match(name) {
				covers = covers && p.match(name)
				overlaps = overlaps || p.match(name)
			}
		})
		if got := p.covers(&q); got != covers {
			t.Fatalf("%v covers %v: got %v, want %v", p, q, got, covers)
		}
		if got := p.overlaps(&q); got != overlaps {
			t.Fatalf("%v overlaps %v: got %v, want %v", p, q, got, overlaps)
		}
	})
}

// each calls f with all names of up to most segments. "z" stands for what no
// pattern spells out.
func each(syn syntax, most int, f func(string)) {
	var grow func(name string, left int)
	grow = func(name string, left int) {
		if name != "" {
			f(name)
		}
		if left == 0 {
			return
		}
		for _, s := range []string{"a", "b", "ab", "z"} {
			if name != "" || syn.sep == '/' {
				s = string(syn.sep) + s
			}
			grow(name+s, left-1)
		}
	}
	if syn.sep == '/' {
		f("/")
	}
	grow("", most)
}
