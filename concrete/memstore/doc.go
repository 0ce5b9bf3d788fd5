// Package memstore is the Store that lives in this process's memory: what a
// broker without a data directory stands on, and what tests use. Nothing
// survives the process.
package memstore
