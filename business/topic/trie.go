package topic

import (
	"slices"
	"strings"
)

// trie is the index of the subscriptions with wildcards: a level of their filters is a
// level of it. What is published finds its subscribers in as many steps as its topic
// has levels, however many others there are, times the ways that "*" leaves open.
type trie struct {
	root level
	size int
}

// level is where filters with the same beginning meet.
type level struct {
	next map[string]*level
	any  *level          // behind "*"
	subs []*Subscription // whose filter ends here
	rest []*Subscription // whose filter ends with ">" here
}

func (l *level) empty() bool {
	return len(l.next) == 0 && l.any == nil && len(l.subs) == 0 && len(l.rest) == 0
}

// add puts a subscription in.
func (t *trie) add(sub *Subscription) {
	at := &t.root
	filter, last := sub.Filter, false
	for !last {
		var name string
		name, filter, last = cut(filter)
		if last && name == anyRest {
			at.rest = append(at.rest, sub)
			t.size++
			return
		}
		at = at.make(name)
	}
	at.subs = append(at.subs, sub)
	t.size++
}

// cut is the first level, what is behind it, and whether that is nothing.
func cut(s string) (first, rest string, last bool) {
	first, rest, more := strings.Cut(s, levels)
	return first, rest, !more
}

func (l *level) make(name string) *level {
	if name == anyOne {
		if l.any == nil {
			l.any = new(level)
		}
		return l.any
	}
	if l.next == nil {
		l.next = make(map[string]*level)
	}
	next := l.next[name]
	if next == nil {
		next = new(level)
		l.next[strings.Clone(name)] = next
	}
	return next
}

// remove takes a subscription out, with the levels that only it needed.
func (t *trie) remove(sub *Subscription) {
	if t.root.remove(sub, sub.Filter) {
		t.size--
	}
}

func (l *level) remove(sub *Subscription, filter string) (found bool) {
	name, rest, last := cut(filter)
	if last && name == anyRest {
		l.rest, found = without(l.rest, sub)
		return found
	}
	next := l.any
	if name != anyOne {
		next = l.next[name]
	}
	if next == nil {
		return false
	}
	if last {
		next.subs, found = without(next.subs, sub)
	} else {
		found = next.remove(sub, rest)
	}
	if next.empty() {
		if name == anyOne {
			l.any = nil
		} else {
			delete(l.next, name)
		}
	}
	return found
}

func without(list []*Subscription, sub *Subscription) ([]*Subscription, bool) {
	i := slices.Index(list, sub)
	if i < 0 {
		return list, false
	}
	if len(list) == 1 {
		return nil, true
	}
	return slices.Delete(list, i, i+1), true
}

// match appends who gets what is published to a topic.
func (t *trie) match(dst []*Subscription, topic string) []*Subscription {
	if t.size == 0 {
		return dst
	}
	return t.root.match(dst, topic)
}

func (l *level) match(dst []*Subscription, topic string) []*Subscription {
	for {
		dst = append(dst, l.rest...)
		name, rest, last := cut(topic)
		if l.any != nil {
			dst = l.any.beyond(dst, rest, last)
		}
		next := l.next[name]
		if next == nil {
			return dst
		}
		if last {
			return append(dst, next.subs...)
		}
		l, topic = next, rest
	}
}

func (l *level) beyond(dst []*Subscription, rest string, last bool) []*Subscription {
	if last {
		return append(dst, l.subs...)
	}
	return l.match(dst, rest)
}
