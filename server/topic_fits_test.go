package server

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

func TestStarsStandForAnyText(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		fits          bool
	}{
		{"billing", "billing", true}, {"billing", "billing2", false}, {"*", "", true}, {"*", "a/b", true}, {"", "", true}, {"", "a", false},
		{"svc-*", "svc-a", true}, {"svc-*", "svc-", true}, {"svc-*", "a-svc-", false}, {"*-a", "x-a-a", true}, {"a*a", "a", false}, {"a*b*c", "a-b-b-c", true},
		{"[a]", "a", false}, {"[", "[", true}, {`\*`, `\x`, true}, {"a?", "ab", false},
	} {
		assert.Equal(t, tc.fits, fits(tc.pattern, tc.name), "%q %q", tc.pattern, tc.name)
	}
}

func TestStarsAreThoseOfRegularExpressions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringOfN(rapid.SampledFrom([]rune("ab**")), 0, 8, -1).Draw(t, "pattern")
		name := rapid.StringOfN(rapid.SampledFrom([]rune("ab")), 0, 10, -1).Draw(t, "name")
		want := regexp.MustCompile("^" + strings.ReplaceAll(pattern, "*", ".*") + "$").MatchString(name)
		if fits(pattern, name) != want {
			t.Fatalf("%q and %q: want %t", pattern, name, want)
		}
	})
}
