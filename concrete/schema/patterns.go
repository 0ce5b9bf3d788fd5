package schema

import (
	"regexp/syntax"

	"github.com/google/jsonschema-go/jsonschema"

	"trefoil/abstract"
)

// maxPatterns bounds how many instructions the regular expressions of a schema have
// together. Few letters can stand for very many: "x{1000}" for a thousand.
const maxPatterns = 1 << 14

// sizePatterns returns how many instructions each of a schema's regular expressions has,
// before any is compiled. The error says that they are too many, or that one is none.
func sizePatterns(root *jsonschema.Schema) (map[string]int, error) {
	sizes, sum := make(map[string]int), 0
	for sub := range all(root) {
		for _, pattern := range patternsOf(sub) {
			if _, known := sizes[pattern]; known {
				continue
			}
			re, err := syntax.Parse(pattern, syntax.Perl)
			if err != nil {
				return nil, abstract.Errorf(abstract.InvalidParams, "%.80q in the schema is no regular expression", pattern)
			}
			sizes[pattern] = instructions(re)
			if sum += sizes[pattern]; sum > maxPatterns {
				return nil, abstract.Errorf(abstract.InvalidParams, "the regular expressions of the schema are too large, as of %.80q: repeat less, or bound lengths with maxLength", pattern)
			}
		}
	}
	return sizes, nil
}

func patternsOf(s *jsonschema.Schema) (list []string) {
	if s.Pattern != "" {
		list = append(list, s.Pattern)
	}
	for pattern := range s.PatternProperties {
		list = append(list, pattern)
	}
	return list
}

// instructions is about how many a regular expression is compiled to, and not less; more
// than maxPatterns is not counted out.
func instructions(re *syntax.Regexp) int {
	n := 1
	for _, sub := range re.Sub {
		n = min(n+instructions(sub), maxPatterns+1)
	}
	switch re.Op {
	case syntax.OpLiteral:
		n += len(re.Rune)
	case syntax.OpRepeat:
		times := max(re.Max, re.Min+1) // Max is -1 for no end
		n = min(n*(times+1), maxPatterns+1)
	}
	return n
}

// matchCost is how many steps it takes to look for a regular expression of so many
// instructions in a text.
func matchCost(instructions, text int) int { return (instructions*text + 3) / 4 }
