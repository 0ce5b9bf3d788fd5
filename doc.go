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
// # Typed methods and topics
//
// A method or a topic is a plain variable that both sides share:
//
//	var Add = trefoil.NewMethod[AddArgs, int]("math.add")
//
//	err := Add.Handle(srv, func(ctx context.Context, in AddArgs) (int, error) { return in.Num1 + in.Num2, nil })
//
//	sum, err := Add.Call(ctx, calls, AddArgs{1, 2})
//
// They are thin: below them are the untyped RpcClient and TopicClient, and on the wire
// there is no difference. [Method] also calls without waiting, without an answer, and
// all providers at once; [ServerStream], [ClientStream] and [BidiStream] stream; [Topic]
// publishes, one message or many, and subscribes. docs/examples/tour has all of it on one page.
//
// # What to import
//
//   - trefoil: the contract, in Go types.
//   - trefoil/server: RpcServer, RegistryServer and TopicServer, and Broker,
//     which is all three on one port.
//   - trefoil/client: Dial, and RpcClient, RegistryClient, DiscoveryClient and
//     TopicClient, which share the connection it gives. Linking it adds netpoll,
//     go-json and what those need, and nothing else outside the standard library.
//   - trefoil/abstract: errors and return codes, and the contracts for who writes
//     a transport, a store or a registry.
//   - trefoil/concrete/mem: a network inside the process, for tests.
//   - trefoil/concrete/otel: traces with OpenTelemetry.
//   - trefoil/server/trefoiltest: a broker, providers and clients inside a test.
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
