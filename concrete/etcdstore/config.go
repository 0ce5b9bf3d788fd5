package etcdstore

import (
	"crypto/tls"
	"errors"
	"log/slog"
)

// Config says where etcd is. Exactly one of Dir and Endpoints is needed.
type Config struct {
	// Dir is the directory of a member inside this process. It is made when it is
	// not there, its mode is set to 0700, and nothing else may be kept in it. One
	// process at a time can use it.
	Dir string
	// Quota is how many bytes the database in Dir may have on disk before puts are
	// refused with Overloaded; 4 GiB when it is 0. The log beside it takes another
	// half GiB or so.
	Quota int64

	// Endpoints are the client URLs of a cluster: "http://10.0.0.1:2379". Its
	// members need --max-txn-ops=1024 and --max-request-bytes=10485760 to take
	// all that a Store takes; with etcd's defaults, larger transactions are
	// refused with TooLarge.
	Endpoints []string
	// TLS is for https endpoints.
	TLS *tls.Config
	// Username and Password are for a cluster with authentication.
	Username, Password string

	// Prefix stands before every key in etcd, so that others can use the cluster,
	// too. They must not write below it.
	Prefix string
	// Logger is told what happens; slog.Default() when it is nil.
	Logger *slog.Logger
}

const defaultQuota = 4 << 30

// withDefaults returns the Config with every default filled in, or what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if (c.Dir == "") == (len(c.Endpoints) == 0) {
		return c, errors.New("give the etcd store a directory or endpoints, and not both")
	}
	if c.Quota == 0 {
		c.Quota = defaultQuota
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}
