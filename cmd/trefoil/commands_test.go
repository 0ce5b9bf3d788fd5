package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func TestOutputOfACommandIsItsResult(t *testing.T) {
	for name, c := range map[string]struct{ out, want string }{
		"nothing":             {"", "{}"},
		"object":              {`{"a": 1}`, `{"a": 1}`},
		"number and newline":  {"42\n", "42"},
		"big integer":         {"9007199254740993\n", "9007199254740993"},
		"text":                {"hello\n", `"hello"`},
		"text of two lines":   {"a\nb\n", `"a\nb"`},
		"one newline goes":    {"a\n\n", `"a\n"`},
		"carriage return":     {"a\r\n", `"a"`},
		"only a newline":      {"\n", `""`},
		"two JSON values":     {"1\n2\n", `"1\n2"`},
		"not UTF-8":           {"\xff", `"` + "\uFFFD" + `"`},
		"JSON but not UTF-8":  {"\"\xff\"", `"\"` + "\uFFFD" + `\""`},
		"JSON string":         {`"hello"`, `"hello"`},
		"almost JSON":         {"{a:1}", `"{a:1}"`},
		"leading white space": {"\n [1]", "[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, string(result([]byte(c.out))))
		})
	}
}

func TestLastLineOfStandardErrorIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		writes []string
		want   string
	}{
		"nothing":         {nil, ""},
		"one line":        {[]string{"boom\n"}, "boom"},
		"several":         {[]string{"a\n", "b\n"}, "b"},
		"in pieces":       {[]string{"a\nbo", "om"}, "boom"},
		"empty lines":     {[]string{"boom\n\n\n"}, "boom"},
		"a lot before":    {[]string{strings.Repeat("x", 100_000), "\nboom\n"}, "boom"},
		"many small ones": {strings.SplitAfter(strings.Repeat("line\n", 10_000), "\n"), "line"},
		"a long line":     {[]string{strings.Repeat("x", 100_000)}, strings.Repeat("x", maxErrorLine)},
		"not UTF-8":       {[]string{"\xff!"}, "\uFFFD!"},
	} {
		t.Run(name, func(t *testing.T) {
			var last tail
			for _, w := range c.writes {
				n, err := last.Write([]byte(w))
				require.NoError(t, err)
				require.Equal(t, len(w), n)
			}
			assert.Equal(t, c.want, last.line())
			assert.LessOrEqual(t, len(last.buf), 4*maxErrorLine)
		})
	}
}

func testCommands(t *testing.T, text string, timeout time.Duration) *commands {
	t.Helper()
	c := newCommands(text, timeout, 1000, slog.New(slog.DiscardHandler))
	t.Cleanup(c.stop)
	return c
}

func handled(ctx context.Context, t *testing.T, c *commands, params string) (string, error) {
	t.Helper()
	v, err := c.handle(ctx, json.RawMessage(params))
	if err != nil {
		return "", err
	}
	return string(v.(json.RawMessage)), nil
}

func TestLimitedStopsAtItsSize(t *testing.T) {
	full := 0
	l := &limited{left: 4, full: func() { full++ }}
	n, err := l.Write([]byte("abcd"))
	require.NoError(t, err)
	assert.Equal(t, 4, n)
	_, err = l.Write([]byte("e"))
	require.ErrorIs(t, err, errTooMuchOutput)
	assert.Equal(t, 1, full)
	assert.Equal(t, "abcd", l.buf.String())
}

func TestStoppedCommandsRefuse(t *testing.T) {
	c := testCommands(t, "echo never", patience)
	c.stop()
	_, err := handled(t.Context(), t, c, "{}")
	require.ErrorIs(t, err, abstract.ErrDraining)
}

// newPipe is a pipe of the system; both ends are closed with the test.
func newPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

func TestLinesEndWithTheContextWhileInputIsAwaited(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := newPipe(t)
	go func() {
		_, _ = w.WriteString("one\n")
	}()
	var got []string
	for line, err := range lines(ctx, r) {
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			break
		}
		got = append(got, line)
		cancel()
	}
	assert.Equal(t, []string{"one"}, got)
}

func TestTooLongLineIsAnError(t *testing.T) {
	text := bytes.Repeat([]byte("x"), maxLine+1)
	for _, err := range lines(t.Context(), bytes.NewReader(text)) {
		require.ErrorContains(t, err, "longer than")
		return
	}
	require.Fail(t, "no error")
}
