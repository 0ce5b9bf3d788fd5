package node

import (
	"strings"
)

// Prefix is what a NodeManager follows, and what it loads: its keys stand at
// several places of the Store, and have to be of one revision.
//
//	/t/<depth>/<path>       a node; depth is three digits, so that the children of
//	                        one parent stand together: /t/002/config/db
//	/seq/<path>             how many sequential children a node has had: the next one's number
//	/idem/<session>/<key>   an idempotency key: the path of the node it made
//	/services/...           the registry's providers, by their own keys
const Prefix = "/"

const (
	treeKeys     = "/t/"
	sequenceKeys = "/seq"
	onceKeys     = "/idem/"
	services     = "/services"
)

// nodeKey returns the key of a node.
func nodeKey(path string) string { return levelKey(depthOf(path)) + path }

// levelKey returns what the keys of all nodes of a depth begin with.
func levelKey(depth int) string {
	return string([]byte{'/', 't', '/', byte('0' + depth/100), byte('0' + depth/10%10), byte('0' + depth%10)})
}

// levelBelow returns what the keys of those nodes below path begin with that have a
// certain depth.
func levelBelow(path string, depth int) string {
	if path == root {
		path = ""
	}
	return levelKey(depth) + path + "/"
}

func sequenceKey(parent string) string { return sequenceKeys + parent }

func onceKey(session, key string) string { return onceKeys + session + "/" + key }

// keyKind is what a key of the Store stands for.
type keyKind uint8

const (
	otherKey keyKind = iota
	treeKey
	providerKey
	sequenceKind
	onceKind
)

// parseKey returns what a key stands for, and the rest of it: a path, or session
// and key. Keys that we would not write are of others, so that one node has one key.
func parseKey(key string) (kind keyKind, rest string) {
	switch {
	case strings.HasPrefix(key, treeKeys):
		const path = len("/t/000")
		if len(key) > path+1 && pathFault(key[path:]) == "" && key[:path] == levelKey(depthOf(key[path:])) && !reserved(key[path:]) {
			return treeKey, key[path:]
		}
	case strings.HasPrefix(key, services+"/"):
		if pathFault(key) == "" {
			return providerKey, key
		}
	case strings.HasPrefix(key, sequenceKeys+"/"):
		if path := key[len(sequenceKeys):]; pathFault(path) == "" {
			return sequenceKind, path
		}
	case strings.HasPrefix(key, onceKeys):
		if rest := key[len(onceKeys):]; strings.IndexByte(rest, '/') > 0 {
			return onceKind, rest
		}
	}
	return otherKey, ""
}
