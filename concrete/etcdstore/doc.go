// Package etcdstore is the Store on etcd: one member inside this process, for a
// broker with a data directory, or a cluster somewhere else. Both are spoken to by
// the same client; the member inside listens on a unix socket in its directory only.
package etcdstore
