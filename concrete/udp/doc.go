// Package udp carries heartbeat datagrams: small, one way, answered by nobody. What
// is in them is the business of whoever sends and receives them.
package udp
