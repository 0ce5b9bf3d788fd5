package access

import "fmt"

// Verb is what somebody wants to do with a name.
type Verb uint8

// The verbs. Names are methods for the first three, topics for the next four,
// paths of nodes for the two of nodes, and names of commands for Admin.
const (
	Call Verb = iota
	Provide
	Discover
	Publish
	Subscribe
	CreateTopic
	RemoveTopic
	NodeRead
	NodeWrite
	Admin
	verbs // how many there are
)

// verbWords is the key of a verb in a policy, and how a refusal puts it.
var verbWords = [verbs]struct{ key, phrase string }{
	Call:        {"call", "call"},
	Provide:     {"provide", "provide"},
	Discover:    {"discover", "discover"},
	Publish:     {"publish", "publish to"},
	Subscribe:   {"subscribe", "subscribe to"},
	CreateTopic: {"create_topic", "create the topic"},
	RemoveTopic: {"remove_topic", "remove the topic"},
	NodeRead:    {"node_read", "read the node"},
	NodeWrite:   {"node_write", "write the node"},
	Admin:       {"admin", "use the command"},
}

// String returns the key of v in a policy, such as "create_topic".
func (v Verb) String() string {
	if v < verbs {
		return verbWords[v].key
	}
	return fmt.Sprintf("verb %d", uint8(v))
}

// Verbs returns all verbs, in the order of their numbers.
func Verbs() []Verb {
	all := make([]Verb, verbs)
	for v := range all {
		all[v] = Verb(v)
	}
	return all
}

// syntax is how the names of v are divided.
func (v Verb) syntax() syntax {
	if v == NodeRead || v == NodeWrite {
		return paths
	}
	return dotted
}
