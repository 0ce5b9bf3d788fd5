package topic

import "trefoil/abstract"

// endedKey is written with every removal of a topic: its revision is that of the last one,
// also for a process that was not there. It stands below Prefix, where no topic's key is.
const endedKey = Prefix + "/ended"

// LastEnd returns the revision at which a topic was removed last; 0: none ever was.
func LastEnd(kvs []abstract.KV) int64 {
	for i := range kvs {
		if kvs[i].Key == endedKey {
			return kvs[i].ModRevision
		}
	}
	return 0
}
