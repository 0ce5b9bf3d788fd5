// Package streams is the table of many streams on one connection: how fast they are all
// together, beside one that nobody reads and without it, what the server holds meanwhile,
// and how soon a handler hears that its caller has given up.
package streams
