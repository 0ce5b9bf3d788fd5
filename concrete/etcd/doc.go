// Package etcd is a registry on an etcd cluster, for those who have one: providers and
// callers find each other there instead of at a Trefoil broker.
//
// A provider stands under
//
//	<prefix>/<method>/<ip:port>
//
// as a JSON object, attached to its client's lease; both parts are escaped as a part
// of a URL's path is. It goes with the lease, a while after the process has gone. A
// lease that is lost is replaced by a new one, with everything on it again.
package etcd
