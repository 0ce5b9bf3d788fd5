package etcdstore

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"trefoil/abstract"
	"trefoil/abstract/registrytest"
	"trefoil/concrete/internal/etcdlog"
)

func TestConfigNeedsOnePlace(t *testing.T) {
	for _, cfg := range []Config{{}, {Dir: "d", Endpoints: []string{"http://localhost:1"}}} {
		_, err := Open(t.Context(), cfg)
		assert.ErrorContains(t, err, "a directory or endpoints")
	}
}

func TestRestartKeepsKeysRevisionsAndEpoch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	for i := range 600 { // more than a page
		put(t, s, fmt.Sprintf("/k/%03d", i), "v")
	}
	remove(t, s, "/k/300")
	rev := caughtUp(t, s)
	before, epoch := list(t, s, ""), s.Epoch()
	require.NoError(t, s.Close())

	s = open(t, Config{Dir: dir})
	assert.Equal(t, before, list(t, s, ""))
	assert.Equal(t, epoch, s.Epoch())
	assert.Equal(t, rev, caughtUp(t, s))
	assert.Equal(t, rev+1, put(t, s, "/k/300", "again"))

	other := open(t, Config{Dir: t.TempDir()})
	assert.NotEqual(t, epoch, other.Epoch(), "an empty directory begins another history")
}

func TestDirectoryIsForOneProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	_, err := Open(t.Context(), Config{Dir: dir})
	require.Error(t, err)
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err))
	assert.ErrorContains(t, err, "in use by another process")
	put(t, s, "/k", "1")
	require.NoError(t, s.Close())
	open(t, Config{Dir: dir})
}

func TestNobodyElseGetsIntoTheDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.Mkdir(dir, 0o755))
	s := open(t, Config{Dir: dir})
	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	assert.Equal(t, filepath.Join(dir, "etcd.sock"), s.member.socket)
	assert.Empty(t, s.member.server.Peers)
	for _, l := range s.member.server.Clients {
		assert.Equal(t, "unix", l.Addr().Network())
	}
}

func TestLongPathHasItsSocketElsewhere(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", maxSocketPath))
	s := open(t, Config{Dir: dir})
	put(t, s, "/k", "1")
	info, err := os.Stat(filepath.Dir(s.member.socket))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.NoError(t, s.Close())
	assert.NoDirExists(t, filepath.Dir(s.member.socket))
}

func TestOpenGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	cfg := Config{Endpoints: []string{"http://" + registrytest.FreeAddr(t)}, Logger: slog.New(slog.DiscardHandler)}
	_, err := Open(ctx, cfg)
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
	_, err = Open(ctx, Config{Dir: t.TempDir(), Logger: cfg.Logger})
	assert.ErrorIs(t, err, context.Canceled)
}

// TestFullQuotaIsToldAndCanBeHealed fills a small database.
func TestFullQuotaIsToldAndCanBeHealed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := Config{Dir: dir, Quota: 4 << 20}
	s := open(t, cfg)
	value := strings.Repeat("v", 512<<10)
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		_, err = s.Txn(within(t), abstract.Txn{Then: []abstract.Op{{Key: fmt.Sprint("/", n), Value: []byte(value)}}})
	}
	require.Equal(t, abstract.UnknownFate, abstract.CodeOf(err), "etcd carries out the write that it refuses first: %v", err)
	assert.ErrorContains(t, err, "delete what is not needed")
	small := abstract.Txn{Then: []abstract.Op{{Key: "/small", Value: []byte("v")}}}
	require.Eventually(t, func() bool { // the alarm comes a moment later
		_, err = s.Txn(within(t), small)
		return abstract.CodeOf(err) == abstract.Overloaded
	}, patience, 10*time.Millisecond)
	assert.ErrorContains(t, err, "delete what is not needed")
	caughtUp(t, s)
	kvs, _, err := s.Range(within(t), "", 0)
	require.NoError(t, err)
	for _, kv := range kvs {
		remove(t, s, kv.Key)
	}
	require.NoError(t, s.Close())
	s = open(t, cfg)
	put(t, s, "/small", "v")
	caughtUp(t, s)
	assert.Equal(t, "/small=v", list(t, s, ""))
}

// TestHistoryOfAMemberIsCut writes enough for a compaction.
func TestHistoryOfAMemberIsCut(t *testing.T) {
	t.Parallel()
	s := open(t, Config{Dir: t.TempDir()})
	first := put(t, s, "/k", "first")
	value := bytes.Repeat([]byte("v"), 1<<20)
	for range compactBytes >> 20 {
		put(t, s, "/k", string(value))
	}
	require.Eventually(t, func() bool {
		_, err := s.client.Get(within(t), "/k", clientv3.WithRev(first))
		return err != nil && is(err, rpctypes.ErrCompacted)
	}, patience, 20*time.Millisecond)
	put(t, s, "/k", "last")
	caughtUp(t, s)
	assert.Equal(t, "/k=last", list(t, s, ""))
}

func TestEtcdsOwnLogIsQuiet(t *testing.T) {
	var text bytes.Buffer
	log := etcdlog.Quietly(slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelInfo})))
	log.Info("nothing")
	log.Warn("much ado")
	assert.Empty(t, text.String())
	log.Sugar().With("with", 1).Errorw("disk broke", "path", "/p")
	assert.Contains(t, text.String(), `level=ERROR msg="etcd: disk broke" with=1 path=/p`)
}
