package logs

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// output is a stream that may be read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func open(t *testing.T, cfg Config) (*Log, *output) {
	t.Helper()
	out := &output{}
	l, err := Open(out, cfg)
	require.NoError(t, err)
	return l, out
}

func TestEachAreaHasItsLevel(t *testing.T) {
	l, out := open(t, Config{Level: slog.LevelWarn, Levels: map[string]slog.Level{"rpc": slog.LevelDebug, "topic": Off}})
	say := func(name string, log *slog.Logger) {
		log.Debug(name + " debug")
		log.Info(name + " info")
		log.Warn(name + " warn")
		log.Error(name + " error")
	}
	say("none", l.Logger())
	say("rpc", l.Logger().With(AreaKey, "rpc"))
	say("nested", l.Logger().With(AreaKey, "rpc").With("peer", "p").WithGroup("g").With(AreaKey, "topic"))
	say("topic", l.Logger().With("peer", "p", AreaKey, "topic"))
	say("other", l.Logger().With(AreaKey, "registry"))
	require.NoError(t, l.Close(t.Context()))
	var got []string
	for line := range strings.Lines(out.String()) {
		_, rest, ok := strings.Cut(line, `msg="`)
		require.True(t, ok, line)
		msg, _, _ := strings.Cut(rest, `"`)
		got = append(got, msg)
	}
	assert.Equal(t, []string{
		"none warn", "none error",
		"rpc debug", "rpc info", "rpc warn", "rpc error",
		"nested debug", "nested info", "nested warn", "nested error",
		"other warn", "other error",
	}, got)
}

func TestLevelsAndFormatChangeUnderLoggersInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, out := open(t, Config{})
		rpc := l.Logger().With(AreaKey, "rpc").WithGroup("call").With("id", 7)
		rpc.Debug("hidden")
		rpc.Info("as text")
		require.NoError(t, l.Configure(Config{JSON: true, Levels: map[string]slog.Level{"rpc": slog.LevelDebug}}))
		rpc.Debug("as JSON", "n", 1)
		l.Logger().Debug("hidden")
		require.NoError(t, l.Configure(Config{Level: slog.LevelError}))
		rpc.Warn("hidden")
		require.NoError(t, l.Close(t.Context()))

		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		require.Len(t, lines, 2, out.String())
		assert.Contains(t, lines[0], `level=INFO msg="as text" area=rpc call.id=7`)
		var record map[string]any
		require.NoError(t, json.Unmarshal([]byte(lines[1]), &record))
		assert.Equal(t, map[string]any{"id": 7.0, "n": 1.0}, record["call"])
		assert.Equal(t, "rpc", record["area"])
		assert.Equal(t, "DEBUG", record["level"])
	})
}

func TestNoticesOfTheLogHaveItsFormat(t *testing.T) {
	for name, asJSON := range map[string]bool{"text": false, "JSON": true} {
		t.Run(name, func(t *testing.T) {
			l, _ := open(t, Config{JSON: asJSON, Level: Off})
			defer l.Close(t.Context())
			line := string(l.notice("log lines dropped", 12))
			assert.Equal(t, 1, strings.Count(line, "\n"))
			if asJSON {
				var record struct {
					Area  string
					Lines int
				}
				require.NoError(t, json.Unmarshal([]byte(line), &record))
				assert.Equal(t, "log", record.Area)
				assert.Equal(t, 12, record.Lines)
				return
			}
			assert.Contains(t, line, `level=WARN msg="log lines dropped" area=log lines=12`)
		})
	}
}

func TestWhatIsLoggedCannotMakeALineOfItsOwn(t *testing.T) {
	l, out := open(t, Config{})
	l.Logger().Info("m", "peer", "a\nlevel=ERROR msg=forged\x1b[2J")
	require.NoError(t, l.Close(t.Context()))
	assert.Equal(t, 1, strings.Count(out.String(), "\n"))
	assert.NotContains(t, out.String(), "\x1b")
}

// history reads the files of a log, oldest first, and the names of those put aside.
func history(t *testing.T, path string) (lines, aside []string) {
	t.Helper()
	ext := filepath.Ext(path)
	names, err := filepath.Glob(strings.TrimSuffix(path, ext) + "-*")
	require.NoError(t, err)
	for _, name := range append(names, path) { // their names sort by time
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		if strings.HasSuffix(name, ".gz") {
			r, err := gzip.NewReader(bytes.NewReader(text))
			require.NoError(t, err)
			text, err = io.ReadAll(r)
			require.NoError(t, err)
		}
		for line := range strings.Lines(string(text)) {
			lines = append(lines, line)
		}
	}
	return lines, names
}

func TestAFullFileIsPutAsideAndNoLineIsLostOrTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs", "broker.log")
	l, _ := open(t, Config{JSON: true, File: File{Path: path, MaxSize: 1 << 20}, MaxLines: 1 << 20, MaxBytes: 1 << 30})
	fill := strings.Repeat("x", 1000)
	const total = 2600 // files of 1 MiB: two full ones and a beginning
	for i := range total {
		l.Logger().Info("m", "n", i, "fill", fill)
	}
	require.NoError(t, l.Close(t.Context()))
	lines, aside := history(t, path)
	require.Len(t, aside, 2)
	require.Len(t, lines, total)
	for i, line := range lines {
		var record struct{ N int }
		require.NoError(t, json.Unmarshal([]byte(line), &record))
		require.Equal(t, i, record.N)
	}
	for _, name := range append(aside, path) {
		info, err := os.Stat(name)
		require.NoError(t, err)
		assert.LessOrEqual(t, info.Size(), int64(1<<20))
		if runtime.GOOS != "windows" {
			assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		}
	}
}

// TestFilesPutAsideFastAreAllKept fills files as fast as it can: each has a name of its own.
func TestFilesPutAsideFastAreAllKept(t *testing.T) {
	dir := t.TempDir()
	r := newRotated(File{Path: filepath.Join(dir, "broker.log"), MaxSize: 1 << 20})
	chunk := bytes.Repeat([]byte("x"), chunkBytes)
	const total = 20 << 20
	for range total / chunkBytes {
		_, err := r.Write(chunk)
		require.NoError(t, err)
	}
	require.NoError(t, r.Close())
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	kept := int64(0)
	for _, name := range files {
		info, err := os.Stat(name)
		require.NoError(t, err)
		kept += info.Size()
	}
	assert.EqualValues(t, total, kept)
	assert.Len(t, files, 20)
}

func TestOldFilesGoAndTheOthersAreCompressed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "broker.log")
	ancient := filepath.Join(dir, "broker-2001-02-03T04-05-06.789.log")
	stranger := filepath.Join(dir, "broker-notes.log")
	require.NoError(t, os.WriteFile(ancient, []byte("old\n"), 0o600))
	require.NoError(t, os.WriteFile(stranger, []byte("mine\n"), 0o600))
	l, _ := open(t, Config{File: File{Path: path, MaxSize: 1 << 20, MaxBackups: 2, MaxAge: 24 * time.Hour, Compress: true}, MaxLines: 1 << 20, MaxBytes: 1 << 30})
	fill := strings.Repeat("x", 1000)
	for range 4000 { // four files
		l.Logger().Info("m", "fill", fill)
	}
	require.NoError(t, l.Close(t.Context()))
	require.Eventually(t, func() bool { // tidying up is done beside the writing
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		zipped, zerr := filepath.Glob(filepath.Join(dir, "*.gz"))
		return err == nil && zerr == nil && len(files) == 4 && len(zipped) == 2
	}, time.Minute, 10*time.Millisecond)
	assert.NoFileExists(t, ancient)
	assert.FileExists(t, stranger)
}

func TestAFileThatCannotBeOpenedIsRefusedAndTheLogStays(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(io.Discard, Config{File: File{Path: dir}})
	require.ErrorContains(t, err, dir)
	l, out := open(t, Config{})
	require.Error(t, l.Configure(Config{Level: slog.LevelError, File: File{Path: dir}}))
	l.Logger().Info("still here")
	require.NoError(t, l.Close(t.Context()))
	assert.Contains(t, out.String(), "still here")
}

func TestLogMovesToAFileAndBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "broker.log")
	l, out := open(t, Config{})
	inFile := func() string {
		text, err := os.ReadFile(path)
		if err != nil {
			return ""
		}
		return string(text)
	}
	for _, step := range []struct {
		message string
		file    string
		holds   func() string
	}{{"one", "", out.String}, {"two", path, inFile}, {"three", "", out.String}} {
		require.NoError(t, l.Configure(Config{File: File{Path: step.file}}))
		l.Logger().Info(step.message)
		require.Eventually(t, func() bool { return strings.Contains(step.holds(), step.message) }, time.Minute, time.Millisecond)
	}
	require.NoError(t, l.Close(t.Context()))
	assert.NotContains(t, out.String(), "two")
	assert.NotContains(t, inFile(), "three")
}

func TestReopenWritesToAFileOfTheSameName(t *testing.T) {
	dir := t.TempDir()
	path, moved := filepath.Join(dir, "broker.log"), filepath.Join(dir, "moved")
	l, _ := open(t, Config{File: File{Path: path}})
	l.Logger().Info("one")
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(path)
		return err == nil && bytes.Contains(text, []byte("one"))
	}, time.Minute, time.Millisecond)
	if runtime.GOOS == "windows" {
		require.NoError(t, l.Close(t.Context()))
		return // an open file cannot be moved there
	}
	require.NoError(t, os.Rename(path, moved))
	l.Reopen()
	l.Logger().Info("two")
	require.NoError(t, l.Close(t.Context()))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(text), "two")
	assert.NotContains(t, string(text), "one")
}

func TestADiskThatFailsDoesNotEndTheLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	path := filepath.Join(dir, "broker.log")
	l, out := open(t, Config{File: File{Path: path}})
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.WriteFile(dir, nil, 0o600)) // no directory any more
	for i := range 5 {
		l.Logger().Info("m", "n", i)
	}
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "cannot be written") }, time.Minute, time.Millisecond)
	require.NoError(t, l.Close(t.Context()))
	assert.Equal(t, 1, strings.Count(out.String(), "\n"), out.String())
}

func TestNothingIsLostWhileTheLogIsConfigured(t *testing.T) {
	const writers, each = 4, 1000
	dir := t.TempDir()
	paths := []string{"", filepath.Join(dir, "a.log"), filepath.Join(dir, "b.log")}
	l, out := open(t, Config{MaxLines: 1 << 20, MaxBytes: 1 << 30})
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			log := l.Logger().With(AreaKey, "rpc")
			for i := range each {
				log.Info("m", "n", i)
			}
		})
	}
	for i := range 60 {
		require.NoError(t, l.Configure(Config{
			JSON: i%2 == 0, File: File{Path: paths[i%3]}, Level: Off, Levels: map[string]slog.Level{"rpc": slog.LevelInfo},
			MaxLines: 1 << 20, MaxBytes: 1 << 30,
		}))
		l.Reopen()
	}
	all.Wait()
	require.NoError(t, l.Close(t.Context()))
	text := out.String()
	for _, path := range paths[1:] {
		part, err := os.ReadFile(path)
		require.NoError(t, err)
		text += string(part)
	}
	assert.Equal(t, writers*each, strings.Count(text, "\n"))
}

func benchmarkLogger(b *testing.B, log *slog.Logger) {
	b.Helper()
	log = log.With(AreaKey, "conn")
	err := fmt.Errorf("the peer is gone: %w", io.EOF)
	b.ReportAllocs()
	for b.Loop() {
		log.Warn("connection closed", "peer", "127.0.0.1:49152", "err", err)
	}
}

func fileFor(b *testing.B) File {
	return File{Path: filepath.Join(b.TempDir(), "log"), MaxSize: 1 << 30}
}

func BenchmarkLoggerToAFile(b *testing.B) {
	l, err := Open(io.Discard, Config{File: fileFor(b), MaxLines: 1 << 20, MaxBytes: 256 << 20})
	require.NoError(b, err)
	benchmarkLogger(b, l.Logger())
	require.NoError(b, l.Close(b.Context()))
}

// BenchmarkWithoutAQueue is what it is compared with.
func BenchmarkWithoutAQueue(b *testing.B) {
	f, err := os.Create(fileFor(b).Path)
	require.NoError(b, err)
	defer f.Close()
	benchmarkLogger(b, slog.New(slog.NewTextHandler(f, nil)))
}

func BenchmarkLevelThatIsOff(b *testing.B) {
	l, err := Open(io.Discard, Config{Levels: map[string]slog.Level{"rpc": slog.LevelDebug}})
	require.NoError(b, err)
	log := l.Logger().With(AreaKey, "conn")
	b.ReportAllocs()
	for b.Loop() {
		log.Debug("message ignored", "peer", "127.0.0.1:49152")
	}
	require.NoError(b, l.Close(b.Context()))
}
