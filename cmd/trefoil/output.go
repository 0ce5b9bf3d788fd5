package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"

	"trefoil/cmd/trefoil/internal/logs"
)

// writeJSON writes v in one line, as text is: without the escapes for HTML.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// say writes an object for programs or a line for people.
func (a *app) say(s *settings, v any, format string, args ...any) error {
	if s.json {
		return writeJSON(a.stdout, v)
	}
	if _, err := fmt.Fprintf(a.stdout, format+"\n", args...); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// logger logs to standard error as the flags say, or where s has its log.
func (a *app) logger(s *settings) *slog.Logger {
	if s.log != nil {
		return s.log
	}
	var level slog.Level
	_ = level.UnmarshalText([]byte(s.logLevel)) // checked with the flags
	opts := &slog.HandlerOptions{Level: level}
	to := logs.WithoutTokens(a.stderr)
	if s.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(to, opts))
	}
	return slog.New(slog.NewTextHandler(to, opts))
}

// isTerminal says whether somebody may be looking at w. A character device is
// taken for a terminal, the null device is not.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}
