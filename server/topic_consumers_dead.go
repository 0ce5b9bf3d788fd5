package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"trefoil/abstract"
	"trefoil/business/topic"
	"trefoil/concrete/message"
)

// The metadata of a dead letter, beside that of the message.
const (
	metaDeadTopic      = "trefoil-dead-topic"
	metaDeadOffset     = "trefoil-dead-offset"
	metaDeadDeliveries = "trefoil-dead-deliveries"
	metaDeadConsumer   = "trefoil-dead-consumer"
	metaDeadReason     = "trefoil-dead-reason"
)

// deadSuffix makes the name of a topic's dead-letter topic, where its settings name none.
const deadSuffix = ".dead"

// deadDedup is for how long a dead letter that a crash has interrupted is known when it
// comes again.
const deadDedup = 24 * time.Hour

// bury puts a message aside that was delivered too often, and ends it. What is dead
// already stays where it is, and is tried again now and then. It is called with the
// index's lock held.
func (s *TopicServer) bury(k *consumer, h *handed, why string) {
	settings := k.feed.settings
	delete(k.excused, h.Entry().Offset)
	k.burying.run(s, func(ctx context.Context) {
		defer s.released(k, h)
		err := s.deadLetter(ctx, k, h, &settings, why)
		if err == nil {
			err = h.Ack(ctx)
		} else {
			rest := failedRest(h.Delivered() - maxDeliver(&settings) + 1)
			s.ep.logs.topic.Warn("a message that was delivered too often cannot be put aside; it rests, and is tried again",
				"topic", k.feed.name, "consumer", k.name, "offset", h.Entry().Offset, "deliveries", h.delivered, "rest", rest, "err", err)
			err = h.Nack(ctx, rest)
		}
		if err != nil {
			s.ep.logs.topic.Debug("entry not settled; it is delivered again", "topic", k.feed.name, "consumer", k.name, "err", err)
		}
	})
}

// deadLetter appends a message to the dead-letter topic.
func (s *TopicServer) deadLetter(ctx context.Context, k *consumer, h *handed, settings *abstract.TopicSettings, why string) error {
	e := h.Entry()
	decoded, err := s.ep.protocol.DecodeFrame(e.Data)
	m, ok := decoded.(*message.TopicRequest)
	if err != nil || !ok {
		return abstract.Errorf(abstract.Internal, "the message cannot be read")
	}
	name, err := deadTopic(k.feed, settings, m)
	if err != nil {
		return err
	}
	f, err := s.deadFeed(name)
	if err != nil {
		return err
	}
	letter, err := s.letter(name, m, abstract.Metadata{
		metaDeadTopic: clipped(k.feed.name), metaDeadOffset: strconv.FormatUint(e.Offset, 10), metaDeadDeliveries: strconv.Itoa(h.delivered),
		metaDeadConsumer: clipped(k.name), metaDeadReason: why,
	})
	if err != nil {
		return err
	}
	one := newCommit(f, letter)
	one.id = letterID(k, e.Offset)
	s.commit(f, []*commit{one})
	select {
	case <-one.done:
		return one.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deadTopic names where a message goes that was delivered too often.
func deadTopic(f *feed, settings *abstract.TopicSettings, m *message.TopicRequest) (string, error) {
	name := settings.DeadLetter
	if name == "" {
		if strings.HasSuffix(f.name, deadSuffix) {
			return "", abstract.Errorf(abstract.InvalidOp, "topic %q holds dead letters itself", f.name)
		}
		name = f.name + deadSuffix
	}
	from := m.Meta[metaDeadTopic]
	if from != "" && from != clipped(f.name) || name == f.name { // not: somebody has published it here again, with all its metadata
		return "", abstract.Errorf(abstract.InvalidOp, "the message is a dead letter already")
	}
	return name, nil
}

// deadFeed returns the feed of a dead-letter topic, which it makes when it is not there.
func (s *TopicServer) deadFeed(name string) (*feed, error) {
	draft := topic.Draft{Epoch: newEpoch(), Settings: &abstract.TopicSettings{Durable: true, Dedup: deadDedup}}
	for tries := 0; ; tries++ {
		s.index.Lock()
		f, err := s.feedOf(name)
		volatile := err == nil && !f.settings.Durable
		s.index.Unlock()
		switch {
		case volatile:
			return nil, abstract.Errorf(abstract.InvalidOp, "the dead-letter topic %q is not durable: remove it, and it is made again as one that is", name)
		case err == nil || abstract.CodeOf(err) != abstract.TopicNotFound || tries > 0:
			return f, err
		}
		if err := s.change(func() (abstract.Txn, error) { return s.topics.PlanCreate(name, draft) }); err != nil && abstract.CodeOf(err) != abstract.Exists {
			return nil, err
		}
	}
}

// letter is a message with what is known of its end. Where that makes it too long the
// publisher's own metadata is left out.
func (s *TopicServer) letter(name string, m *message.TopicRequest, dead abstract.Metadata) (*message.TopicRequest, error) {
	for _, meta := range []abstract.Metadata{m.Meta.With(dead), dead} {
		if meta.Check() != nil {
			continue
		}
		frame, err := s.ep.protocol.Append(nil, &message.TopicRequest{Header: message.ID(m.ID()), Op: abstract.TopicPublish, Topic: name, Message: m.Message, Meta: meta})
		if err != nil {
			continue
		}
		decoded, err := s.ep.protocol.DecodeFrame(frame)
		if letter, ok := decoded.(*message.TopicRequest); ok && err == nil {
			return letter, nil
		}
	}
	return nil, abstract.Errorf(abstract.TooLarge, "a message of %d bytes has no room for what is known of its end", len(m.Message))
}

// clipped is a name that fits metadata.
func clipped(name string) string {
	return strings.ToValidUTF8(name[:min(len(name), abstract.MaxMetadata/4)], "")
}

// letterID is the id of a dead letter: the same one each time.
func letterID(k *consumer, offset uint64) string {
	id := deadID + k.feed.epoch + ":" + strconv.FormatUint(offset, 10) + ":" + k.name
	if len(id) > message.MaxTopicID {
		sum := sha256.Sum256([]byte(id))
		id = deadID + hex.EncodeToString(sum[:])
	}
	return id
}
