package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/bench/internal/harness"
)

// TestMain makes this test binary one of the benchmark's processes when the
// harness has started it as such.
func TestMain(m *testing.M) {
	if !harness.IsChild() {
		os.Setenv("GORACE", "atexit_sleep_ms=0") // children built with -race would sleep a second when they end
		os.Exit(m.Run())
	}
	if err := run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func TestEveryTableRunsSmall(t *testing.T) {
	dir := t.TempDir()
	var out, log bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"all", "--smoke", "--out", dir}, strings.NewReader(""), &out, &log), "%s", log.String())
	for _, table := range tables() {
		t.Run(table.Name, func(t *testing.T) {
			res, err := harness.LoadResult(dir, table.Name)
			require.NoError(t, err)
			require.NotEmpty(t, res.Rows)
			for _, row := range res.Rows {
				switch {
				case row.Skipped != "":
					t.Logf("%s skipped: %s", row.Contestant, row.Skipped)
				default:
					assert.Empty(t, row.Failed, "%s at %s", row.Contestant, row.Cell)
				}
			}
			for _, cell := range res.Cells() {
				assert.Contains(t, out.String(), "## "+cell, "every cell is printed")
			}
		})
	}
	budgets, err := os.ReadFile(filepath.Join(dir, "budgets.md"))
	require.NoError(t, err)
	assert.Contains(t, out.String(), string(budgets), "they are printed at the end")
	for _, table := range tables() {
		assert.Contains(t, string(budgets), "- "+table.Name+": `go run . "+table.Name+" --smoke")
	}
}

func TestProfileSaysWhereTimeGoes(t *testing.T) {
	dir := t.TempDir()
	var out, log bytes.Buffer
	args := []string{"profile", "rpc", "--smoke", "--seconds", "0.1", "--cells", "^1x1 128B$", "--out", dir}
	require.NoError(t, run(t.Context(), args, nil, &out, &log), "%s", log.String())
	for _, who := range []string{"client", "server0"} {
		assert.FileExists(t, filepath.Join(dir, "1x1-128B-trefoil-"+who+".pprof"))
		assert.Contains(t, out.String(), who+".pprof\n")
	}
	assert.NoFileExists(t, filepath.Join(dir, "rpc.json"), "what a profiler slowed down is no result")
	if _, err := exec.LookPath("strace"); err == nil && !strings.Contains(log.String(), "strace does not attach") {
		assert.Regexp(t, `\| (read|write|epoll_pwait|recvmsg|sendmsg|readv|futex) \| [0-9.]+`, out.String())
	}
}

func TestChartsAreDrawnFromResults(t *testing.T) {
	results, pictures := t.TempDir(), t.TempDir()
	var out, log bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"rpc", "--smoke", "--only", "^(floor-net|trefoil)$", "--out", results}, nil, &out, &log), "%s", log.String())
	require.NoError(t, run(t.Context(), []string{"charts", "--results", results, "--out", pictures}, nil, &out, &log))
	files, err := os.ReadDir(pictures)
	require.NoError(t, err)
	assert.NotEmpty(t, files)
}

func TestUnknownTableSaysWhatThereIs(t *testing.T) {
	err := run(t.Context(), []string{"nonsense"}, nil, nil, nil)
	require.Error(t, err)
	for _, table := range tables() {
		assert.ErrorContains(t, err, table.Name)
	}
}
