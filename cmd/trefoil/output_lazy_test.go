package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// slowFile counts how often it is written to. Safe for concurrent use.
type slowFile struct {
	mu     sync.Mutex
	all    bytes.Buffer
	writes int
}

func (f *slowFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	return f.all.Write(p)
}

func (f *slowFile) now() (text string, writes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all.String(), f.writes
}

func TestLazyOutputIsWrittenTogetherAndSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := new(slowFile)
		l := newLazyWriter(file)
		for range 100 {
			_, err := l.Write([]byte("line\n"))
			require.NoError(t, err)
		}
		text, _ := file.now()
		assert.Empty(t, text)
		time.Sleep(lazyFlush)
		synctest.Wait()
		text, writes := file.now()
		assert.Equal(t, strings.Repeat("line\n", 100), text)
		assert.Equal(t, 1, writes)
		_, err := l.Write([]byte("alone\n"))
		require.NoError(t, err)
		time.Sleep(lazyFlush)
		synctest.Wait()
		text, _ = file.now()
		assert.True(t, strings.HasSuffix(text, "alone\n"), "nothing behind it is waited for")
		_, err = l.Write([]byte("last\n"))
		require.NoError(t, err)
		require.NoError(t, l.flush())
		text, _ = file.now()
		assert.True(t, strings.HasSuffix(text, "last\n"))
		time.Sleep(time.Second) // the timer's flush finds nothing
	})
}

func TestLazyOutputTellsLaterThatItCouldNotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLazyWriter(fullDisk{})
		_, err := l.Write([]byte("x"))
		require.NoError(t, err)
		time.Sleep(time.Second)
		synctest.Wait()
		_, err = l.Write([]byte("x"))
		assert.ErrorContains(t, err, "the disk is full")
		assert.ErrorContains(t, l.flush(), "the disk is full")
	})
}
