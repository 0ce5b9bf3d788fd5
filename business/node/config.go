package node

import "cmp"

// Config bounds a NodeManager. The zero value takes the defaults.
type Config struct {
	// Epoch of the Store. Watches that were begun under another one cannot go on.
	Epoch string

	MaxNodes          int   // of the tree, with providers; writes under way are not counted; default 1,048,576
	MaxData           int64 // bytes of all nodes, 256 counted for each besides its data; default 1 GiB
	MaxSessionNodes   int   // of one session; default 65,536
	MaxSessionKeys    int   // idempotency keys that are remembered for one session; the oldest go; default 1,024
	MaxWatchesPerConn int   // default 1,024
	MaxHistory        int   // changes that a watch can be resumed over; default 65,536
	MaxHistoryBytes   int   // of memory for them; default 16 MiB
	MaxPage           int   // bytes of the JSON text of an ls after which a page ends; default 1 MiB
	MaxNotice         int   // changes that are told in one notice; more are told as a resync; default 16,384
}

func (c Config) withDefaults() Config {
	c.MaxNodes = cmp.Or(c.MaxNodes, 1<<20)
	c.MaxData = cmp.Or(c.MaxData, 1<<30)
	c.MaxSessionNodes = cmp.Or(c.MaxSessionNodes, 65_536)
	c.MaxSessionKeys = cmp.Or(c.MaxSessionKeys, 1024)
	c.MaxWatchesPerConn = cmp.Or(c.MaxWatchesPerConn, 1024)
	c.MaxHistory = cmp.Or(c.MaxHistory, 65_536)
	c.MaxHistoryBytes = cmp.Or(c.MaxHistoryBytes, 16<<20)
	c.MaxPage = cmp.Or(c.MaxPage, 1<<20)
	c.MaxNotice = cmp.Or(c.MaxNotice, 16_384)
	return c
}
