package main

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// maxHistory is how many lines a shell remembers.
const maxHistory = 1000

// maxHistoryLine is how long a line is that is remembered.
const maxHistoryLine = 16 << 10

// history is what was typed before, kept in a file of the user where there can be
// one. A file that cannot be written is no reason to fail. It is term.History.
type history struct {
	file string

	mu    sync.Mutex
	lines []string // the oldest first
}

// openHistory reads the user's history.
func openHistory() *history {
	dir := os.Getenv("XDG_STATE_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return &history{}
		}
		dir = filepath.Join(home, ".local", "state")
	}
	h := &history{file: filepath.Join(dir, "trefoil", "history")}
	f, err := os.Open(h.file)
	if err != nil {
		return h
	}
	defer f.Close()
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		h.remember(scanner.Text())
	}
	return h
}

// Add takes a line in.
func (h *history) Add(line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if strings.TrimSpace(line) == "" || len(line) > maxHistoryLine || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return
	}
	h.remember(line)
}

func (h *history) remember(line string) {
	h.lines = append(h.lines, line)
	if len(h.lines) > maxHistory {
		h.lines = h.lines[len(h.lines)-maxHistory:]
	}
}

// Len is how many lines there are.
func (h *history) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.lines)
}

// At returns a line, the newest first.
func (h *history) At(i int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lines[len(h.lines)-1-i]
}

// save writes the file, for its owner only: data that was typed may be secret.
func (h *history) save() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == "" || len(h.lines) == 0 || os.MkdirAll(filepath.Dir(h.file), 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(h.file), "history-*") // mode 0600
	if err != nil {
		return
	}
	_, err = f.WriteString(strings.Join(h.lines, "\n") + "\n")
	if closed := f.Close(); err != nil || closed != nil || os.Rename(f.Name(), h.file) != nil {
		_ = os.Remove(f.Name())
	}
}
