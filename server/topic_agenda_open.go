package server

import (
	"context"
	"slices"
	"strconv"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// What is read at a time of messages for later.
const (
	agendaRead      = 256
	agendaReadBytes = 1 << 20
)

// openAgenda opens the log of a topic's messages for later, and finds what is in it.
func (s *TopicServer) openAgenda(f *feed) error {
	a := &f.later
	a.opening.Lock()
	defer a.opening.Unlock()
	s.index.Lock()
	dedup, removed := dedupOf(&f.settings), f.removed
	s.index.Unlock()
	if a.log != nil && a.dedup == dedup && !removed {
		return nil
	}
	log, err := s.durable.Open(context.Background(), f.name, f.epoch+laterSuffix, abstract.LogConfig{Dedup: dedup})
	if err != nil {
		return err
	}
	s.index.Lock()
	removed = f.removed
	s.index.Unlock()
	if removed { // who removes the logs may have been here already
		_ = s.durable.Remove(context.Background(), f.name, f.epoch+laterSuffix)
		return abstract.Errorf(abstract.TopicNotFound, "topic %q was removed", f.name)
	}
	if a.log == nil { // else it is the same
		if err := s.readAgenda(f, log); err != nil {
			return err
		}
	}
	a.dedup = dedup
	return nil
}

// readAgenda finds out when the messages of a log are due, and goes on from there.
func (s *TopicServer) readAgenda(f *feed, log abstract.Log) error {
	var found appointments
	overdue := overdue{ids: make(map[string]uint64)}
	now := time.Now()
	for next := uint64(1); ; {
		entries, err := log.Read(context.Background(), next, agendaRead, agendaReadBytes)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			break
		}
		for i := range entries {
			due := s.dueOfKept(&entries[i])
			found = append(found, at(due, entries[i].Offset, len(entries[i].Data)))
			if !due.After(now) {
				overdue.add(due, f.idOfKept(&entries[i]), entries[i].Offset)
			}
		}
		next = entries[len(entries)-1].Offset + 1
	}
	if len(overdue.ids) > 0 {
		published, err := s.published(f, &overdue)
		if err == nil {
			err = log.Delete(context.Background(), published...)
		}
		if err != nil {
			return err
		}
		found = slices.DeleteFunc(found, func(ap appointment) bool { return slices.Contains(published, ap.offset) })
	}
	f.later.log = log
	s.countFound(&f.later, found)
	s.attend(f, f.later.enter(found...))
	return nil
}

// dueOfKept is when a message is to be delivered. What cannot be read is due at once: then
// it is told of, and dropped.
func (s *TopicServer) dueOfKept(e *abstract.LogEntry) time.Time {
	decoded, err := s.ep.protocol.DecodeFrame(e.Data)
	if m, ok := decoded.(*message.TopicRequest); ok && err == nil && m.More != nil {
		return dueOf(m.More, e.Time)
	}
	return e.Time
}

// idOfKept is the id under which a message for later is published.
func (f *feed) idOfKept(e *abstract.LogEntry) string {
	if e.ID != "" {
		return e.ID
	}
	return laterID + f.epoch + ":" + strconv.FormatUint(e.Offset, 10) + ":" + stampOf(e)
}

// overdue are messages that the last process may have published without having deleted
// them from those for later.
type overdue struct {
	ids   map[string]uint64 // id -> offset
	since time.Time         // what was due first of them
}

func (o *overdue) add(due time.Time, id string, offset uint64) {
	o.ids[id] = offset
	if o.since.IsZero() || due.Before(o.since) {
		o.since = due
	}
}

// maxLookedAt is how many messages of a topic are looked at to find out what was published.
// With more between then and now it is left to the log, which knows an id for two minutes.
const maxLookedAt = 100_000

// published returns which messages are in their topic already. The clock may have been
// set back a little since they were due.
func (s *TopicServer) published(f *feed, o *overdue) (offsets []uint64, err error) {
	log, err := s.ready(f)
	if err != nil {
		return nil, err
	}
	next, err := log.OffsetAt(context.Background(), o.since.Add(-agendaCheck))
	for looked := 0; err == nil && looked < maxLookedAt; {
		var entries []abstract.LogEntry
		if entries, err = log.Read(context.Background(), next, agendaRead, agendaReadBytes); len(entries) == 0 {
			break
		}
		for i := range entries {
			if offset, ok := o.ids[entries[i].ID]; ok {
				offsets = append(offsets, offset)
			}
		}
		looked += len(entries)
		next = entries[len(entries)-1].Offset + 1
	}
	return offsets, err
}
