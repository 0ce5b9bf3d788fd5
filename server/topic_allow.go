package server

import (
	"strings"

	"trefoil/abstract"
	"trefoil/business/access"
)

// What a topic's own settings say about who may use it. The policy of the broker has been
// asked before; both must allow.

// allowedOn asks the topic itself who may do something; an empty list says nobody in
// particular.
func (s *TopicServer) allowedOn(c *conn, who []string, what, name string) error {
	if len(who) == 0 || named(who, c.identity()) {
		return nil
	}
	return abstract.Errorf(abstract.Denied, "identity %s may not %s topic %q: the topic's own settings do not name it", c.identity(), what, name)
}

// named reports whether one of the patterns fits an identity.
func named(patterns []string, identity string) bool {
	for _, p := range patterns {
		if fits(p, identity) {
			return true
		}
	}
	return false
}

// fits reports whether a pattern, in which "*" stands for any text, fits a name. The
// first place where a part is found is as good as any other, so it never goes back.
func fits(pattern, name string) bool {
	head, rest, wild := strings.Cut(pattern, "*")
	name, ok := strings.CutPrefix(name, head)
	if !ok || !wild {
		return ok && name == ""
	}
	for {
		part, more, again := strings.Cut(rest, "*")
		if !again {
			return strings.HasSuffix(name, part)
		}
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name, rest = name[i+len(part):], more
	}
}

// admits reports whether the topic's settings let a connection have its messages. It is
// asked for every message of a topic that names its subscribers, and remembers its
// answers until the settings change. It is called with the index's lock held.
func (f *feed) admits(c *conn) bool {
	who := f.settings.Allow.Subscribe
	if len(who) == 0 {
		return true
	}
	id := c.identity()
	ok, known := f.admitted[id]
	if !known {
		ok = named(who, id)
		if f.admitted == nil {
			f.admitted = make(map[string]bool)
		}
		f.admitted[id] = ok
	}
	return ok
}

// shuts ends the subscription of somebody whom the settings do not name any more. One to
// many topics goes on with the others. It is called with the index's lock held.
func (s *TopicServer) shuts(f *feed, to *subscriber) {
	if to.sub.Filter != f.name {
		return
	}
	s.takeOut(to)
	s.left(to)
	s.over(to, abstract.Errorf(abstract.Denied, "identity %s may not subscribe to topic %q any more: the topic's own settings do not name it", to.conn.identity(), f.name))
}

// shows reports whether a connection may know of a topic. It is called with the index's
// lock held.
func (s *TopicServer) shows(c *conn, name string) bool {
	if guard := c.ep.cfg.guard; guard != nil && !guard.Visible(c.identity(), access.Subscribe, name) {
		return false
	}
	info, ok := s.topics.Topic(name)
	if !ok {
		return false
	}
	allow := &info.Settings.Allow
	return len(allow.Subscribe) == 0 || named(allow.Subscribe, c.identity()) || named(allow.Publish, c.identity())
}

// mayName says whether a connection may make a topic with these settings: who names
// the topic that gets what could not be delivered has the broker publish to it.
func (s *TopicServer) mayName(c *conn, settings *abstract.TopicSettings) error {
	name := settings.DeadLetter
	if name == "" {
		return nil
	}
	if c.ep.cfg.guard != nil {
		if err := c.may(access.Publish, name); err != nil {
			return err
		}
	}
	s.index.Lock()
	info, _ := s.topics.Topic(name)
	s.index.Unlock()
	return s.allowedOn(c, info.Settings.Allow.Publish, "publish to", name)
}
