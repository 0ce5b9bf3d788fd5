package server_test

import (
	"bytes"
	"log/slog"
	"sync"
)

// lines keeps what is logged, at every level.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write is for slog.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
