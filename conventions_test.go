package trefoil_test

import (
	"go/ast"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	dirs, byDir := packagesOf(loadSources(t))
	for _, dir := range dirs {
		assert.Empty(t, docFault(byDir[dir]), dir)
	}
}

// docFault says what is wrong with a package's doc comment; empty when nothing is.
func docFault(files []*source) string {
	var code, docs int
	for _, s := range files {
		if s.test {
			continue
		}
		code++
		if s.file.Doc == nil {
			continue
		}
		docs++
		text, name := s.file.Doc.Text(), s.file.Name.Name
		if name != "main" && !strings.HasPrefix(text, "Package "+name+" ") {
			return s.path + ": the package comment does not begin with \"Package " + name + " \""
		}
	}
	switch {
	case code > 0 && docs == 0:
		return "no file has a package comment; say what the package is for"
	case docs > 1:
		return "more than one file has a package comment; keep one"
	}
	return ""
}

// TestNothingIsBuiltInInit keeps construction visible: what is built is built by
// whoever needs it.
func TestNothingIsBuiltInInit(t *testing.T) {
	for _, s := range loadSources(t) {
		if strings.HasPrefix(s.dir, "cmd/") || ast.IsGenerated(s.file) {
			continue
		}
		for _, line := range inits(s) {
			assert.Fail(t, "init found", "%s: do this where it is needed, or in a constructor", line)
		}
	}
}

func inits(s *source) []string {
	var lines []string
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			lines = append(lines, s.line(f))
		}
	}
	return lines
}

// TestTestsDoNotSleep keeps tests from waiting for something by guessing how long
// it takes. In a bubble of testing/synctest a sleep takes no time and is welcome.
func TestTestsDoNotSleep(t *testing.T) {
	for _, s := range loadSources(t) {
		for _, line := range sleeps(s) {
			assert.Fail(t, "sleep found", "%s: wait for the event itself, or use testing/synctest", line)
		}
	}
}

func sleeps(s *source) []string {
	if !s.test || slices.Contains(s.imports(), "testing/synctest") {
		return nil
	}
	var lines []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "Sleep" {
			return true
		}
		if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" {
			lines = append(lines, s.line(n))
		}
		return true
	})
	return lines
}

// TestNoDeadlineUsesTheWallClock keeps the wall clock out of everything that decides
// something: a time that is not taken as a number keeps its monotonic reading, and a
// jump of the clock changes no difference of two of them.
func TestNoDeadlineUsesTheWallClock(t *testing.T) {
	forShow := map[string]string{
		"server/node_server.go":            "a node's times, which decide nothing",
		"business/requestor/wheel.go":      "the far future, where no call has a deadline",
		"business/access/token.go":         "the date on which a token ends",
		"concrete/message/topic_extras.go": "the form of times on the wire",
		"client/topic_admin.go":            "when a message was taken, which decides nothing",
		"client/scheduled.go":              "the same, and when one is due, which the broker decides",
		"concrete/jetstream/delivery.go":   "the same, as the log wrote it down",
		"server/topic_catchup.go":          "the same",
		"server/topic_agenda.go":           "a message for three o'clock is one for three o'clock by the wall clock, however that gets there",
	}
	for _, s := range loadSources(t) {
		first, _, _ := strings.Cut(s.dir, "/")
		if s.test || forShow[s.path] != "" || !slices.Contains([]string{"abstract", "business", "concrete", "server", "client"}, first) {
			continue
		}
		for _, line := range wallClocks(s) {
			assert.Fail(t, "the wall clock is looked at", "%s: compare times as time.Now returns them, or durations", line)
		}
	}
}

// wallClocks are the places where a source takes a time for a number, or the other
// way round: the monotonic reading is lost there.
func wallClocks(s *source) []string {
	if !slices.Contains(s.imports(), "time") {
		return nil
	}
	var lines []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains([]string{"Unix", "UnixMilli", "UnixMicro", "UnixNano", "Date", "Parse", "UTC", "Local"}, sel.Sel.Name) {
			lines = append(lines, s.line(n))
		}
		return true
	})
	return lines
}

// TestConventionRulesCanFail plants offences, so that a rule that finds nothing is
// noticed.
func TestConventionRulesCanFail(t *testing.T) {
	const sleepy = "package p\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n"
	t.Run("package comment", func(t *testing.T) {
		assert.Contains(t, docFault([]*source{parseSource(t, "a.go", "package p\n")}), "no file has")
		assert.Contains(t, docFault([]*source{parseSource(t, "a.go", "// This is p.\npackage p\n")}), "does not begin")
		documented := parseSource(t, "a.go", "// Package p is a package.\npackage p\n")
		assert.Empty(t, docFault([]*source{documented, parseSource(t, "b.go", "package p\n")}))
		assert.Contains(t, docFault([]*source{documented, documented}), "more than one")
		assert.Empty(t, docFault([]*source{parseSource(t, "a_test.go", "package p\n")}), "tests alone need none")
	})
	t.Run("wall clock", func(t *testing.T) {
		planted := parseSource(t, "a.go", "package p\n\nimport \"time\"\n\nvar due = time.Now().UnixNano()\n\nvar left = time.Since(time.Now())\n")
		assert.Equal(t, []string{"a.go:5"}, wallClocks(planted))
	})
	t.Run("init", func(t *testing.T) {
		planted := parseSource(t, "a.go", "package p\n\ntype T int\n\nfunc (T) init() {}\n\nfunc init() {}\n")
		assert.Equal(t, []string{"a.go:7"}, inits(planted))
	})
	t.Run("sleep", func(t *testing.T) {
		assert.Equal(t, []string{"a_test.go:5"}, sleeps(parseSource(t, "a_test.go", sleepy)))
		assert.Empty(t, sleeps(parseSource(t, "a.go", sleepy)), "code may sleep")
		bubble := strings.Replace(sleepy, "import \"time\"", "import (\n\t\"testing/synctest\"\n\t\"time\"\n)\n\nvar _ = synctest.Test", 1)
		assert.Empty(t, sleeps(parseSource(t, "a_test.go", bubble)), "virtual time")
	})
}
