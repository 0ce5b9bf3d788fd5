// Package logs is the log of a program that serves: levels for each of its parts,
// text or JSON, to a stream or to a file that is rotated, all of it changeable
// while it runs. What it costs the one who logs is making the line; the writing is
// somebody else's wait.
package logs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Config says how to log. Its zero value logs text from Info on.
type Config struct {
	Level  slog.Level
	Levels map[string]slog.Level // of areas that differ from Level
	JSON   bool
	File   File // where to; without a Path it is the stream

	MaxLines int // that wait to be written; default 8,192
	MaxBytes int // of them; default 4 MiB
}

func (c Config) bounds() bounds {
	b := bounds{lines: c.MaxLines, bytes: c.MaxBytes}
	if b.lines <= 0 {
		b.lines = 8192
	}
	if b.bytes <= 0 {
		b.bytes = 4 << 20
	}
	return b
}

// Log is an open log. All methods are safe for concurrent use.
type Log struct {
	stream io.Writer
	logger *slog.Logger
	queue  *queue
	choice atomic.Pointer[choice]

	mu  sync.Mutex
	cfg Config
}

// Open opens a log. stream is where it goes when there is no file, and where it
// says when the file cannot be written; it is not closed. Close the log.
func Open(stream io.Writer, cfg Config) (*Log, error) {
	l := &Log{stream: stream, cfg: cfg}
	to, err := l.sink(cfg.File)
	if err != nil {
		return nil, err
	}
	l.choose(cfg)
	l.queue = newQueue(to, cfg.bounds(), teller{
		dropped: func(n uint64) []byte { return l.notice("log lines dropped, they came faster than they are written", n) },
		lost:    func(n uint64) []byte { return l.notice("log lines lost, they could not be written", n) },
		trouble: l.trouble,
	})
	l.logger = slog.New(newHandler(WithoutTokens(l.queue), &l.choice))
	return l, nil
}

// Logger is a logger of no area. It takes part in every later Configure, and so do
// all loggers made of it.
func (l *Log) Logger() *slog.Logger { return l.logger }

// Configure changes how to log. When a new file cannot be opened nothing changes.
func (l *Log) Configure(cfg Config) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cfg.File != l.cfg.File {
		to, err := l.sink(cfg.File)
		if err != nil {
			return err
		}
		l.queue.replace(to)
	}
	l.cfg = cfg
	l.choose(cfg)
	l.queue.limit(cfg.bounds())
	return nil
}

// Reopen opens the file of the log again, for when it was moved away.
func (l *Log) Reopen() { l.queue.openAgain() }

// Close writes what waits and closes the file, within ctx. Later lines are dropped.
func (l *Log) Close(ctx context.Context) error { return l.queue.close(ctx) }

func (l *Log) choose(cfg Config) {
	l.choice.Store(&choice{level: cfg.Level, levels: cfg.Levels, json: cfg.JSON})
}

// sink makes the sink of a file, or of the stream.
func (l *Log) sink(f File) (sink, error) {
	if f.Path == "" {
		return stream{l.stream}, nil
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	return newRotated(f), nil
}

// notice is a line of the log about itself.
func (l *Log) notice(text string, lines uint64) []byte {
	var out bytes.Buffer
	r := slog.NewRecord(time.Now(), slog.LevelWarn, text, 0)
	r.AddAttrs(slog.String(AreaKey, "log"), slog.Uint64("lines", lines))
	_ = newHandler(&out, &l.choice).Handle(context.Background(), r) // a buffer takes everything
	return out.Bytes()
}

// trouble says on the stream that the log cannot be written.
func (l *Log) trouble(err error) {
	fmt.Fprintf(l.stream, "the log cannot be written, lines are lost until it can: %v\n", err)
}
