package jetstream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"trefoil/abstract"
)

// A server that syncs always does so for each message, however many wait. An atomic batch
// is synced twice, whatever its size: where it is staged, see stage, and in the stream. With
// what making a directory costs it is the better way from four messages on.
//
// A batch is taken as a whole or not at all. When it is refused, as when an id in it was
// seen before, its messages are published one by one, so that no publisher fails for what
// another one did.
const batchFrom = 4

const (
	headerID       = "Trefoil-Id"  // of an entry that is not to be looked at
	headerDedup    = "Nats-Msg-Id" // of one that is
	headerBatch    = "Nats-Batch-Id"
	headerSequence = "Nats-Batch-Sequence"
	headerCommit   = "Nats-Batch-Commit"
	headerStatus   = "Status"

	statusNobody = "503"
)

// item is an entry on its way.
type item struct {
	entry  abstract.LogEntry
	offset abstract.LogOffset
	err    error
}

// publish publishes requests, in order, and answers them.
func (l *log) publish(group []*request) {
	var items []item
	for _, r := range group {
		for _, e := range r.entries {
			items = append(items, item{entry: e})
		}
	}
	l.publishItems(items)
	for _, r := range group {
		r.offsets = make([]abstract.LogOffset, len(r.entries))
		for i := range r.entries {
			r.offsets[i] = items[i].offset
			if r.err == nil || abstract.CodeOf(items[i].err) == abstract.UnknownFate { // what is not known of one holds for all without an offset
				r.err = items[i].err
			}
		}
		items = items[len(r.entries):]
		close(r.done)
	}
}

// publishItems publishes as many at a time as go together. After one that failed the
// others of the same group are not tried, so that nothing comes out of order.
func (l *log) publishItems(items []item) {
	for len(items) > 0 {
		n, bytes := 0, 0
		for ; n < len(items) && n < maxGroup && (n == 0 || bytes < maxGroupBytes); n++ {
			bytes += len(items[n].entry.Data)
		}
		if err := l.publishSome(items[:n]); err != nil {
			for i := range items[n:] {
				items[n+i].err = notTried(err)
			}
			return
		}
		items = items[n:]
	}
}

// notTried is the error of what was not published as something before it failed.
func notTried(err error) error {
	code := abstract.CodeOf(err)
	if code == abstract.UnknownFate {
		code = abstract.Unavailable
	}
	return &abstract.Error{Code: code, Op: "append", Sent: abstract.SentNo, Err: err, Message: "what was published before it failed, so this was not tried"}
}

// publishSome publishes entries together, and returns the first error.
func (l *log) publishSome(items []item) error {
	ctx, cancel := context.WithTimeout(l.writable, l.s.cfg.Timeout)
	defer cancel()
	bytes := 0
	for i := range items {
		bytes += len(items[i].entry.Data) + 4*len(items[i].entry.ID) + overhead // an id may be quoted
	}
	if err := l.refuse(bytes); err != nil {
		for i := range items {
			items[i].err = err
		}
		return err
	}
	if !l.batches(len(items), bytes) || !l.publishBatch(ctx, items) {
		l.publishEach(ctx, items)
	}
	return firstError(items)
}

// refuse says why nothing can be published now.
func (l *log) refuse(bytes int) error {
	if l.writable.Err() != nil {
		return context.Cause(l.writable)
	}
	if m := l.s.member; m != nil && m.full(l.s.cfg.KeepFree, 2*bytes) { // a batch is written twice
		return &abstract.Error{Code: abstract.Overloaded, Op: "append", Sent: abstract.SentNo, Message: diskFull}
	}
	return nil
}

// batches says whether entries are better published as one. A batch that the quota has no
// room for would be taken in part, and not answered.
func (l *log) batches(n, bytes int) bool {
	m := l.s.member
	return m != nil && l.s.cfg.Sync == SyncAlways && n >= batchFrom && m.room(l.s.cfg.Quota, bytes)
}

func firstError(items []item) error {
	for i := range items {
		if items[i].err != nil {
			return items[i].err
		}
	}
	return nil
}

// message is an entry as JetStream takes it.
func (l *log) message(e *abstract.LogEntry, dedup bool) *nats.Msg {
	m := &nats.Msg{Subject: l.subject, Data: e.Data}
	if e.ID == "" {
		return m
	}
	key := headerID
	if dedup {
		key = headerDedup
	}
	m.Header = nats.Header{key: {idText(e.ID)}}
	return m
}

// answer is what JetStream says to a message, or to a batch.
type answer struct {
	Error     *jetstream.APIError `json:"error"`
	Sequence  uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"`
	Count     int                 `json:"count"`
}

func answerOf(m *nats.Msg) (a answer, err error) {
	if len(m.Data) == 0 && m.Header.Get(headerStatus) == statusNobody {
		return a, nats.ErrNoResponders
	}
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return a, err
	}
	if a.Error != nil {
		return a, a.Error
	}
	return a, nil
}

// publishBatch publishes entries as one, and reports whether their fate is decided: it is
// not when the batch was refused.
func (l *log) publishBatch(ctx context.Context, items []item) bool {
	id, dedup := rand.Text(), l.settings().Dedup > 0
	l.s.member.stage(l.stream, id)
	var reply *nats.Msg
	var err error
	for i := range items {
		m := l.message(&items[i].entry, dedup)
		if m.Header == nil {
			m.Header = make(nats.Header, 3)
		}
		m.Header[headerBatch], m.Header[headerSequence] = []string{id}, []string{strconv.Itoa(i + 1)}
		if i == len(items)-1 {
			m.Header[headerCommit] = []string{"1"}
			reply, err = l.s.nc.RequestMsgWithContext(ctx, m)
			break
		}
		if l.s.nc.PublishMsg(m) != nil {
			return false // without its end there is no batch
		}
	}
	if errors.Is(err, nats.ErrNoResponders) {
		l.s.member.unstage(l.stream, id)
		return false
	}
	var a answer
	if err == nil {
		a, err = answerOf(reply)
		if a.Error != nil {
			l.s.member.unstage(l.stream, id)
			return false
		}
	}
	if err == nil && a.Count != len(items) {
		err = errors.New("the answer to a batch is of another one")
	}
	for i := range items {
		if err != nil {
			items[i].err = unknown(err)
			continue
		}
		items[i].offset.Offset = a.Sequence - uint64(len(items)-1-i)
	}
	return true
}

// publishEach publishes entries one after the other without waiting in between. What
// nobody took is sent again, unless something behind it was taken.
func (l *log) publishEach(ctx context.Context, items []item) {
	l.publishStream(ctx, items)
	l.publishBusy(ctx, items)
	for {
		for len(items) > 0 && items[0].err == nil {
			items = items[1:]
		}
		if !allNotTaken(items) {
			break
		}
		err := l.absent(ctx)
		if err == nil {
			err = pause(ctx)
		}
		if err != nil {
			for i := range items {
				items[i].err = err
			}
			break
		}
		l.publishStream(ctx, items)
		l.publishBusy(ctx, items)
	}
	for i := range items {
		items[i].err = l.fault("append", items[i].err)
	}
}

// allNotTaken says that none of the entries, and one at least, is in the log, and that
// none will be: they can be published again.
func allNotTaken(items []item) bool {
	for i := range items {
		if !errors.Is(items[i].err, nats.ErrNoResponders) {
			return false
		}
	}
	return len(items) > 0
}

// publishBusy publishes again what several replicas refused as its id is under way with
// another entry: once that is in the log, this one is its duplicate.
func (l *log) publishBusy(ctx context.Context, items []item) {
	for i := range items {
		for items[i].busy() {
			if err := pause(ctx); err != nil {
				items[i].err = err
				break
			}
			l.publishStream(ctx, items[i:i+1])
		}
	}
}

func (it *item) busy() bool {
	var e *jetstream.APIError
	return errors.As(it.err, &e) && e.ErrorCode == codeIDInProcess
}

// publishStream publishes entries, each with an answer of its own.
func (l *log) publishStream(ctx context.Context, items []item) {
	to, answered, leave := l.s.answers.group(len(items))
	defer leave()
	dedup, sent := l.settings().Dedup > 0, 0
	for ; sent < len(items); sent++ {
		m := l.message(&items[sent].entry, dedup)
		m.Reply = to + strconv.Itoa(sent)
		if err := l.s.nc.PublishMsg(m); err != nil {
			for i := range items[sent:] {
				items[sent+i].err = err
			}
			break
		}
	}
	for i := range items[:sent] {
		items[i].err = errUnanswered
	}
	for range sent {
		select {
		case a := <-answered:
			if a.i < sent {
				items[a.i].settle(a.m)
			}
		case <-ctx.Done():
			for i := range items[:sent] {
				if errors.Is(items[i].err, errUnanswered) {
					items[i].err = unknown(context.Cause(ctx))
				}
			}
			return
		}
	}
}

// errUnanswered marks entries that JetStream has not answered yet.
var errUnanswered = errors.New("no answer yet")

// settle notes what the answer says of an entry.
func (it *item) settle(reply *nats.Msg) {
	a, err := answerOf(reply)
	switch {
	case err == nil:
		it.offset, it.err = abstract.LogOffset{Offset: a.Sequence, Duplicate: a.Duplicate}, nil
	case a.Error != nil, errors.Is(err, nats.ErrNoResponders):
		it.err = err // it was not done
	default:
		it.err = unknown(err)
	}
}
