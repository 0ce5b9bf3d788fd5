package jetstream

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"trefoil/abstract"
	"trefoil/abstract/topiclogtest"
)

// TestMain is also what child processes run.
func TestMain(m *testing.M) {
	if dir := os.Getenv(appenderDir); dir != "" {
		os.Exit(appendUntilKilled(dir))
	}
	if dir := os.Getenv(serverDir); dir != "" {
		os.Exit(serveUntilKilled(dir))
	}
	if dir := os.Getenv(refusedDir); dir != "" {
		if err := withSmallFiles(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(appendUntilRefused(dir))
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, cfg Config) *Logs {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	}
	s, err := Open(context.Background(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestConformance(t *testing.T) {
	for _, sync := range []Sync{SyncOS, SyncAlways} {
		t.Run(sync.String(), func(t *testing.T) {
			topiclogtest.Run(t, topiclogtest.Driver{
				Slow: true,
				Open: func(t *testing.T) abstract.TopicLog { return open(t, Config{Dir: t.TempDir(), Sync: sync}) },
				Reopen: func(t *testing.T, closed abstract.TopicLog) abstract.TopicLog {
					return open(t, Config{Dir: closed.(*Logs).cfg.Dir, Sync: sync})
				},
			})
		})
	}
}

// TestConformanceElsewhere uses a server in another process, each test with a prefix of
// its own. TREFOIL_LONG=1 uses three servers with three replicas.
func TestConformanceElsewhere(t *testing.T) {
	cfg := Config{Replicas: 1}
	if os.Getenv("TREFOIL_LONG") != "" {
		cfg.URL, cfg.Replicas = startCluster(t), 3
	} else {
		cfg.URL = startServer(t, t.TempDir())
	}
	var prefixes atomic.Int64
	topiclogtest.Run(t, topiclogtest.Driver{
		Slow: true,
		Open: func(t *testing.T) abstract.TopicLog {
			own := cfg
			own.Prefix = fmt.Sprintf("test-%d", prefixes.Add(1))
			return open(t, own)
		},
		Reopen: func(t *testing.T, closed abstract.TopicLog) abstract.TopicLog {
			own := cfg
			own.Prefix = closed.(*Logs).cfg.Prefix
			return open(t, own)
		},
	})
}
