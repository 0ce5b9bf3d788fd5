package session_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// clockless is all that a package without a clock may use of package time.
var clockless = map[string]bool{"Duration": true, "Nanosecond": true, "Microsecond": true, "Millisecond": true, "Second": true, "Minute": true, "Hour": true}

// clocks returns what a source uses of package time, and of packages that know the
// time too, but for durations.
func clocks(t *testing.T, name, text string) (found []string) {
	t.Helper()
	var src any
	if text != "" {
		src = text
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution)
	require.NoError(t, err)
	names := map[string]string{}
	for _, spec := range file.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		require.NoError(t, err)
		if imp != "time" && imp != "syscall" && imp != "runtime" {
			continue
		}
		local := imp
		if spec.Name != nil {
			local = spec.Name.Name
		}
		if local == "." {
			found = append(found, "all of "+imp)
		}
		names[local] = imp
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && names[x.Name] != "" && (names[x.Name] != "time" || !clockless[sel.Sel.Name]) {
			found = append(found, names[x.Name]+"."+sel.Sel.Name)
		}
		return true
	})
	return found
}

// TestNoDeadlineKnowsAClock: time comes in as a duration on a scale of the
// caller's, so nothing here can depend on what somebody sets a clock to.
func TestNoDeadlineKnowsAClock(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	checked := 0
	for _, name := range files {
		if !strings.HasSuffix(name, "_test.go") {
			checked++
			assert.Empty(t, clocks(t, name, ""), name)
		}
	}
	assert.Greater(t, checked, 5)
}

func TestClockCheckCanFail(t *testing.T) {
	for text, want := range map[string][]string{
		`import "time"; var d time.Duration = 3 * time.Second`:     nil,
		`import "time"; var at time.Time`:                          {"time.Time"},
		`import "time"; var at = time.Now`:                         {"time.Now"},
		`import clock "time"; func f() { _ = clock.Since }`:        {"time.Since"},
		`import . "time"; var at = Now()`:                          {"all of time"},
		`import "time"; func f() { time.AfterFunc(1, f) }`:         {"time.AfterFunc"},
		`import "syscall"; func f() { syscall.Gettimeofday(nil) }`: {"syscall.Gettimeofday"},
	} {
		assert.Equal(t, want, clocks(t, "x.go", "package x\n"+text), text)
	}
}
