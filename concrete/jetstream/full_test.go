package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// TestDiskIsNotFilled wants more to be kept free than there is.
func TestDiskIsNotFilled(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir(), KeepFree: 1 << 60})
	if _, known := freeSpace(t.TempDir()); !known {
		return // only the quota is left there
	}
	l, err := s.Open(within(t), "t", "1", abstract.LogConfig{})
	require.NoError(t, err)
	_, err = l.Append(within(t), entries(1, 10))
	assert.Equal(t, abstract.Overloaded, abstract.CodeOf(err), "%v", err)
	assert.ErrorContains(t, err, "there is no room")
	var e *abstract.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, abstract.SentNo, e.Sent)
}

// appendUntilRefused appends until something fails, and says what: first what was under
// way, then what came after, of that topic and of another.
func appendUntilRefused(dir string) int {
	fail := func(err error) int { fmt.Println(err); return 1 }
	s, err := Open(context.Background(), Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fail(err)
	}
	l, err := s.Open(context.Background(), "t", "1", abstract.LogConfig{})
	if err != nil {
		return fail(err)
	}
	other, err := s.Open(context.Background(), "other", "1", abstract.LogConfig{})
	if err != nil {
		return fail(err)
	}
	acked := 0
	for ; err == nil && acked < 1000; acked++ {
		_, err = l.Append(context.Background(), entries(1, 100<<10))
	}
	say := func(err error) {
		var e *abstract.Error
		if errors.As(err, &e) {
			fmt.Println(int(e.Code), e.Sent, e.Message)
			return
		}
		fmt.Println(err)
	}
	say(err)
	_, err = l.Append(context.Background(), entries(1, 10))
	say(err)
	_, err = other.Append(context.Background(), entries(1, 10))
	say(err)
	if err := s.Close(); err != nil {
		return fail(err)
	}
	fmt.Println("acked", acked-1)
	return 0
}

// refusedDir names the directory of a child that may not write large files.
const refusedDir = "TREFOIL_JETSTREAM_REFUSED"
