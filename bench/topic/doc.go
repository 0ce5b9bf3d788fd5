// Package topic is the benchmark's table of publish and subscribe: one message,
// many subscribers. Every figure is per delivery, one message at one subscriber.
//
// Three processes take part. The broker is the server of the figures; the process
// that holds all subscribing connections is the client; the publishers, one
// connection for each topic, are in the third and are accounted apart.
//
// Saturated means that publishers go on as fast as a window allows: no further
// ahead of the slowest subscriber of their topic than a number of messages that
// is the same for all contestants. They learn from shared memory how far the
// subscribers are. Paced means messages one at a time, 20,000 deliveries a second,
// with latency from the moment a message was meant to be sent.
package topic
