package server

import (
	"context"
	"strings"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/business/topic"
)

// broom removes the logs of durable topics that were removed, one after the other. What is
// still there when the process ends is found in the store by the next one.
type broom struct {
	mu      sync.Mutex
	waiting []topic.Removed
	running bool
}

// sweep removes logs of topics that were removed. It returns at once.
func (s *TopicServer) sweep(list []topic.Removed) {
	if len(list) == 0 || s.durable == nil { // a broker that has the logs will do it
		return
	}
	s.broom.mu.Lock()
	defer s.broom.mu.Unlock()
	s.broom.waiting = append(s.broom.waiting, list...)
	if !s.broom.running {
		s.broom.running = true
		s.ep.errands.Go(s.sweepAll)
	}
}

// next returns what is to be removed now; none: nobody sweeps from now on.
func (b *broom) next() (r topic.Removed, any bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		b.running, b.waiting = false, nil
		return r, false
	}
	r = b.waiting[0]
	b.waiting = b.waiting[1:]
	return r, true
}

func (s *TopicServer) sweepAll() {
	for r, any := s.broom.next(); any; r, any = s.broom.next() {
		for retry := agendaRetry; ; retry = min(2*retry, agendaRetryMost) {
			err := s.removeLogs(r)
			if err == nil {
				break
			}
			s.ep.logs.topic.Warn("what a removed topic has kept is still there; it is tried again", "topic", r.Topic, "err", err)
			if !s.idle(retry, nil) {
				return
			}
		}
	}
}

// removeLogs removes what a topic has kept on the disk, and then what says that it may be
// there.
func (s *TopicServer) removeLogs(r topic.Removed) error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	for _, epoch := range []string{r.Epoch, r.Epoch + laterSuffix} {
		if err := s.durable.Remove(ctx, r.Topic, epoch); err != nil {
			return err
		}
	}
	return s.index.do(abstract.Txn{Then: []abstract.Op{{Key: r.Key(), Delete: true}}})
}

// resumeLater finds the topics that have messages for later, when the server starts.
func (s *TopicServer) resumeLater() {
	for retry := agendaRetry; ; retry = min(2*retry, agendaRetryMost) {
		err := s.findLater()
		if err == nil || s.ep.draining() {
			return
		}
		s.ep.logs.topic.Warn("messages for later could not be read; it is tried again, and they are published when it succeeds", "err", err)
		if !s.idle(retry, nil) {
			return
		}
	}
}

// findLater opens what topics have for later. Logs of topics that are not known here are
// left alone: servers that others use, too, hold theirs.
func (s *TopicServer) findLater() error {
	ctx, cancel := context.WithTimeout(s.ep.life, time.Minute)
	defer cancel()
	names, err := s.durable.List(ctx)
	if err != nil {
		return err
	}
	unknown := 0
	for _, n := range names {
		epoch, later := strings.CutSuffix(n.Epoch, laterSuffix)
		f, known, failed := s.feedIn(n.Topic, epoch, later)
		if !known {
			unknown++
		}
		if f != nil {
			failed = s.openAgenda(f)
		}
		if failed != nil && abstract.CodeOf(failed) != abstract.TopicNotFound {
			err = failed
		}
	}
	if unknown > 0 {
		s.ep.logs.topic.Info("logs of durable topics that this broker does not know are left alone", "logs", unknown)
	}
	return err
}

// feedIn returns the feed of a topic if its incarnation is that one, and it is wanted.
func (s *TopicServer) feedIn(name, epoch string, wanted bool) (f *feed, known bool, err error) {
	s.index.Lock()
	defer s.index.Unlock()
	info, ok := s.topics.Topic(name)
	if !ok || info.Epoch != epoch || !info.Settings.Durable {
		return nil, false, nil
	}
	if wanted {
		f, err = s.feedOf(name)
	}
	return f, true, err
}
