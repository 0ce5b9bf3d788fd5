package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"trefoil/cmd/trefoil/internal/logs"
	"trefoil/concrete/jetstream"
	"trefoil/server"
)

// openTopicLogs opens what durable topics are kept in: the NATS servers at --nats, or the
// directory of --data. Without either there are none. release closes it, after the server.
func (a *app) openTopicLogs(ctx context.Context, s *settings) (opts []server.Option, release func(), err error) {
	b := &s.own
	cfg := jetstream.Config{Logger: a.logger(s).With(logs.AreaKey, areaStore), MaxMessage: int(b.maxFrame)}
	if cfg.Sync, err = jetstream.ParseSync(b.topicSync); err != nil {
		return nil, nil, err
	}
	var where string
	switch {
	case len(b.nats) > 0:
		where = "NATS"
		cfg.URL, cfg.Credentials = strings.Join(b.nats, ","), b.natsCredentials
		cfg.Prefix, cfg.Replicas = b.natsPrefix, b.natsReplicas
	case s.data != "":
		where = s.data
		cfg.Dir, cfg.Quota = filepath.Join(s.data, "topics"), int64(b.topicQuota)
	default:
		return nil, func() {}, nil
	}
	opening, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	logs, err := jetstream.Open(opening, cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("open the durable topics in %s: %w", where, err)
	}
	return []server.Option{server.WithTopicLog(logs)}, func() { _ = logs.Close() }, nil
}

func checkSync(text string) error {
	_, err := jetstream.ParseSync(text)
	return err
}
