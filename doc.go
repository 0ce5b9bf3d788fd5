// Package trefoil is small middleware with three leaves: remote calls, topics
// and service discovery, over one JSON message format, one kind of connection
// and one broker.
//
// Services call each other directly; a registry only tells them where. Whoever
// asked about a method is told when a provider of it comes or goes. Topics carry
// messages from publishers to subscribers. A message is a JSON object in a
// length-value frame, so it can be read on the wire and written by any language;
// programs of the existing LV family connect unchanged.
//
// # What to import
//
//   - trefoil/server: RpcServer, RegistryServer and TopicServer, and Broker,
//     which is all three on one port.
//   - trefoil/client: Dial, and RpcClient, RegistryClient, DiscoveryClient and
//     TopicClient, which share the connection it gives. Linking it adds netpoll,
//     go-json and what those need, and nothing else outside the standard library.
//   - trefoil/abstract: errors and return codes, and the contracts for who writes
//     a transport, a store or a registry.
//   - trefoil/concrete/mem: a network inside the process, for tests.
//
// The command trefoil/cmd/trefoil is the broker and a client for the shell.
//
// # The layers
//
// Imports go downward only, which a test of this package checks:
//
//   - server and client join the pieces;
//   - business holds what the middleware does: plain state, no sockets;
//   - concrete holds transports, frames, messages and stores, each an
//     implementation of a contract with one library;
//   - abstract holds the contracts, with the standard library alone.
package trefoil
