package examples_test

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")

// readmeBlocks returns README's Go blocks: a server, a client, and parts of examples.
func readmeBlocks(t *testing.T) (server, client string, parts []string) {
	t.Helper()
	blocks := goBlock.FindAllStringSubmatch(read(t, "README.md"), -1)
	require.Greater(t, len(blocks), 2, "README shows a server, a client, and parts of examples")
	for _, b := range blocks[2:] {
		parts = append(parts, b[1])
	}
	return blocks[0][1], blocks[1][1], parts
}

// TestReadmeShowsExamplesThatRun: the rest is part of examples that are built and run.
func TestReadmeShowsExamplesThatRun(t *testing.T) {
	var sources strings.Builder
	for _, file := range []string{"docs/examples/tour/glance_test.go", "docs/examples/tour/tour_test.go", "docs/examples/topics/main.go", "server/trefoiltest/example_test.go"} {
		text := read(t, file)
		sources.WriteString("\n" + text + strings.ReplaceAll("\n"+text, "\n\t", "\n")) // as it is, and what is inside functions
	}
	_, _, parts := readmeBlocks(t)
	for _, part := range parts {
		assert.True(t, strings.Contains(sources.String(), "\n"+part), "no example has\n%s", part)
	}
}

// TestTopicsPageShowsExamplesThatRun: each part of docs/topics.md is part of an example.
func TestTopicsPageShowsExamplesThatRun(t *testing.T) {
	blocks := goBlock.FindAllStringSubmatch(read(t, "docs/topics.md"), -1)
	require.NotEmpty(t, blocks)
	var sources strings.Builder
	for _, file := range []string{"docs/examples/topics/page_test.go", "docs/examples/topics/main.go"} {
		text := read(t, file)
		sources.WriteString("\n" + text + strings.ReplaceAll("\n"+text, "\n\t", "\n"))
	}
	for _, b := range blocks {
		assert.True(t, strings.Contains(sources.String(), "\n"+b[1]), "no example has\n%s", b[1])
	}
}

// readmeAddr is where README's server listens. The test lets it take a free port.
const readmeAddr = `"127.0.0.1:7700"`

func TestReadmeProgramsAreShort(t *testing.T) {
	server, client, _ := readmeBlocks(t)
	assert.Less(t, strings.Count(server+client, "\n"), 40)
}

func TestReadmeProgramsRunAsPasted(t *testing.T) {
	server, client, _ := readmeBlocks(t)
	require.Contains(t, server, readmeAddr)
	require.Contains(t, client, readmeAddr)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	addr := startReadmeServer(ctx, t, paste(t, strings.Replace(server, readmeAddr, `"127.0.0.1:0"`, 1)))
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, paste(t, strings.Replace(client, readmeAddr, `"`+addr+`"`, 1)))
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	assert.Equal(t, "50 <nil>\n", string(out))
}

// paste builds a program that somebody copied out of README.
func paste(t *testing.T, program string) (binary string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(file, []byte(program), 0o600))
	return build(t, file)
}

var started = regexp.MustCompile(`server started.*addr=(\S+)`)

// startReadmeServer runs the server until the test's end, and returns the address
// that its log names.
func startReadmeServer(ctx context.Context, t *testing.T, binary string) (addr string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, binary)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if m := started.FindStringSubmatch(lines.Text()); m != nil {
			return m[1]
		}
	}
	require.Fail(t, "the server ended before it listened")
	return ""
}
