package jetstream

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"trefoil/abstract"
)

// log is a stream: the log of one incarnation of a topic.
type log struct {
	s       *Logs
	name    abstract.LogName
	stream  string
	subject string

	life context.Context // ends when the log is removed, and with Logs
	end  context.CancelCauseFunc

	writable context.Context // ends when the server could not write to the stream
	hurt     context.CancelCauseFunc

	setup sync.Mutex  // one at a time opens or removes
	holes atomic.Bool // entries were deleted
	queue queue

	mu     sync.Mutex
	cfg    abstract.LogConfig // as the stream has it
	opened bool
	// consumers are those that were opened here, by name.
	consumers map[string]*shared
}

func newLog(s *Logs, n abstract.LogName) *log {
	l := &log{s: s, name: n, stream: streamName(s.cfg.Prefix, n), subject: subjectName(s.cfg.Prefix, n), consumers: make(map[string]*shared)}
	l.life, l.end = context.WithCancelCause(s.life)
	l.writable, l.hurt = context.WithCancelCause(context.Background())
	return l
}

// minDuration is the least that JetStream takes for an age or a window.
const minDuration = 100 * time.Millisecond

// config is the stream's configuration. The window of ids can be no longer than the age:
// what has gone is not looked at.
func (l *log) config(cfg abstract.LogConfig) jetstream.StreamConfig {
	h := cfg.History
	c := jetstream.StreamConfig{
		Name:        l.stream,
		Description: "a topic of Trefoil; its metadata says which",
		Subjects:    []string{l.subject},
		Storage:     jetstream.FileStorage,
		Replicas:    l.s.cfg.Replicas,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		MaxMsgs:     -1,
		MaxBytes:    -1,
		Duplicates:  max(cfg.Dedup, minDuration),
		AllowDirect: true,
		// Only the server inside is known not to write several appends at once by itself.
		AllowAtomicPublish: l.s.member != nil,
		Metadata:           map[string]string{metaTopic: quoted(l.name.Topic), metaEpoch: quoted(l.name.Epoch)},
	}
	if h.Count > 0 {
		c.MaxMsgs = int64(h.Count)
	}
	if h.Bytes > 0 {
		c.MaxBytes = h.Bytes
	}
	if h.Age > 0 {
		c.MaxAge = max(h.Age, minDuration)
		c.Duplicates = min(c.Duplicates, c.MaxAge)
	}
	return c
}

// open makes the stream what cfg says.
func (l *log) open(ctx context.Context, cfg abstract.LogConfig) error {
	l.setup.Lock()
	defer l.setup.Unlock()
	ctx, cancel := l.s.within(ctx, l.life)
	defer cancel()
	err := l.ensure(ctx, l.config(cfg))
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.cfg, l.opened = cfg, true
		return nil
	}
	if !l.opened { // nobody has it
		l.s.forget(l)
	}
	return l.fault("open the log of a topic", err)
}

// ensure finds the stream, or makes it; another broker may do so at the same time.
func (l *log) ensure(ctx context.Context, want jetstream.StreamConfig) error {
	stream, err := l.s.js.Stream(ctx, l.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err := l.damaged(); err != nil {
			return err
		}
		stream, err = l.create(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			stream, err = l.s.js.Stream(ctx, l.stream)
		}
	}
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	l.mourn(info.State.Lost)
	have := info.Config
	l.holes.Store(have.Metadata[metaHoles] != "")
	if have.MaxMsgs == want.MaxMsgs && have.MaxBytes == want.MaxBytes && have.MaxAge == want.MaxAge && have.Duplicates == want.Duplicates &&
		have.AllowAtomicPublish == want.AllowAtomicPublish {
		return nil
	}
	have.MaxMsgs, have.MaxBytes, have.MaxAge, have.Duplicates = want.MaxMsgs, want.MaxBytes, want.MaxAge, want.Duplicates
	have.AllowAtomicPublish = want.AllowAtomicPublish
	_, err = l.s.js.UpdateStream(ctx, have)
	return err
}

// create makes the stream. It fails now and then while the server, in the background,
// removes the directory of what was the only stream; then it is tried again.
func (l *log) create(ctx context.Context, want jetstream.StreamConfig) (stream jetstream.Stream, err error) {
	for range createTries {
		stream, err = l.s.js.CreateStream(ctx, want)
		var api *jetstream.APIError
		if l.s.member == nil || !errors.As(err, &api) || api.ErrorCode != codeNoStore || l.s.stopped() {
			break
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
	return stream, err
}

const createTries = 3

// damaged says that the directory of a stream holds messages, and that the server could not
// read it when it started: making the stream anew would lose them. A directory without
// messages is of a stream that was being made, or removed, when the process died.
func (l *log) damaged() error {
	if l.s.member == nil {
		return nil
	}
	dir := l.s.member.streamDir(l.stream)
	blocks, _ := filepath.Glob(filepath.Join(dir, "msgs", "*.blk"))
	for _, b := range blocks {
		if info, err := os.Stat(b); err == nil && info.Size() > 0 {
			return abstract.Errorf(abstract.Unavailable, "what topic %.80q kept is damaged: restore the directory %s from a backup, "+
				"or move it away to begin with an empty topic, then restart the broker", l.name.Topic, dir)
		}
	}
	if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// mourn logs what the server found missing when it started.
func (l *log) mourn(lost *jetstream.LostStreamData) {
	if lost == nil || len(lost.Msgs) == 0 {
		return
	}
	l.s.cfg.Logger.Error("messages that a topic kept are damaged and left out; restore the directory from a backup if they matter",
		"topic", l.name.Topic, "dir", l.dir(), "messages", len(lost.Msgs), "first", lost.Msgs[0])
}

// dir names where the stream is.
func (l *log) dir() string {
	if l.s.member == nil {
		return "stream " + l.stream
	}
	return l.s.member.streamDir(l.stream)
}

// remove removes the stream and ends everything that waits for it.
func (l *log) remove(ctx context.Context) error {
	l.setup.Lock()
	defer l.setup.Unlock()
	ctx, cancel := l.s.within(ctx, l.s.life) // who fetches may notice before we do that the log is gone
	defer cancel()
	err := l.s.js.DeleteStream(ctx, l.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = nil
		if l.s.member != nil { // what a process left that died here
			err = os.RemoveAll(l.s.member.streamDir(l.stream))
		}
	}
	if err != nil {
		return l.s.fault("remove the log of a topic", err)
	}
	l.gone()
	return nil
}

// gone ends a log that is no longer there.
func (l *log) gone() {
	l.end(errGone())
	l.s.forget(l)
}

// fault translates an error, and notices that the log is gone.
func (l *log) fault(op string, err error) error {
	if err == nil || abstract.CodeOf(err) == abstract.UnknownFate {
		return err
	}
	if cause := context.Cause(l.life); cause != nil {
		return cause
	}
	err = l.s.fault(op, err)
	if abstract.CodeOf(err) == abstract.TopicNotFound {
		l.gone()
	}
	return err
}

// absent says why nobody took a request to the stream. It is nil when the stream is there
// after all: between two leaders nobody does, and the request can be sent again.
func (l *log) absent(ctx context.Context) error {
	if _, err := l.s.js.Stream(ctx, l.stream); err != nil && !unreachable(err) || l.s.stopped() {
		return l.fault("look for the log of a topic", err)
	}
	return nil
}

// pause waits before something is tried again.
func pause(ctx context.Context) error {
	t := time.NewTimer(retryEvery)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

const retryEvery = 100 * time.Millisecond

// Bounds returns the offsets of the first and the last entry.
func (l *log) Bounds(ctx context.Context) (first, last uint64, err error) {
	ctx, cancel := l.s.within(ctx, l.life)
	defer cancel()
	if l.life.Err() != nil {
		return 0, 0, context.Cause(l.life)
	}
	stream, err := l.s.js.Stream(ctx, l.stream)
	if err != nil {
		return 0, 0, l.fault("ask for the bounds of a topic's log", err)
	}
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return state.LastSeq + 1, state.LastSeq, nil
	}
	return state.FirstSeq, state.LastSeq, nil
}

// settings returns what the log was opened with last.
func (l *log) settings() abstract.LogConfig {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cfg
}
