package server

import "log/slog"

// areaKey is the attribute of a log line that says which part of a server wrote it.
const areaKey = "area"

// The areas.
const (
	areaServer    = "server"    // its start and its end
	areaTransport = "transport" // accepting and holding connections
	areaConn      = "conn"      // what single connections send, and how they end
	areaRPC       = "rpc"
	areaRegistry  = "registry"
	areaTopic     = "topic"
	areaSession   = "session"
)

// LogAreas are the values of the attribute "area", which every log line of a server
// has: a logger made with With("area", name) is handed to each part, so that a
// slog.Handler can give each a level of its own.
var LogAreas = [...]string{areaServer, areaTransport, areaConn, areaRPC, areaRegistry, areaTopic, areaSession}

// loggers are those of the areas.
type loggers struct {
	server, transport, conn, rpc, registry, topic, session *slog.Logger
}

func newLoggers(l *slog.Logger) loggers {
	of := func(area string) *slog.Logger { return l.With(areaKey, area) }
	return loggers{
		server: of(areaServer), transport: of(areaTransport), conn: of(areaConn),
		rpc: of(areaRPC), registry: of(areaRegistry), topic: of(areaTopic), session: of(areaSession),
	}
}
