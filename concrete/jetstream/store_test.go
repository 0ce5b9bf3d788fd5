package jetstream

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func entries(n, size int) []abstract.LogEntry {
	list := make([]abstract.LogEntry, n)
	for i := range list {
		list[i].Data = []byte(strings.Repeat(fmt.Sprint(i%10), size))
	}
	return list
}

func TestDirectoryIsOurs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	s := open(t, Config{Dir: dir})
	if runtime.GOOS != "windows" {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	}
	_, err := Open(context.Background(), Config{Dir: dir})
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err))
	assert.ErrorContains(t, err, dir+" is in use by another process")
	require.NoError(t, s.Close())
	open(t, Config{Dir: dir})
}

func TestDirectoryThatIsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := Open(context.Background(), Config{Dir: path})
	assert.ErrorContains(t, err, path)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "jetstream"), []byte("x"), 0o600))
	_, err = Open(context.Background(), Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	assert.ErrorContains(t, err, dir)
}

// fill makes a log with entries of 1 KiB, closes everything, and returns its directory.
func fill(t *testing.T, dir string, n int) string {
	s := open(t, Config{Dir: dir})
	l, err := s.Open(within(t), "orders.eu", "1", abstract.LogConfig{})
	require.NoError(t, err)
	_, err = l.Append(within(t), entries(n, 1024))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	return l.(*log).dir()
}

func TestLogThatCannotBeReadIsNotMadeAnew(t *testing.T) {
	dir := t.TempDir()
	where := fill(t, dir, 10)
	meta := filepath.Join(where, "meta.inf")
	text, err := os.ReadFile(meta)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(meta, text[:len(text)/2], 0o600))

	s := open(t, Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	_, err = s.Open(within(t), "orders.eu", "1", abstract.LogConfig{})
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
	assert.ErrorContains(t, err, where)
	assert.ErrorContains(t, err, "restore the directory")
	_, err = s.Open(within(t), "another", "1", abstract.LogConfig{})
	require.NoError(t, err, "the others go on")
	require.NoError(t, s.Close())

	require.NoError(t, os.WriteFile(meta, text, 0o600), "restored")
	s = open(t, Config{Dir: dir})
	l, err := s.Open(within(t), "orders.eu", "1", abstract.LogConfig{})
	require.NoError(t, err)
	_, last, err := l.Bounds(within(t))
	require.NoError(t, err)
	assert.EqualValues(t, 10, last)
}

func TestUnfinishedLogIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	where := fill(t, dir, 0)
	require.NoError(t, os.Remove(filepath.Join(where, "meta.inf")))
	s := open(t, Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	_, err := s.Open(within(t), "orders.eu", "1", abstract.LogConfig{})
	require.NoError(t, err)
}

// TestDamagedEntriesAreAGap flips a bit in the middle: the entry, and what the server gives
// up with it, are missing, which is logged; offsets go on where they were.
func TestDamagedEntriesAreAGap(t *testing.T) {
	dir := t.TempDir()
	where := fill(t, dir, 100)
	blocks, err := filepath.Glob(filepath.Join(where, "msgs", "*.blk"))
	require.NoError(t, err)
	require.Len(t, blocks, 1)
	text, err := os.ReadFile(blocks[0])
	require.NoError(t, err)
	text[len(text)/2] ^= 1
	require.NoError(t, os.WriteFile(blocks[0], text, 0o600))

	var said lines
	s := open(t, Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	l, err := s.Open(within(t), "orders.eu", "1", abstract.LogConfig{})
	require.NoError(t, err)
	offsets, err := l.Append(within(t), entries(1, 10))
	require.NoError(t, err)
	assert.EqualValues(t, 101, offsets[0].Offset)
	list, err := l.Read(within(t), 1, 1000, 1<<20)
	require.NoError(t, err)
	t.Log(len(list), list[0].Offset, list[len(list)-1].Offset, said.String())
	assert.Less(t, len(list), 101)
	assert.EqualValues(t, 101, list[len(list)-1].Offset)
	assert.Contains(t, said.String(), where)
}

// lines is a buffer that several write to.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestFullQuotaRefuses appends until there is no room, and makes room again.
func TestFullQuotaRefuses(t *testing.T) {
	for _, sync := range []Sync{SyncAlways, SyncOS} {
		t.Run(sync.String(), func(t *testing.T) {
			s := open(t, Config{Dir: t.TempDir(), Quota: 4 << 20, Sync: sync, Logger: slog.New(slog.DiscardHandler)})
			full, err := s.Open(within(t), "full", "1", abstract.LogConfig{})
			require.NoError(t, err)
			other, err := s.Open(within(t), "other", "1", abstract.LogConfig{})
			require.NoError(t, err)
			acked := 0
			for {
				offsets, err := full.Append(within(t), entries(20, 32<<10))
				for _, o := range offsets {
					if o.Offset > 0 {
						acked++
						assert.EqualValues(t, acked, o.Offset)
					}
				}
				if err != nil {
					assert.Equal(t, abstract.Overloaded, abstract.CodeOf(err), "%v", err)
					assert.ErrorContains(t, err, "there is no room")
					break
				}
				require.Less(t, acked, 1000, "it never fills")
			}
			_, last, err := full.Bounds(within(t))
			require.NoError(t, err)
			assert.EqualValues(t, acked, last, "what was refused is not there")
			_, err = other.Append(within(t), entries(1, 10))
			assert.Equal(t, abstract.Overloaded, abstract.CodeOf(err), "%v", err)
			list, err := full.Read(within(t), 1, 10, 1<<20)
			require.NoError(t, err, "reading goes on")
			assert.NotEmpty(t, list)
			require.NoError(t, s.Remove(within(t), "full", "1"))
			_, err = other.Append(within(t), entries(1, 10))
			require.NoError(t, err)
		})
	}
}

// TestSyncModeCanChange opens what was written in one mode in another.
func TestSyncModeCanChange(t *testing.T) {
	dir := t.TempDir()
	want := 0
	for _, sync := range []Sync{SyncAlways, SyncOS, Sync(200e6), SyncAlways} {
		s := open(t, Config{Dir: dir, Sync: sync})
		l, err := s.Open(within(t), "t", "1", abstract.LogConfig{})
		require.NoError(t, err)
		_, err = l.Append(within(t), entries(30, 10))
		require.NoError(t, err)
		want += 30
		_, last, err := l.Bounds(within(t))
		require.NoError(t, err)
		assert.EqualValues(t, want, last)
		require.NoError(t, s.Close())
	}
}

// TestCloseEndsAppends closes while many append: each of them ends, and what was
// acknowledged is there.
func TestCloseEndsAppends(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	l, err := s.Open(within(t), "t", "1", abstract.LogConfig{})
	require.NoError(t, err)
	var mu sync.Mutex
	var highest uint64
	var wg sync.WaitGroup
	begun := make(chan struct{}, 1<<20)
	for range 32 {
		wg.Go(func() {
			for {
				offsets, err := l.Append(context.Background(), entries(1, 10))
				if err != nil {
					assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
					return
				}
				mu.Lock()
				highest = max(highest, offsets[0].Offset)
				mu.Unlock()
				begun <- struct{}{}
			}
		})
	}
	for range 100 {
		<-begun
	}
	require.NoError(t, s.Close())
	wg.Wait()
	s = open(t, Config{Dir: dir})
	l, err = s.Open(within(t), "t", "1", abstract.LogConfig{})
	require.NoError(t, err)
	_, last, err := l.Bounds(within(t))
	require.NoError(t, err)
	assert.Equal(t, highest, last)
}

// TestDeletedEntriesAreNoDamage reads over what was deleted, also after a restart.
func TestDeletedEntriesAreNoDamage(t *testing.T) {
	var said lines
	dir := t.TempDir()
	for range 2 {
		s := open(t, Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(&said, nil))})
		l, err := s.Open(within(t), "t", "1", abstract.LogConfig{})
		require.NoError(t, err)
		offsets, err := l.Append(within(t), entries(3, 10))
		require.NoError(t, err)
		list, err := l.Read(within(t), 1, 10, 1<<20)
		require.NoError(t, err)
		assert.Equal(t, offsets[2].Offset-offsets[2].Offset/3+1, uint64(len(list)), "one of three was deleted before")
		require.NoError(t, l.Delete(within(t), offsets[1].Offset))
		_, err = l.Read(within(t), 1, 10, 1<<20)
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
	assert.NotContains(t, said.String(), "damaged")
}
