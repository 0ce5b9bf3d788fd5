package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Delete removes single messages from what a topic keeps: nobody is delivered them any
// more. Those that are not there are no error. It takes the permission to remove the topic.
func (t *TopicClient) Delete(ctx context.Context, topic string, offsets ...uint64) error {
	for part := range slices.Chunk(offsets, message.MaxTopicAcks) {
		if _, err := t.conn.topics.ask(ctx, abstract.TopicDelete, topic, &message.TopicExtras{Offsets: part}); err != nil {
			return err
		}
	}
	return nil
}

// DeadLetter is a message of a durable topic that was delivered too often without being
// acknowledged, and was put aside.
type DeadLetter struct {
	Offset     uint64    // in the topic of dead letters: what RetryDeadLetters and DropDeadLetters take
	Time       time.Time // when it was put there
	Topic      string    // where it was published
	Origin     uint64    // its offset there
	Consumer   string    // who did not acknowledge it
	Deliveries int
	Reason     string
	Data       message.Raw       // JSON text; must not be changed
	Meta       abstract.Metadata // that it was published with; must not be changed
}

// What a broker notes beside the metadata of a dead letter.
const (
	deadPrefix     = "trefoil-dead-"
	deadTopic      = deadPrefix + "topic"
	deadOffset     = deadPrefix + "offset"
	deadDeliveries = deadPrefix + "deliveries"
	deadConsumer   = deadPrefix + "consumer"
	deadReason     = deadPrefix + "reason"
)

// deadLetterOf reads a message of a topic of dead letters; false: it is none.
func deadLetterOf(m *Message) (d DeadLetter, ok bool) {
	if d.Topic, ok = m.Meta[deadTopic]; !ok {
		return d, false
	}
	d.Offset, d.Time, d.Data = m.Offset, m.Time, m.Data
	d.Origin, _ = strconv.ParseUint(m.Meta[deadOffset], 10, 64)
	d.Deliveries, _ = strconv.Atoi(m.Meta[deadDeliveries])
	d.Consumer, d.Reason = m.Meta[deadConsumer], m.Meta[deadReason]
	d.Meta = maps.Clone(m.Meta)
	maps.DeleteFunc(d.Meta, func(name, _ string) bool { return strings.HasPrefix(name, deadPrefix) })
	return d, true
}

// deadPage is how many messages are read at a time.
const deadPage = 200

// DeadLetters returns dead letters of a topic, those from an offset of the topic of dead
// letters on, and most of them at most; 0 stands for 1,000. When there is no topic of dead
// letters, there are none.
func (t *TopicClient) DeadLetters(ctx context.Context, topic string, from uint64, most int) ([]DeadLetter, error) {
	dead, err := t.deadLetterTopic(ctx, topic)
	if err != nil {
		return nil, err
	}
	if most <= 0 {
		most = 1000
	}
	return t.readDead(ctx, dead, topic, from, most)
}

// deadLetterTopic returns where a topic's dead letters are.
func (t *TopicClient) deadLetterTopic(ctx context.Context, topic string) (string, error) {
	info, err := t.Info(ctx, topic)
	return cmp.Or(info.Settings.DeadLetter, topic+".dead"), err
}

func (t *TopicClient) readDead(ctx context.Context, dead, topic string, from uint64, most int) (list []DeadLetter, err error) {
	for len(list) < most {
		page, err := t.Read(ctx, dead, from, deadPage)
		if errors.Is(err, abstract.ErrTopicNotFound) {
			return list, nil
		}
		if err != nil || len(page) == 0 {
			return list, err
		}
		for i := range page {
			if d, ok := deadLetterOf(&page[i]); ok && d.Topic == topic && len(list) < most {
				list = append(list, d)
			}
		}
		from = page[len(page)-1].Offset + 1
	}
	return list, nil
}

// RetryDeadLetters publishes dead letters of a topic to it again, with the metadata that
// they had, and takes them out of the topic of dead letters; without offsets all. It
// returns how many these were, also beside an error. Every consumer of the topic gets
// them, not only the one that did not acknowledge them. What is interrupted between the
// two is not published twice, when it is tried again within two minutes.
func (t *TopicClient) RetryDeadLetters(ctx context.Context, topic string, offsets ...uint64) (n int, err error) {
	return t.eachDead(ctx, topic, offsets, func(dead string, d *DeadLetter) error {
		id := fmt.Sprintf("retry:%d:%d:%s", d.Offset, d.Origin, dead)
		_, err := t.PublishWith(ctx, topic, d.Data, Publishing{ID: id[:min(len(id), message.MaxTopicID)], Meta: d.Meta})
		return err
	})
}

// DropDeadLetters takes dead letters of a topic out of the topic of dead letters, for
// good; without offsets all. It returns how many these were, also beside an error.
func (t *TopicClient) DropDeadLetters(ctx context.Context, topic string, offsets ...uint64) (n int, err error) {
	return t.eachDead(ctx, topic, offsets, func(string, *DeadLetter) error { return nil })
}

// eachDead does something with dead letters, one after the other, and deletes them.
func (t *TopicClient) eachDead(ctx context.Context, topic string, offsets []uint64, do func(dead string, d *DeadLetter) error) (n int, err error) {
	dead, err := t.deadLetterTopic(ctx, topic)
	if err != nil {
		return 0, err
	}
	if len(offsets) == 0 {
		return t.eachOfAllDead(ctx, topic, dead, do)
	}
	offsets = slices.Clone(offsets)
	slices.Sort(offsets)
	var list []DeadLetter
	for _, o := range slices.Compact(offsets) {
		page, err := t.Read(ctx, dead, o, 1)
		if err != nil && !errors.Is(err, abstract.ErrTopicNotFound) {
			return 0, err
		}
		for i := range page {
			if d, ok := deadLetterOf(&page[i]); ok && d.Offset == o && d.Topic == topic {
				list = append(list, d)
			}
		}
	}
	return t.finishDead(ctx, dead, list, do)
}

// eachOfAllDead goes through those that are there when it begins: what is published again
// may come back.
func (t *TopicClient) eachOfAllDead(ctx context.Context, topic, dead string, do func(string, *DeadLetter) error) (n int, err error) {
	info, err := t.Info(ctx, dead)
	if errors.Is(err, abstract.ErrTopicNotFound) {
		return 0, nil
	}
	for from := uint64(0); err == nil && from <= info.Last; {
		var list []DeadLetter
		if list, err = t.readDead(ctx, dead, topic, from, deadPage); err != nil || len(list) == 0 {
			return n, err
		}
		from = list[len(list)-1].Offset + 1
		list = slices.DeleteFunc(list, func(d DeadLetter) bool { return d.Offset > info.Last })
		var done int
		done, err = t.finishDead(ctx, dead, list, do)
		n += done
	}
	return n, err
}

// finishDead does something with dead letters, and deletes those with which it was done.
func (t *TopicClient) finishDead(ctx context.Context, dead string, list []DeadLetter, do func(string, *DeadLetter) error) (n int, err error) {
	var done []uint64
	for i := range list {
		if err = do(dead, &list[i]); err != nil {
			break
		}
		done = append(done, list[i].Offset)
	}
	if failed := t.Delete(ctx, dead, done...); failed != nil {
		return 0, cmp.Or(err, failed)
	}
	return len(done), err
}
