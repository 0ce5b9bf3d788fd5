// Package durable is the benchmark's table of durable topics: messages that are kept
// before their publish is answered, and handed out until they are acknowledged. Ours
// stand on NATS JetStream inside the broker, so what they are compared with is JetStream
// itself, a server of the same version that syncs at the same times, over its own client.
//
// Each publisher has a connection of its own and waits for the answer to a message before
// it publishes the next one, all to one topic.
package durable
