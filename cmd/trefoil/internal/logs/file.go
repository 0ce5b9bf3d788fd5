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
	// defaultMegabytes is how large a file becomes of which nothing is said.
	defaultMegabytes = 100
	day              = 24 * time.Hour
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
// every rotated that was ever written to. Only one goroutine writes at a time.
type rotated struct {
	*lumberjack.Logger
	half    int       // of what the file may have, in bytes
	begun   time.Time // of the half that is written now
	written int       // of it
}

// apart is how far apart files are put aside at least: their names have milliseconds, and
// a second one of the same name would take the first one's place.
const apart = 2 * time.Millisecond

func newRotated(f File) *rotated {
	size := (f.MaxSize + megabyte - 1) / megabyte
	if size <= 0 {
		size = defaultMegabytes
	}
	return &rotated{half: int(size * megabyte / 2), Logger: &lumberjack.Logger{
		Filename:   f.Path,
		MaxSize:    int(size),
		MaxBackups: f.MaxBackups,
		MaxAge:     int((f.MaxAge + day - 1) / day),
		Compress:   f.Compress,
	}}
}

// Write waits a moment behind each half of a file, if that was written in less than one:
// there are two halves between two files that are put aside.
func (r *rotated) Write(p []byte) (int, error) {
	if r.written+len(p) > r.half {
		time.Sleep(apart - time.Since(r.begun))
		r.begun, r.written = time.Now(), 0
	}
	r.written += len(p)
	return r.Logger.Write(p)
}

// Reopen lets go of the file. The next line opens the one of that name, which may
// be another by then.
func (r *rotated) Reopen() { _ = r.Close() }

// stream is the sink of what has no name, such as standard error.
type stream struct{ io.Writer }

// Reopen does nothing: there is no name to open again.
func (stream) Reopen() {}

// Close does nothing: whoever opened the stream closes it.
func (stream) Close() error { return nil }
