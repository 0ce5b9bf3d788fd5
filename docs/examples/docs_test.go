package examples_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(text)
}

// constants returns the exported constants of a type in package abstract, as they
// stand in its source: "Name Type = 7".
func constants(t *testing.T, file, typ string) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^\t(\w+) +`+typ+` *= (\d+)`).FindAllStringSubmatch(read(t, file), -1) {
		var n int
		_, err := fmt.Sscan(m[2], &n)
		require.NoError(t, err)
		found[m[1]] = n
	}
	require.NotEmpty(t, found)
	return found
}

func TestErrorsListsEveryRCode(t *testing.T) {
	text := read(t, "docs/errors.md")
	for name, n := range constants(t, "abstract/errors.go", "RCode") {
		row := fmt.Sprintf(`(?m)^\| %d \| %s \| \S+ \| %d \|`, n, name, abstract.RCode(n).Legacy())
		assert.True(t, regexp.MustCompile(row).MatchString(text), "errors.md has no row with the number, name, sentinel and legacy code of %s", name)
	}
	for _, m := range regexp.MustCompile("`(Err[A-Z]\\w+)`").FindAllStringSubmatch(text, -1) {
		assert.True(t, strings.Contains(read(t, "abstract/errors.go"), "\t"+m[1]+" "), "%s is not there", m[1])
	}
}

func TestProtocolListsEveryMessageType(t *testing.T) {
	text := read(t, "docs/protocol.md")
	for name, n := range constants(t, "abstract/message.go", "MType") {
		assertRow(t, text, n, abstract.MType(n), name)
	}
}

func TestProtocolListsEveryOperation(t *testing.T) {
	text := read(t, "docs/protocol.md")
	for name, n := range constants(t, "abstract/message.go", "TopicOp") {
		assertRow(t, text, n, abstract.TopicOp(n), name)
	}
	for name, n := range constants(t, "abstract/message.go", "ServiceOp") {
		assertRow(t, text, n, abstract.ServiceOp(n), name)
	}
}

func assertRow(t *testing.T, text string, n int, word fmt.Stringer, name string) {
	t.Helper()
	assert.True(t, strings.Contains(text, fmt.Sprintf("| %d | %s |", n, word)), "protocol.md has no row for %s", name)
}

// TestProtocolFramesAreFrames reads the frames in protocol.md as its text says
// that frames are read.
func TestProtocolFramesAreFrames(t *testing.T) {
	frames := regexp.MustCompile("whole frame: `([0-9a-f]+)`").FindAllStringSubmatch(read(t, "docs/protocol.md"), -1)
	require.NotEmpty(t, frames)
	for _, m := range frames {
		b, err := hex.DecodeString(m[1])
		require.NoError(t, err)
		require.Greater(t, len(b), 12)
		length, mtype, idLen := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
		assert.Len(t, b[4:], int(length))
		if mtype>>28 != 0 { // compressed; TestDocumentedCompressedFramesAreTaken looks into it
			mtype &= 1<<28 - 1
		} else {
			assert.True(t, json.Valid(b[12+idLen:]), string(b[12+idLen:]))
		}
		assert.True(t, abstract.MType(mtype).OnWire())
	}
}

// TestProtocolDumpsShowTheirFrames checks that what stands byte by byte is what
// stands as a whole below it.
func TestProtocolDumpsShowTheirFrames(t *testing.T) {
	pairs := regexp.MustCompile("(?s)```\n((?:[0-9a-f]{2} [^\n]*\n)+)```\n\nwhole frame: `([0-9a-f]+)`").FindAllStringSubmatch(read(t, "docs/protocol.md"), -1)
	require.Len(t, pairs, 2)
	for _, m := range pairs {
		var dump strings.Builder
		for line := range strings.Lines(m[1]) {
			bytes, _, _ := strings.Cut(line, "   ")
			dump.WriteString(strings.ReplaceAll(bytes, " ", ""))
		}
		assert.Equal(t, m[2], dump.String())
	}
}

func TestProtocolExamplesAreJSON(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(read(t, "docs/protocol.md"), -1)
	require.NotEmpty(t, blocks)
	for _, m := range blocks {
		for line := range strings.Lines(m[1]) {
			assert.True(t, json.Valid([]byte(line)), line)
		}
	}
}

func TestDocumentsNameFilesThatExist(t *testing.T) {
	file := regexp.MustCompile(`\b(?:abstract|concrete|business|server|client|cmd|docs)/[\w/.-]*\w`)
	link := regexp.MustCompile(`\]\(([^)#]+)\)`)
	for _, doc := range []string{"README.md", "CHANGELOG.md", "docs/README.md", "docs/architecture.md", "docs/protocol.md", "docs/errors.md", "docs/operations.md"} {
		text := read(t, doc)
		for _, m := range link.FindAllStringSubmatch(goBlock.ReplaceAllString(text, ""), -1) { // f[T](x) is no link
			if !strings.Contains(m[1], "://") {
				assertThere(t, doc, filepath.Join(filepath.Dir(doc), m[1]))
			}
		}
		for _, name := range file.FindAllString(text, -1) {
			if strings.HasSuffix(name, "/x") || name == "server/main.go" || name == "client/main.go" {
				continue // any package; and the two programs that README has its reader write
			}
			assertThere(t, doc, name)
		}
	}
}

func assertThere(t *testing.T, doc, name string) {
	t.Helper()
	_, err := os.Stat(filepath.Join(root, name))
	assert.NoError(t, err, "%s names %s", doc, name)
}

// TestArchitectureNamesFunctionsThatExist looks for what architecture.md writes
// like `Type.Method` in the files it names beside it.
func TestArchitectureNamesFunctionsThatExist(t *testing.T) {
	name := regexp.MustCompile("`(\\w+)\\.(\\w+)`")
	var sources strings.Builder
	for _, dir := range []string{"abstract", "concrete/*", "concrete/internal/*", "business/*", "server", "client"} {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		require.NoError(t, err)
		for _, f := range files {
			if !strings.HasSuffix(f, "_test.go") {
				text, err := os.ReadFile(f)
				require.NoError(t, err)
				sources.Write(text)
			}
		}
	}
	for _, m := range name.FindAllStringSubmatch(read(t, "docs/architecture.md"), -1) {
		if strings.HasSuffix(m[0], ".go`") {
			continue
		}
		method := regexp.MustCompile(`func \(\w+ \*?` + m[1] + `(\[\w+\])?\) ` + m[2] + `\(`)
		member := regexp.MustCompile(`(?s)type ` + m[1] + ` (?:struct|interface) \{.*?\n\t(\w+, )*` + m[2] + `\b`)
		function := regexp.MustCompile(`(?m)^(func|type) ` + m[2] + `\b`) // `workers.Pool`
		if s := sources.String(); !method.MatchString(s) && !member.MatchString(s) && !function.MatchString(s) {
			assert.Fail(t, "architecture.md names what is not there", m[0])
		}
	}
}

func TestOperationsAndReadmeNameEveryCommand(t *testing.T) {
	binary := build(t, "./cmd/trefoil")
	text := read(t, "README.md") + read(t, "docs/operations.md")
	commands := commandsOf(t, binary)
	require.Contains(t, commands, "broker")
	for _, c := range commands {
		if c != "help" {
			assert.True(t, strings.Contains(text, "trefoil "+c), "neither document names trefoil %s", c)
		}
	}
	operations := read(t, "docs/operations.md") + read(t, "docs/configuration.md")
	for _, c := range []string{"broker", "provide"} {
		out, err := exec.Command(binary, c, "--help").CombinedOutput()
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[\w-]+)`).FindAllSubmatch(out, -1) {
			if flag := string(m[1]); flag != "--help" {
				named := regexp.MustCompile("[ `]" + flag + `\b`).MatchString(operations)
				assert.True(t, named, "neither operations.md nor configuration.md names %s of trefoil %s", flag, c)
			}
		}
	}
}

// commandsOf returns the commands that the program's help lists.
func commandsOf(t *testing.T, binary string) []string {
	t.Helper()
	out, err := exec.Command(binary, "--help").CombinedOutput()
	require.NoError(t, err, string(out))
	_, list, ok := bytes.Cut(out, []byte("Available Commands:\n"))
	require.True(t, ok, string(out))
	list, _, _ = bytes.Cut(list, []byte("\n\n"))
	var names []string
	for line := range strings.Lines(string(list)) {
		names = append(names, strings.Fields(line)[0])
	}
	return names
}

// options returns the options of a package, by the functions that make them.
func options(t *testing.T, pkg string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pkg, "*.go"))
	require.NoError(t, err)
	found := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`(?m)^func (\w+)\(.*\) (?:Call)?Option \{`).FindAllStringSubmatch(string(text), -1) {
			found[m[1]] = true
		}
	}
	require.NotEmpty(t, found)
	return found
}

func TestOperationsNamesOptionsThatExist(t *testing.T) {
	text := read(t, "docs/operations.md")
	of := map[string]map[string]bool{"client.": options(t, "client"), "": options(t, "server")}
	for _, m := range regexp.MustCompile("`(client\\.)?(With\\w+|Timeout)`").FindAllStringSubmatch(text, -1) {
		assert.True(t, of[m[1]][m[2]], "%s%s is not there", m[1], m[2])
	}
}

// TestEveryOptionIsInThePages: what a user can set can be found.
func TestEveryOptionIsInThePages(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	var text strings.Builder
	for _, page := range pages {
		b, err := os.ReadFile(page)
		require.NoError(t, err)
		text.Write(b)
	}
	for _, pkg := range []string{"server", "client"} {
		for name := range options(t, pkg) {
			named := regexp.MustCompile("`(" + pkg + `\.)?` + name + "[`(]|" + pkg + `\.` + name + `\b`)
			assert.True(t, named.MatchString(text.String()), "no page names %s.%s", pkg, name)
		}
	}
}
