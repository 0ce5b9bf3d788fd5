package main

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLinesAreSplitAsAShellDoes(t *testing.T) {
	for line, want := range map[string][]string{
		"":                          nil,
		"  ":                        nil,
		"# a comment":               nil,
		"ls":                        {"ls"},
		" create  /a\tb ":           {"create", "/a", "b"},
		`set /a "two words"`:        {"set", "/a", "two words"},
		`set /a 'a "quoted" word'`:  {"set", "/a", `a "quoted" word`},
		`set /a "line\nline \"q\""`: {"set", "/a", "line\nline \"q\""},
		`set /a a\ b\\c`:            {"set", "/a", `a b\c`},
		`set /a ""`:                 {"set", "/a", ""},
		`set /a 'back\slash'`:       {"set", "/a", `back\slash`},
		"set /ä ö":                  {"set", "/ä", "ö"},
		`a"b c"d`:                   {"ab cd"},
	} {
		got, err := splitLine(line)
		require.NoError(t, err, line)
		assert.Equal(t, want, got, line)
	}
	for line, want := range map[string]string{`set /a "x`: "not closed", `set /a 'x`: "not closed", `set /a \`: "last backslash"} {
		_, err := splitLine(line)
		assert.ErrorContains(t, err, want, line)
	}
}

func FuzzQuotedWordIsOneWord(f *testing.F) {
	f.Add(`a b"c'd\e#`)
	f.Fuzz(func(t *testing.T, word string) {
		if word == "" || strings.ToValidUTF8(word, "") != word {
			return
		}
		got, err := splitLine("x " + quoteWord(word))
		require.NoError(t, err)
		require.Equal(t, []string{"x", word}, got)
	})
}

func TestNumberBehindTheDataSaysWhatKindANodeIs(t *testing.T) {
	for line, want := range map[string]string{
		"create /a data 2":         "create /a data --session",
		"create /a data 1":         "create /a data",
		"create /a data 3":         "create /a data 3",
		"create /a data":           "create /a data",
		"create /a --session data": "create /a --session data",
		"set /a data 2":            "set /a data 2",
	} {
		assert.Equal(t, strings.Fields(want), nodeKind(strings.Fields(line)))
	}
}

func TestHistoryIsKeptForItsOwner(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	h := openHistory()
	assert.Zero(t, h.Len())
	for i := range maxHistory + 10 {
		h.Add("ls /" + strconv.Itoa(i))
	}
	h.Add("ls /last")
	h.Add("ls /last")
	h.Add("  ")
	h.save()
	info, err := os.Stat(filepath.Join(dir, "trefoil", "history"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	again := openHistory()
	assert.Equal(t, maxHistory, again.Len())
	assert.Equal(t, "ls /last", again.At(0))
	assert.Equal(t, "ls /"+strconv.Itoa(maxHistory+9), again.At(1))

	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "trefoil", "history")) // no directory
	h = openHistory()
	h.Add("ls")
	h.save()
	assert.Equal(t, 1, h.Len())
}

func TestScriptStopsAtTheFirstFailure(t *testing.T) {
	_, broker := startBroker(t)
	script := "create /a 1\n\n# a comment\nget /none\ncreate /b 2\n"
	f := inProcess(t, script, "shell", "--broker", broker)
	assert.Equal(t, exitFailed, f.code)
	assert.Equal(t, "/a\n", f.out)
	assert.Contains(t, f.err, `line 4: get /none: not found: there is no node "/none"`)

	f = inProcess(t, strings.Replace(script, "/a", "/c", 1), "shell", "--broker", broker, "--keep-going")
	assert.Equal(t, exitFailed, f.code)
	assert.Equal(t, "/c\n/b\n", f.out)
	assert.Contains(t, f.err, "1 of 5 commands failed")

	f = inProcess(t, "ls\nnonsense\n", "shell", "--broker", broker)
	assert.Equal(t, "a\nb\nc\n", f.out)
	assert.Contains(t, f.err, "'help' shows what there is")

	f = inProcess(t, "ls\nexit\nnonsense\n", "shell", "--broker", broker)
	assert.Equal(t, exitOK, f.code, f.err)
}

func TestWordsAreCompleted(t *testing.T) {
	_, broker := startBroker(t)
	require.Equal(t, exitOK, inProcess(t, "create /config\ncreate /config/db 1\ncreate /config/dc 1\ncreate /counter\ncreate '/two words'\n", "shell", "--broker", broker).code)
	sh := &treeShell{app: &app{}, set: &settings{}, watches: map[string]*shellWatch{}, out: &strings.Builder{}}
	sh.connect(t, broker)
	for line, want := range map[string]string{
		"":                  "",
		"cr":                "create ",
		"create /conf":      "create /config/",
		"get /config/d":     "get /config/d",
		"get /c":            "get /co",
		"get /cou":          "get /counter ",
		"get /tw":           `get /two\ words `,
		"get /none/x":       "get /none/x",
		"delete --rec":      "delete --recursive ",
		"delete -r /counte": "delete -r /counter ",
		"watch --sub":       "watch --subtree ",
		`get "/cou`:         `get "/cou`,
		"set /counter x":    "set /counter x",
		"get ":              "get /",
		"get":               "get ",
		"nonsense":          "nonsense",
	} {
		longer, choice := completer{sh}.complete(line)
		assert.Equal(t, want, longer, "%q", line)
		if line == "get /config/d" {
			assert.Equal(t, []string{"/config/db", "/config/dc"}, choice)
		}
	}
}

func TestCandidatesStandInColumns(t *testing.T) {
	assert.Equal(t, "/a   /bb\n/cc  /d\n", columns([]string{"/a", "/bb", "/cc", "/d"}, 10))
	assert.Equal(t, "/a\n/b\n", columns([]string{"/a", "/b"}, 3))
	assert.Contains(t, columns(make([]string, maxCandidates+7), 80), "and 7 more\n")
}

func TestShellCommandsDoNotReadItsInput(t *testing.T) {
	_, broker := startBroker(t)
	f := inProcess(t, "create /a kept\nset /a -\nmulti\nget /a\n", "shell", "--broker", broker, "--keep-going")
	assert.Equal(t, exitFailed, f.code)
	assert.Equal(t, "/a\nkept\n", f.out)
	assert.Equal(t, 2, strings.Count(f.err, "have no standard input"), f.err)
}

func TestWordsThatSteerTheTerminalAreNotOffered(t *testing.T) {
	found := offered([]candidate{{word: "/b"}, {word: "/a"}, {word: "/\x1b[2J"}, {word: "/\u009b2J"}, {word: "other"}}, "/")
	assert.Equal(t, []candidate{{word: "/a"}, {word: "/b"}}, found)
}

func TestLongLinesAreNotRemembered(t *testing.T) {
	h := &history{}
	h.Add(strings.Repeat("x", maxHistoryLine+1))
	assert.Zero(t, h.Len())
}

func TestKeysTypedAheadNeverWait(t *testing.T) {
	k := newKeys()
	k.write([]byte(strings.Repeat("x", maxTyped))...)
	k.write('y') // dropped
	k.drop()
	k.write('a', 'b')
	b := make([]byte, 1)
	for _, want := range "ab" {
		n, err := k.Read(b)
		require.NoError(t, err)
		assert.Equal(t, string(want), string(b[:n]))
	}
	k.end()
	_, err := k.Read(b)
	assert.ErrorIs(t, err, io.EOF)
}
