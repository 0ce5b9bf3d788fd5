package jetstream

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// TestBatchesLeaveNothingBehind would find directories of ours if the server called those of
// batches otherwise.
func TestBatchesLeaveNothingBehind(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir(), Sync: SyncAlways})
	l, err := s.Open(context.Background(), "t", "1", abstract.LogConfig{Dedup: defaultTimeout})
	require.NoError(t, err)
	dir := filepath.Join(s.member.streamDir(l.(*log).stream), batchesDir)
	appended := func(list []abstract.LogEntry) []abstract.LogOffset {
		t.Helper()
		offsets, err := l.Append(context.Background(), list)
		require.NoError(t, err)
		return offsets
	}
	left := func() (names []string) {
		t.Helper()
		appended(entries(1, 10)) // the server does one thing after the other
		found, err := os.ReadDir(dir)
		require.NoError(t, err, "batches are kept elsewhere")
		for _, e := range found {
			names = append(names, e.Name())
		}
		return names
	}
	appended(entries(batchFrom, 10))
	assert.Empty(t, left(), "of one that was taken")
	first := entries(batchFrom, 10)
	first[0].ID = "known"
	at := appended(first)[0].Offset
	again := entries(batchFrom, 10)
	again[batchFrom-1].ID = "known"
	assert.Equal(t, abstract.LogOffset{Offset: at, Duplicate: true}, appended(again)[batchFrom-1])
	assert.Empty(t, left(), "of one that was refused")
}

// TestABatchDoesNotBringAStreamBack would find a directory that the server takes for a damaged
// stream when it starts.
func TestABatchDoesNotBringAStreamBack(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir(), Sync: SyncAlways})
	l, err := s.Open(context.Background(), "t", "1", abstract.LogConfig{})
	require.NoError(t, err)
	stream := l.(*log).stream
	require.NoError(t, s.Remove(context.Background(), "t", "1"))
	s.member.stage(stream, "abcdefgh")
	assert.NoDirExists(t, s.member.streamDir(stream))
}

func TestTheServerLeavesTheDescriptionOfABatchAlone(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir(), Sync: SyncAlways})
	l, err := s.Open(context.Background(), "t", "1", abstract.LogConfig{})
	require.NoError(t, err)
	const id = "abcdefgh"
	stream := l.(*log).stream
	s.member.stage(stream, id)
	m := l.(*log).message(&abstract.LogEntry{Data: []byte("x")}, false)
	m.Header = map[string][]string{headerBatch: {id}, headerSequence: {"1"}}
	_, err = s.nc.RequestMsgWithContext(t.Context(), m) // answered when it is staged
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(s.member.batchDir(stream, id), metaFile))
	require.NoError(t, err)
	assert.Equal(t, "{}", string(text), "it has not written one of its own, and not synced that")
	_, err = os.Stat(filepath.Join(s.member.batchDir(stream, id), "msgs"))
	require.NoError(t, err, "it has been there")
}
