package server

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"sync/atomic"

	"trefoil/abstract"
	"trefoil/business/topic"
)

// feed is what a topic needs to be published to, besides its subscribers: where its
// order comes from, and what it keeps. It is there from the first use of the topic on.
type feed struct {
	name    string
	created int64 // the incarnation: a topic that was removed and made again has another feed
	epoch   string
	entry   topic.Entry // used behind the index's lock, and not once the feed is removed

	// order is held from taking offsets to queueing at the last subscriber, so that all
	// of them see one order. It comes before the index's lock.
	order sync.Mutex
	last  uint64 // offset of the last message; behind order, and changed with the index's lock held, too
	known bool   // last is that of the log, which may be older than this process; as last

	later agenda // what is to be published later

	rule atomic.Pointer[rule] // nil: any message fits

	// What follows is behind the index's lock.
	settings abstract.TopicSettings
	lossless chan struct{}   // closed when the topic is lossless no more; nil: no publisher waits
	changed  int64           // the revision of the settings
	log      abstract.Log    // nil: nothing is kept, or it is not ready
	opened   int64           // the revision of the settings with which the log of a durable topic was opened
	admitted map[string]bool // identities that were asked about: see admits
	removed  bool

	// Of a durable topic.
	commits   commits
	opening   sync.Mutex                // one at a time opens or removes the log, or a consumer of it; before the index's lock
	excused   map[string]map[uint64]int // by consumer and offset: deliveries that do not count, as nobody had a try; behind the index's lock
	consumers map[string]struct{}       // the names of all there are, once they are known; behind opening
}

// unchecked reports whether every message is taken at once, from whoever may publish at
// all, and by the process alone. It is called with the index's lock held.
func (f *feed) unchecked() bool {
	s := &f.settings
	return s.Slow != abstract.SlowLossless && s.MaxBytes == 0 && s.Schema == nil && s.Dedup == 0 && !s.Durable && len(s.Allow.Publish) == 0
}

// newEpoch names an incarnation.
func newEpoch() string { return rand.Text()[:12] }

// feedOf returns the feed of a topic, which it makes when there is none yet, or brings up to
// date. It is called with the index's lock held. The error is TopicNotFound.
func (s *TopicServer) feedOf(name string) (*feed, error) {
	entry, ok := s.topics.Find(name)
	if ok {
		if f, ok := entry.Own().(*feed); ok && f.changed == entry.Changed() {
			return f, nil
		}
	}
	info, ok := s.topics.Topic(name)
	if !ok {
		_, err := s.topics.Publish(name) // says so
		return nil, err
	}
	f := s.feeds[name]
	if f != nil && f.created == info.Created && f.changed == info.Changed {
		return f, nil
	}
	if f == nil || f.created != info.Created {
		if f != nil {
			s.endFeed(f)
		}
		name = strings.Clone(name) // not the batch that it came in
		f = &feed{name: name, created: info.Created, epoch: s.epochOf(info), entry: entry}
		s.feeds[name] = f
		f.entry.SetOwn(f)
	}
	return f, s.configure(f, info)
}

// epochOf names what offsets count in. Where they are kept in memory only, they begin
// anew with the process.
func (s *TopicServer) epochOf(info topic.Info) string {
	if info.Settings.Durable {
		return info.Epoch
	}
	return info.Epoch + "." + s.run
}

// configure gives a feed the topic's settings.
func (s *TopicServer) configure(f *feed, info topic.Info) error {
	f.settings, f.changed, f.admitted = info.Settings, info.Changed, nil
	f.rule.Store(ruleOf(&f.settings, f.rule.Load()))
	if f.settings.Durable {
		if s.durable == nil {
			f.changed = 0
			return errNotDurable(f.name)
		}
		return nil // see ready
	}
	keep := historyOf(&f.settings)
	if !keep.Kept() && f.settings.Dedup == 0 {
		if f.log == nil {
			return nil
		}
		f.log = nil
		_, err := s.logs.Open(context.Background(), f.name, f.epoch, abstract.LogConfig{Last: f.last}) // lets go of what it has kept
		return err
	}
	log, err := s.logs.Open(context.Background(), f.name, f.epoch, abstract.LogConfig{History: keep, Dedup: f.settings.Dedup, Last: f.last})
	if err != nil {
		f.changed = 0 // to be tried again
		return err
	}
	f.log = log
	return nil
}

// historyOf is what a topic's log keeps.
func historyOf(settings *abstract.TopicSettings) abstract.History {
	keep := settings.History
	if settings.Retain && !settings.Durable && keep.Count == 0 && keep.Bytes == 0 {
		keep.Count = 1
	}
	return keep
}

// ready returns the log of a topic; nil when it keeps nothing. That of a durable one is
// opened when it is needed first, and when the settings have changed: as this waits for a
// disk or a network, no lock is held by who calls.
func (s *TopicServer) ready(f *feed) (abstract.Log, error) {
	log, settings, _, err := s.opened(f)
	if log != nil || err != nil || !settings.Durable {
		return log, err
	}
	f.opening.Lock()
	defer f.opening.Unlock()
	log, settings, changed, err := s.opened(f)
	if log != nil || err != nil {
		return log, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	log, err = s.durable.Open(ctx, f.name, f.epoch, abstract.LogConfig{History: historyOf(&settings), Dedup: dedupOf(&settings)})
	if err != nil {
		return nil, err
	}
	s.index.Lock()
	defer s.index.Unlock()
	f.opened = changed
	if f.log != log { // who has it reads it without the lock
		f.log = log
	}
	return log, nil
}

// opened returns the log of a topic as far as that is ready.
func (s *TopicServer) opened(f *feed) (abstract.Log, abstract.TopicSettings, int64, error) {
	s.index.Lock()
	defer s.index.Unlock()
	switch {
	case f.removed:
		return nil, f.settings, f.changed, errRemoved(f.name)
	case f.settings.Durable && f.opened != f.changed:
		return nil, f.settings, f.changed, nil
	}
	return f.log, f.settings, f.changed, nil
}

// logOf is the log that a topic has now; nil: nothing is kept.
func (s *TopicServer) logOf(f *feed) abstract.Log {
	s.index.Lock()
	defer s.index.Unlock()
	return f.log
}

func errNotDurable(name string) error {
	return abstract.Errorf(abstract.Unsupported, "topic %q is durable, and this broker keeps nothing on disk: start it with --data DIR, or with --nats URL", name)
}

// endFeed lets go of what a topic that was removed has kept. It is called with the
// index's lock held.
func (s *TopicServer) endFeed(f *feed) {
	f.removed = true
	s.ends(f)
	if s.feeds[f.name] == f {
		delete(s.feeds, f.name)
	}
	f.later.end(&s.backlog)
	logs := s.logs
	if f.settings.Durable {
		logs = s.durable
	}
	if logs == nil {
		return
	}
	s.ep.errands.Go(func() {
		f.opening.Lock() // what is being opened is removed after it
		defer f.opening.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
		defer cancel()
		if err := logs.Remove(ctx, f.name, f.epoch); err != nil {
			s.ep.logs.topic.Warn("what a removed topic has kept is still there", "topic", f.name, "err", err)
		}
	})
}
