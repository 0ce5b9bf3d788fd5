package jetstream

import (
	"context"
	"errors"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"trefoil/abstract"
)

// Logs is an abstract.TopicLog in JetStream. Its methods are safe for concurrent use.
type Logs struct {
	cfg    Config
	member *member // nil: the servers are somewhere else
	nc     *nats.Conn
	js     jetstream.JetStream
	// answers are to what is published.
	answers *answers

	life context.Context // ends with Close
	end  context.CancelCauseFunc
	work sync.WaitGroup // goroutines that publish, or tidy up after a Fetch

	mu     sync.Mutex
	closed bool
	logs   map[abstract.LogName]*log
}

var _ abstract.TopicLog = (*Logs)(nil)

// Open starts a server in cfg.Dir, or connects to those at cfg.URL. Reading what is in a
// directory takes a while when that is much. Close the Logs.
func Open(ctx context.Context, cfg Config) (*Logs, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Logs{cfg: cfg, logs: make(map[abstract.LogName]*log)}
	s.life, s.end = context.WithCancelCause(context.Background())
	if err := s.start(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Logs) start(ctx context.Context) (err error) {
	if s.cfg.Dir != "" {
		if s.member, err = startMember(s.cfg, s.hurt); err != nil {
			return err
		}
	}
	if s.nc, err = dial(ctx, s.cfg, s.member); err != nil {
		return err
	}
	if s.answers, err = newAnswers(s.nc); err != nil {
		return err
	}
	s.js, err = jetstream.New(s.nc, jetstream.WithDefaultTimeout(s.cfg.Timeout))
	return err
}

// Durable returns true.
func (s *Logs) Durable() bool { return true }

// stopped says that the server inside no longer keeps anything.
func (s *Logs) stopped() bool { return s.member != nil && !s.member.server.JetStreamEnabled() }

// Close refuses what comes, waits for appends that JetStream has already, and stops the
// server inside. What waits in Fetch returns.
func (s *Logs) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end(errClosed)
	s.work.Wait()
	if s.nc != nil {
		s.nc.Close()
	}
	if s.member != nil {
		s.member.close()
	}
	return nil
}

// spawn runs f in a goroutine that Close waits for. It returns false after Close.
func (s *Logs) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Go(f)
	return true
}

// handle returns the log of a name, opened or not.
func (s *Logs) handle(n abstract.LogName) (*log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	l := s.logs[n]
	if l == nil {
		l = newLog(s, n)
		s.logs[n] = l
	}
	return l, nil
}

// hurt ends what waits for a log that cannot be written to, and refuses what comes.
func (s *Logs) hurt(stream string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.logs {
		if l.stream == stream {
			l.hurt(errUnwritable(err))
		}
	}
}

// forget makes the next handle of a name another one.
func (s *Logs) forget(l *log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logs[l.name] == l {
		delete(s.logs, l.name)
	}
}

// Open opens a log: the same one as long as it is not removed.
func (s *Logs) Open(ctx context.Context, topic, epoch string, cfg abstract.LogConfig) (abstract.Log, error) {
	for {
		l, err := s.handle(abstract.LogName{Topic: topic, Epoch: epoch})
		if err != nil {
			return nil, err
		}
		err = l.open(ctx, cfg)
		if err == nil {
			return l, nil
		}
		if l.life.Err() == nil || context.Cause(s.life) != nil {
			return nil, err
		} // it was removed while we waited for our turn
	}
}

// Remove removes a log.
func (s *Logs) Remove(ctx context.Context, topic, epoch string) error {
	l, err := s.handle(abstract.LogName{Topic: topic, Epoch: epoch})
	if err != nil {
		return err
	}
	return l.remove(ctx)
}

// List returns the logs of this prefix.
func (s *Logs) List(ctx context.Context) ([]abstract.LogName, error) {
	ctx, cancel := s.within(ctx, s.life)
	defer cancel()
	list := s.js.ListStreams(ctx, jetstream.WithStreamListSubject(s.cfg.Prefix+".log.>"))
	var names []abstract.LogName
	for info := range list.Info() {
		topic, ok := unquoted(info.Config.Metadata[metaTopic])
		epoch, known := unquoted(info.Config.Metadata[metaEpoch])
		if ok && known {
			names = append(names, abstract.LogName{Topic: topic, Epoch: epoch})
		}
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return nil, s.fault("list the logs of topics", err)
	}
	return names, nil
}

// within returns a context that ends after Config.Timeout, or with life.
func (s *Logs) within(ctx, life context.Context) (context.Context, func()) {
	limited, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	joined, leave := join(limited, life)
	return joined, func() { leave(); cancel() }
}

// join returns a context that also ends with life, for the same cause.
func join(ctx, life context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(life, func() { cancel(context.Cause(life)) })
	return ctx, func() { stop(); cancel(nil) }
}
