package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/concrete/message"
)

// expected counts as the demo promises: newlines, strings.Fields, bytes.
func expected(text string) totals {
	return totals{
		Files: 1, Lines: int64(strings.Count(text, "\n")),
		Words: int64(len(strings.Fields(text))), Bytes: int64(len(text)),
	}
}

// someText draws texts that are hard to split: several kinds of white space,
// runes of every length, long words.
func someText() *rapid.Generator[string] {
	piece := rapid.SampledFrom([]string{"a", "word", " ", "\n", "\r\n", "\t", "é", "世界", "😀", "\u2003", "\u0085", "\u00a0", "\u2028", "\x01", "<&>", strings.Repeat("x", 40)})
	return rapid.Map(rapid.SliceOf(piece), func(pieces []string) string { return strings.Join(pieces, "") })
}

func TestCounterCountsWhatFieldsCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := someText().Draw(t, "text")
		buf := make([]byte, rapid.IntRange(1, 10).Draw(t, "buffer"))
		got, err := countText(strings.NewReader(text), buf)
		require.NoError(t, err)
		require.Equal(t, expected(text), got)
	})
}

func TestOnlyTextIsCounted(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		text    bool
	}{
		"empty":                     {"", true},
		"text":                      {"a b\n", true},
		"byte-order mark":           {"\ufeffa", true},
		"replacement character":     {"\ufffd", true},
		"NUL":                       {"a\x00b", false},
		"invalid":                   {"a\xffb", false},
		"cut at the end":            {"a\xe4\xb8", false},
		"cut in the middle":         {"a\xe4\xb8b", false},
		"surrogate":                 {"\xed\xa0\x80", false},
		"overlong":                  {"\xc0\x80", false},
		"continuation without lead": {"\x80", false},
	} {
		for _, size := range []int{1, 2, 3, 1000} {
			_, err := countText(strings.NewReader(c.content), make([]byte, size))
			assert.Equal(t, c.text, err == nil, "%s, %d bytes at a time: %v", name, size, err)
			assert.Equal(t, c.text, utf8.ValidString(c.content) && !strings.Contains(c.content, "\x00"), name)
		}
	}
}

// allChunks splits a text and adds the pieces up as the demo does.
func allChunks(t require.TestingT, text string, limit int) (pieces []chunk, sum totals) {
	for c, err := range chunks(strings.NewReader(text), int64(len(text)), limit) {
		require.NoError(t, err)
		pieces = append(pieces, c)
		part := expected(c.text)
		part.Files = 0
		if c.first {
			part.Files = 1
		}
		if c.joined {
			part.Words--
		}
		sum.add(part)
	}
	return pieces, sum
}

func TestPiecesOfATextAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := someText().Draw(t, "text")
		limit := rapid.IntRange(4, 64).Draw(t, "limit")
		pieces, sum := allChunks(t, text, limit)
		require.Equal(t, expected(text), sum)
		var joined strings.Builder
		for i, p := range pieces {
			require.LessOrEqual(t, len(p.text), limit)
			require.True(t, utf8.ValidString(p.text))
			require.Equal(t, i == 0, p.first)
			joined.WriteString(p.text)
		}
		require.Equal(t, text, joined.String())
	})
}

func TestTextIsSplitAtWhiteSpaceWhereThereIsSome(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"empty":                    {"", []string{""}},
		"fits":                     {"ab cd", []string{"ab cd"}},
		"nearly fits":              {"ab cd ef", []string{"ab cd ", "ef"}}, // what follows is not known yet
		"at the last white space":  {"ab cd efgh", []string{"ab cd ", "efgh"}},
		"inside a long word":       {"abcdefghij", []string{"abcdefgh", "ij"}},
		"not inside a rune":        {"abcdefg世", []string{"abcdefg", "世"}},
		"behind wide white space":  {"abcd\u2003efgh", []string{"abcd\u2003", "efgh"}},
		"white space at the limit": {"abcdefgh ij", []string{"abcdefgh", " ij"}},
	} {
		t.Run(name, func(t *testing.T) {
			pieces, _ := allChunks(t, c.text, 8)
			var got []string
			for _, p := range pieces {
				got = append(got, p.text)
			}
			assert.Equal(t, c.want, got)
		})
	}
}

func TestReadErrorEndsTheChunks(t *testing.T) {
	boom := errors.New("boom")
	r := io.MultiReader(strings.NewReader("some text "), iotest.ErrReader(boom))
	var last error
	for _, err := range chunks(r, 100, 8) {
		last = err
	}
	require.ErrorIs(t, last, boom)
}

func TestLongestChunkFitsIntoAFrame(t *testing.T) {
	const frame = 8 << 20
	for name, r := range map[string]string{"control characters": "\x01", "HTML": "<", "line separator": "\u2028", "quotes": `"`} {
		text := strings.Repeat(r, maxChunk/len(r))
		raw, err := message.Encode(countParams{Path: strings.Repeat("\x01", 4096), Text: text})
		require.NoError(t, err)
		assert.Less(t, len(raw), frame-4096, name)
	}
}
