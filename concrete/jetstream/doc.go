// Package jetstream keeps the logs of topics in NATS JetStream: in a server inside this
// process, for a broker with a data directory, or in servers somewhere else. Both are
// spoken to by the same client; the server inside listens nowhere.
//
// Each incarnation of a topic is a stream, and each consumer one of JetStream's; names.go
// says how they are called there. Entries that wait for the disk at the same time are
// written as one where that is faster (publish.go).
package jetstream
