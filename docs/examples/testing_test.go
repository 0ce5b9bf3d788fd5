package examples_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTestingPageShowsTestsThatRun: what testing.md shows is part of tests that are run.
func TestTestingPageShowsTestsThatRun(t *testing.T) {
	source := read(t, "server/trefoiltest/example_test.go")
	blocks := goBlock.FindAllStringSubmatch(read(t, "docs/testing.md"), -1)
	require.NotEmpty(t, blocks)
	for _, b := range blocks {
		assert.True(t, strings.Contains(source, "\n"+b[1]), "example_test.go does not have\n%s", b[1])
	}
}
