// Package etcdlog passes on what etcd and its client log.
package etcdlog

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Quietly passes on what etcd and its client log. Most of that is about their
// own affairs: information and warnings become debug records, errors stay.
func Quietly(to *slog.Logger) *zap.Logger { return zap.New(&logCore{to: to}) }

// logCore is a zapcore.Core that writes to a slog.Logger.
type logCore struct{ to *slog.Logger }

// Enabled is zapcore.Core's.
func (c *logCore) Enabled(l zapcore.Level) bool {
	return c.to.Enabled(context.Background(), levelOf(l))
}

// With is zapcore.Core's.
func (c *logCore) With(fields []zapcore.Field) zapcore.Core {
	return &logCore{to: slog.New(c.to.Handler().WithAttrs(attrs(fields)))}
}

// Check is zapcore.Core's.
func (c *logCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return to.AddCore(e, c)
	}
	return to
}

// Write is zapcore.Core's.
func (c *logCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := levelOf(e.Level)
	if slices.ContainsFunc(fields, closed) {
		level = slog.LevelDebug
	}
	c.to.LogAttrs(context.Background(), level, "etcd: "+e.Message, attrs(fields)...)
	return nil
}

// closed reports whether a field is the error of a listener that was closed on purpose: an
// etcd that ends in good order logs some of these as errors.
func closed(f zapcore.Field) bool {
	err, ok := f.Interface.(error)
	return ok && (errors.Is(err, net.ErrClosed) || strings.HasSuffix(strings.ToLower(err.Error()), "server closed"))
}

// Sync is zapcore.Core's.
func (c *logCore) Sync() error { return nil }

func levelOf(l zapcore.Level) slog.Level {
	if l >= zapcore.ErrorLevel {
		return slog.LevelError
	}
	return slog.LevelDebug
}

func attrs(fields []zapcore.Field) []slog.Attr {
	list := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		enc := zapcore.NewMapObjectEncoder()
		f.AddTo(enc)
		for key, value := range enc.Fields {
			list = append(list, slog.Any(key, value))
		}
	}
	return list
}
