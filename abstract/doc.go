// Package abstract is the contract between Trefoil's layers: messages, frames,
// connections, stores, registries, return codes and errors. It imports the
// standard library only and holds almost no code; the packages below concrete
// implement it, the packages below business, server and client use it.
//
// A message's way through these contracts: a transport (BaseServer or
// BaseClient) fills a BaseBuffer with received bytes, a BaseProtocol turns them
// into BaseMessages, and the transport hands those in batches to the Receiver
// of their BaseConnection. What is sent goes the other way: a message is encoded
// to a Frame once and queued, by its write class, at one or many connections.
package abstract
