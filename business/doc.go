// Package business is a folder: the packages below it are what the middleware
// does. They hold plain state and know no sockets and start no goroutines; where
// time matters it is a parameter. An event goes in, and what must be sent comes
// out: the same events give the same result every time. They import abstract and
// concrete/message, and none of their siblings.
//
//   - dispatch: Dispatcher, message type to handler;
//   - requestor: Requestor, the calls in flight, id to waiting call;
//   - router: RpcRouter, method to service description and function;
//   - registry: PDManager, providers and discoverers of methods;
//   - session: SessionManager, sessions that outlive connections, and their heartbeats;
//   - topic: TopicManager, topics and their subscribers;
//   - peer: what is known of the other side of a connection, from its first
//     message on;
//   - balance: who gets the next call.
//
// Packages server and client join them with connections.
package business
