package jetstream

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
)

// serverLog is the server's logger. Its notices are about its own affairs and become debug
// records; its warnings are about what it found on the disk.
type serverLog struct {
	to    *slog.Logger
	fatal atomic.Pointer[string] // why it did not start; the server goes on after saying so
	// hurt is told of streams that could not be written to: the server answers nothing more
	// that is published to them, and says so nowhere else.
	hurt func(stream string, err error)
}

const writeError = "JetStream stream '%s > %s' critical write error: %v"

// Noticef is server.Logger's.
func (l *serverLog) Noticef(format string, v ...any) { l.to.Debug("nats: " + text(format, v)) }

// Warnf is server.Logger's.
func (l *serverLog) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Maximum payloads over") { // ours to choose
		l.Noticef(format, v...)
		return
	}
	l.to.Warn("nats: " + text(format, v))
}

// Errorf is server.Logger's.
func (l *serverLog) Errorf(format string, v ...any) {
	l.to.Error("nats: " + text(format, v))
	if format != writeError || len(v) != 3 {
		return
	}
	stream, named := v[1].(string)
	if err, failed := v[2].(error); named && failed {
		l.hurt(stream, err)
	}
}

// Fatalf is server.Logger's.
func (l *serverLog) Fatalf(format string, v ...any) {
	why := text(format, v)
	l.fatal.CompareAndSwap(nil, &why)
	l.to.Error("nats: " + why)
}

// Debugf is server.Logger's.
func (l *serverLog) Debugf(string, ...any) {}

// Tracef is server.Logger's.
func (l *serverLog) Tracef(string, ...any) {}

func text(format string, v []any) string { return strings.TrimSpace(fmt.Sprintf(format, v...)) }
