// Package access says who a peer is, what it may do, and how much of it.
//
//   - Tokens and the certificates of a Policy turn what a peer shows into an
//     Identity. A peer that shows nothing is Anonymous.
//   - Policy says which verbs an identity may use on which names. Deny wins over
//     allow, and what nothing allows is denied.
//   - Guard holds the Policy and the Tokens of a process and answers for both;
//     without a Policy it allows everything. Both are replaced while it runs.
//   - Account counts what an identity uses, and refuses what is above its quota.
//
// Nothing here reads files, opens sockets or looks at a clock: bytes and times
// come in as parameters. No token and no hash of one appears in an error, nor in
// what fmt, slog or encoding/json make of a value of this package, but for Entry,
// whose JSON is the line of the file of tokens.
package access
