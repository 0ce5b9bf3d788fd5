package trefoiltest

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"
)

// testLog writes lines to a test's log, until the test has ended.
type testLog struct {
	mu sync.Mutex
	t  testing.TB // nil when it has ended
}

// logTo makes a logger of warnings and errors for what ends with t: call it before that
// is made.
func logTo(t testing.TB) *slog.Logger {
	l := &testLog{t: t}
	t.Cleanup(l.end)
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// Write writes a line.
func (l *testLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.t != nil {
		l.t.Logf("%s", bytes.TrimSuffix(line, []byte("\n")))
	}
	return len(line), nil
}

func (l *testLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t = nil
}
