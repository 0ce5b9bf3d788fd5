//go:build unix

package jetstream

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// TestAppendWithoutAnswerIsUnknown stops the server: what it was given is of unknown fate
// and is not sent again; what still waits is not, and can be taken back.
func TestAppendWithoutAnswerIsUnknown(t *testing.T) {
	url, p := startServerAt(t, t.TempDir(), -1)
	s := open(t, Config{URL: url, Timeout: 6 * time.Second})
	l, err := s.Open(within(t), "t", "1", abstract.LogConfig{})
	require.NoError(t, err)
	require.NoError(t, p.Signal(syscall.SIGSTOP))

	ctx, cancel := context.WithCancel(context.Background())
	taken, waiting := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := l.Append(context.Background(), []abstract.LogEntry{{Data: []byte("taken")}})
		taken <- err
	}()
	require.Eventually(t, func() bool { return l.(*log).queue.busy() }, time.Minute, time.Millisecond)
	go func() {
		_, err := l.Append(ctx, []abstract.LogEntry{{Data: []byte("waiting")}})
		waiting <- err
	}()
	require.Eventually(t, func() bool { return l.(*log).queue.length() == 1 }, time.Minute, time.Millisecond)
	cancel()
	var e *abstract.Error
	require.ErrorAs(t, <-waiting, &e)
	assert.Equal(t, abstract.Cancelled, e.Code)
	assert.Equal(t, abstract.SentNo, e.Sent)

	err = <-taken
	assert.Equal(t, abstract.UnknownFate, abstract.CodeOf(err), "%v", err)
	require.ErrorAs(t, err, &e)
	assert.Equal(t, abstract.SentUnknown, e.Sent)
	assert.Contains(t, e.Message, "before you try again")

	require.NoError(t, p.Signal(syscall.SIGCONT))
	ctx = within(t)
	for {
		if _, err = l.Append(ctx, []abstract.LogEntry{{Data: []byte("after")}}); err == nil {
			break
		}
		require.NoError(t, ctx.Err())
	}
	list, err := l.Read(ctx, 1, 100, 1000)
	require.NoError(t, err)
	count := map[string]int{}
	for _, entry := range list {
		count[string(entry.Data)]++
	}
	assert.LessOrEqual(t, count["taken"], 1, "it was not sent again")
	assert.Zero(t, count["waiting"])
}

// busy says that somebody publishes and nothing waits.
func (q *queue) busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running && len(q.waiting) == 0
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}
