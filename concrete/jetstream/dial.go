package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"trefoil/abstract"
)

const (
	dialTimeout = 5 * time.Second
	redialEvery = 250 * time.Millisecond
	// maxReplies is how many messages one subscription of ours has room for: what is asked
	// for at once is less.
	maxReplies = 2048

	oldest = "2.12" // of NATS servers: those before lack what we ask for
)

// dial makes the connection to the server inside, or to those at the URL.
func dial(ctx context.Context, cfg Config, m *member) (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name("trefoil"),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(redialEvery),
		nats.ReconnectBufSize(-1), // what cannot be sent now fails now: later is too late to say what became of it
		nats.SyncQueueLen(maxReplies),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { cfg.Logger.Warn("trouble with NATS", "err", err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				cfg.Logger.Warn("the connection to NATS was lost", "err", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			cfg.Logger.Info("connected to NATS again", slog.String("peer", nc.ConnectedUrlRedacted()))
		}),
	}
	if m != nil {
		return nats.Connect("", append(opts, nats.InProcessServer(m.server))...)
	}
	if cfg.Credentials != "" {
		opts = append(opts, nats.UserCredentials(cfg.Credentials))
	}
	if cfg.TLS != nil {
		opts = append(opts, nats.Secure(cfg.TLS))
	}
	nc, err := nats.Connect(cfg.URL, opts...)
	switch {
	case errors.Is(err, nats.ErrAuthorization):
		return nil, &abstract.Error{Code: abstract.Denied, Op: "connect to NATS", Message: "the servers do not know this user; check the URL and the credentials", Err: err}
	case err != nil:
		return nil, &abstract.Error{Code: abstract.Unavailable, Op: "connect to NATS", Message: "no server can be reached; check the URL, and that one runs", Err: err}
	}
	if err := check(ctx, nc); err != nil {
		nc.Close()
		return nil, err
	}
	return nc, nil
}

// check says what servers elsewhere lack.
func check(ctx context.Context, nc *nats.Conn) error {
	if v := nc.ConnectedServerVersion(); olderThan(v, oldest) {
		return abstract.Errorf(abstract.Unsupported, "the NATS server has version %s; %s or later is needed", v, oldest)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if _, err := js.AccountInfo(ctx); err != nil {
		return &abstract.Error{Code: abstract.Unavailable, Op: "ask NATS for JetStream", Err: err,
			Message: "it has none for this account; start the server with --jetstream, and permit the account to use it"}
	}
	return nil
}

// olderThan compares the first two numbers of versions. One that cannot be read is new.
func olderThan(version, than string) bool {
	var major, minor, wantMajor, wantMinor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return false
	}
	_, _ = fmt.Sscanf(than, "%d.%d", &wantMajor, &wantMinor)
	return major < wantMajor || major == wantMajor && minor < wantMinor
}
