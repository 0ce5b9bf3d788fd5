package logs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
)

const (
	megabyte = 1 << 20
	day      = 24 * time.Hour
)

// File is a log file that is put aside when it is full.
type File struct {
	Path       string        // empty: no file
	MaxSize    int64         // bytes, rounded up to MiB; default 100 MiB
	MaxBackups int           // files that were put aside and are kept; 0: all
	MaxAge     time.Duration // how old those may be, rounded up to days; 0: any age
	Compress   bool          // compresses them
}

// check says whether the file can be written to, and makes its directory.
func (f File) check() error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
		return fmt.Errorf("make the directory of the log: %w", err)
	}
	file, err := os.OpenFile(f.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	return file.Close()
}

// rotated is the sink of a File. Its library keeps one goroutine, which waits, for
// every rotated that was ever written to.
type rotated struct{ *lumberjack.Logger }

func newRotated(f File) rotated {
	return rotated{&lumberjack.Logger{
		Filename:   f.Path,
		MaxSize:    int((f.MaxSize + megabyte - 1) / megabyte),
		MaxBackups: f.MaxBackups,
		MaxAge:     int((f.MaxAge + day - 1) / day),
		Compress:   f.Compress,
	}}
}

// Reopen lets go of the file. The next line opens the one of that name, which may
// be another by then.
func (r rotated) Reopen() { _ = r.Close() }

// stream is the sink of what has no name, such as standard error.
type stream struct{ io.Writer }

// Reopen does nothing: there is no name to open again.
func (stream) Reopen() {}

// Close does nothing: whoever opened the stream closes it.
func (stream) Close() error { return nil }
