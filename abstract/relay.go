package abstract

// CallSource is a Registrar whose connection to the registry brings calls, too: those
// of callers that cannot reach a provider directly, or do not want to. Safe for
// concurrent use.
type CallSource interface {
	// ServeCalls hands the calls that are for a provider, by its own id, to callee,
	// until stop is called; from then on they are answered with ServiceNotFound.
	ServeCalls(instance string, callee Callee) (stop func())
}

// Callee takes calls that come over a connection which somebody else reads. Safe for
// concurrent use.
type Callee interface {
	// Accept is called before the first call that comes over a connection, and returns
	// who takes its REQ_RPCs and CANCELs. Unlike that of a transport this Receiver must
	// never block, nor wait for a handler: the other messages of the connection wait for
	// it. It answers over conn, which it must not read, and not close without need; the
	// peer takes frames of maxFrame bytes.
	Accept(conn BaseConnection, maxFrame int) Receiver
}
