// Package examples holds small programs that show what Trefoil does: rpc, topic
// and discovery. Each runs alone, in one process. The tests of this package build
// and run them, and the programs in README.md, and check what the documents say.
// In python is a client in Python; its tests are here, too.
package examples
