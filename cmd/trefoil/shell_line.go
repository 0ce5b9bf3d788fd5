package main

import (
	"errors"
	"strings"
)

// splitLine makes words of a line as a shell does: 'as it is', "with \" and \\ and
// \n", and a backslash before any other character. # at the beginning is a comment.
func splitLine(line string) ([]string, error) {
	if strings.HasPrefix(strings.TrimSpace(line), "#") {
		return nil, nil
	}
	words, word, open := splitOpen(line)
	switch open {
	case 0:
	case '\\':
		return nil, errors.New(`nothing follows the last backslash; write \\ for one`)
	default:
		return nil, errors.New("the quotation mark " + string(open) + " is not closed")
	}
	if word != nil {
		words = append(words, *word)
	}
	return words, nil
}

// splitOpen returns the whole words of a line, the word that stands at its end, nil
// when that is a space, and which mark is open there: a quotation mark, a backslash, or 0.
func splitOpen(line string) (words []string, word *string, open rune) {
	var b strings.Builder
	inside := false // a word
	escaped := false
	var quote rune
	for _, r := range line {
		switch {
		case escaped:
			escaped = false
			if quote == '"' && r == 'n' {
				r = '\n'
			}
			b.WriteRune(r)
		case r == '\\' && quote != '\'':
			escaped, inside = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			b.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inside = r, true
		case r == ' ' || r == '\t':
			if inside {
				words = append(words, b.String())
				b.Reset()
				inside = false
			}
		default:
			inside = true
			b.WriteRune(r)
		}
	}
	if inside {
		last := b.String()
		word = &last
	}
	if escaped {
		return words, word, '\\'
	}
	return words, word, quote
}

// quoteWord writes a word so that splitLine reads it as one.
func quoteWord(word string) string {
	var b strings.Builder
	for _, r := range word {
		if strings.ContainsRune(" \t\\'\"#", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
