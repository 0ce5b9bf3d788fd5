package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"trefoil/abstract"
)

const (
	directGet  = "$JS.API.DIRECT.GET."
	leaderGet  = "$JS.API.STREAM.MSG.GET."
	statusEnd  = "204"
	statusNone = "404"

	maxRead      = 1024
	maxReadBytes = 16 << 20
)

// getRequest asks for messages from a sequence, or from a time on.
type getRequest struct {
	Sequence  uint64     `json:"seq,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
	Batch     int        `json:"batch"`
	MaxBytes  int        `json:"max_bytes"`
}

// Read returns entries from an offset on. Of several replicas any may answer, also one that
// is behind: when it knows less than the leader, it is asked again.
func (l *log) Read(ctx context.Context, from uint64, most, bytes int) ([]abstract.LogEntry, error) {
	if l.life.Err() != nil {
		return nil, context.Cause(l.life)
	}
	if most <= 0 {
		return nil, nil
	}
	ctx, cancel := l.s.within(ctx, l.life)
	defer cancel()
	from, most, bytes = max(from, 1), min(most, maxRead), max(min(bytes, maxReadBytes), 1)
	for {
		list, err := l.get(ctx, getRequest{Sequence: from, Batch: most, MaxBytes: bytes})
		if err != nil {
			return nil, l.fault("read a topic's log", err)
		}
		if len(list) > 0 || l.s.cfg.Replicas == 1 {
			return cut(list, bytes), nil
		}
		if more, err := l.more(ctx, from); err != nil || !more {
			return nil, err
		}
		if err := pause(ctx); err != nil {
			return nil, l.fault("read a topic's log", err)
		}
	}
}

// more asks the leader whether there is an entry from an offset on.
func (l *log) more(ctx context.Context, from uint64) (bool, error) {
	first, last, err := l.Bounds(ctx)
	if err != nil || last < max(from, first) || !l.holes.Load() {
		return err == nil && last >= max(from, first), err
	}
	body, err := json.Marshal(nextRequest{from, l.subject})
	if err != nil {
		return false, err
	}
	m, err := l.s.nc.RequestWithContext(ctx, leaderGet+l.stream, body)
	if errors.Is(err, nats.ErrNoResponders) { // there is no leader now
		return true, nil
	}
	if err == nil {
		_, err = answerOf(m)
	}
	var e *jetstream.APIError
	if errors.As(err, &e) && e.ErrorCode == jetstream.JSErrCodeMessageNotFound {
		return false, nil
	}
	return true, l.fault("read a topic's log", err)
}

// nextRequest asks the leader for the first message from a sequence on.
type nextRequest struct {
	Sequence uint64 `json:"seq"`
	Subject  string `json:"next_by_subj"`
}

// cut leaves out what is beyond so many bytes of Data.
func cut(list []abstract.LogEntry, bytes int) []abstract.LogEntry {
	for i := range list {
		if bytes -= len(list[i].Data); bytes < 0 && i > 0 {
			return list[:i]
		}
	}
	return list
}

// get reads the answer to one request. Nobody takes it while a leader is elected.
func (l *log) get(ctx context.Context, req getRequest) ([]abstract.LogEntry, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	for {
		list, err := l.getOnce(ctx, body)
		if !errors.Is(err, nats.ErrNoResponders) {
			return list, err
		}
		if err := l.absent(ctx); err != nil {
			return nil, err
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

func (l *log) getOnce(ctx context.Context, body []byte) ([]abstract.LogEntry, error) {
	inbox := nats.NewInbox()
	sub, err := l.s.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := l.s.nc.PublishRequest(directGet+l.stream, inbox, body); err != nil {
		return nil, err
	}
	var list []abstract.LogEntry
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, err
		}
		switch status := m.Header.Get(headerStatus); status {
		case "":
		case statusEnd, statusNone:
			return list, nil
		default:
			return nil, errors.New("JetStream answered " + status + " " + m.Header.Get("Description"))
		}
		e, err := entryOf(m)
		if err != nil {
			return nil, err
		}
		if n := len(list); n > 0 && e.Offset != list[n-1].Offset+1 && !l.holes.Load() {
			l.s.cfg.Logger.Error("messages that a topic kept are damaged and left out; restore the directory from a backup if they matter",
				"topic", l.name.Topic, "dir", l.dir(), "first", list[n-1].Offset+1, "messages", e.Offset-list[n-1].Offset-1)
		}
		list = append(list, e)
	}
}

// entryOf reads an entry of an answer.
func entryOf(m *nats.Msg) (e abstract.LogEntry, err error) {
	if e.Offset, err = strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64); err != nil {
		return e, err
	}
	if err := e.Time.UnmarshalText([]byte(m.Header.Get("Nats-Time-Stamp"))); err != nil {
		return e, err
	}
	e.ID, e.Data = idIn(m.Header), m.Data
	return e, nil
}

// idIn returns the id of an entry, which is in one of two headers.
func idIn(h nats.Header) string {
	if id := h.Get(headerDedup); id != "" {
		return idOf(id)
	}
	return idOf(h.Get(headerID))
}

// OffsetAt returns the first entry that is not older than t.
func (l *log) OffsetAt(ctx context.Context, t time.Time) (uint64, error) {
	if l.life.Err() != nil {
		return 0, context.Cause(l.life)
	}
	ctx, cancel := l.s.within(ctx, l.life)
	defer cancel()
	req := getRequest{StartTime: &t, Batch: 1, MaxBytes: 1}
	switch year := t.Year(); { // JetStream's times are nanoseconds since 1970
	case year < 1971:
		req = getRequest{Sequence: 1, Batch: 1, MaxBytes: 1}
	case year > 2200:
		_, last, err := l.Bounds(ctx)
		return last + 1, err
	}
	list, err := l.get(ctx, req)
	if err != nil {
		return 0, l.fault("look for a time in a topic's log", err)
	}
	if len(list) > 0 {
		return list[0].Offset, nil
	}
	_, last, err := l.Bounds(ctx)
	return last + 1, err
}
