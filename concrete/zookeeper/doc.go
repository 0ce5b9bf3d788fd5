// Package zookeeper is a registry on ZooKeeper, for those who have one: providers and
// callers find each other there instead of at a Trefoil broker.
//
// A method "UserService.Login" stands there as
//
//	/UserService                       a permanent node
//	/UserService/Login                 ephemeral: "ip:port" of one live provider
//	/UserService/Login@10.0.0.7:7800   ephemeral, one for each provider: a JSON object
//
// so that programs that only read /Service/Method find a live provider; when that one
// goes, another takes its place. A service is what stands before the last dot of a
// method's name; methods without a dot are of the service "_". Other characters than
// a URL's path may have are escaped as there.
//
// Registrations are ephemeral: they go with the session, a while after the process
// has gone. A session that expires is replaced by a new one, with everything in it again.
package zookeeper
