// Package client holds Trefoil's clients. One Dial gives a Conn to a broker,
// which connects again by itself and is shared by
//
//   - RpcClient, which calls methods: Call waits, CallFuture returns a Future,
//     CallFunc calls back;
//   - RegistryClient, which registers providers and keeps them registered;
//   - DiscoveryClient, which finds providers and tells when they come and go;
//   - TopicClient, which creates topics, publishes and subscribes.
//
// Every operation has a deadline. An error is an *abstract.Error, whose Sent
// says whether the request left this process.
package client
