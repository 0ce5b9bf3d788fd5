package stream_test

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"trefoil/abstract"
	"trefoil/business/stream"
	"trefoil/concrete/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reserve reserves for a message and has it written at once.
func reserve(ctx context.Context, s *stream.Stream, data message.Raw) error {
	err := s.Reserve(ctx, message.StreamCost(data))
	if err == nil {
		s.Written(message.StreamCost(data))
	}
	return err
}

func text(n int) message.Raw { return message.Raw(`"` + strings.Repeat("x", n-2) + `"`) }

func TestSenderWithoutCreditWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stream.New(100, 0)
		require.NoError(t, reserve(t.Context(), s, text(1000)), "who has any credit may send a message, however large")
		sent := make(chan error, 1)
		go func() { sent <- reserve(context.Background(), s, text(10)) }()
		synctest.Wait()
		assert.Empty(t, sent)
		s.Credit(964) // still nothing: the debt is paid
		synctest.Wait()
		assert.Empty(t, sent)
		s.Credit(1)
		synctest.Wait()
		require.NoError(t, <-sent)
	})
}

func TestSendersWaitNoLongerThanTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := reserve(ctx, stream.New(0, 0), text(10))
		require.ErrorIs(t, err, abstract.ErrTimeout)
	})
}

func TestPeerIsHeldToItsCredit(t *testing.T) {
	s := stream.New(0, 1000)
	require.NoError(t, s.Receive(text(936))) // 64 more for keeping it
	assert.ErrorIs(t, s.Receive(text(10)), abstract.ErrOverloaded)
	_, grant, err := s.Next(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 1000, grant)
	require.NoError(t, s.Receive(text(10)))
}

func TestCreditIsGivenForHalfAWindowAtOnce(t *testing.T) {
	s := stream.New(0, 1000)
	var grants []int64
	for range 8 {
		require.NoError(t, s.Receive(text(36)))
		_, grant, err := s.Next(t.Context())
		require.NoError(t, err)
		grants = append(grants, grant)
	}
	assert.Equal(t, []int64{0, 0, 0, 0, 500, 0, 0, 0}, grants)
}

func TestEndComesAfterWhatWasSentBefore(t *testing.T) {
	why := errors.New("why")
	for name, end := range map[string]error{"well": nil, "badly": why} {
		t.Run(name, func(t *testing.T) {
			s := stream.New(0, 0)
			require.NoError(t, s.Receive(message.Raw("1")))
			s.Finish(end)
			require.ErrorIs(t, s.Receive(message.Raw("2")), abstract.ErrInvalidMessage)
			data, _, err := s.Next(t.Context())
			require.NoError(t, err)
			assert.Equal(t, "1", string(data))
			want := end
			if end == nil {
				want = io.EOF
			}
			for range 2 {
				_, _, err = s.Next(t.Context())
				assert.Equal(t, want, err)
			}
		})
	}
}

func TestCloseTellsEverybodyWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, why := stream.New(0, 0), errors.New("gone")
		ended := make(chan error, 3)
		go func() { ended <- reserve(context.Background(), s, text(10)) }()
		go func() { ended <- reserve(context.Background(), s, text(10)) }()
		go func() {
			_, _, err := s.Next(context.Background())
			ended <- err
		}()
		synctest.Wait()
		require.True(t, s.Close(why))
		require.False(t, s.Close(errors.New("later")))
		for range 3 {
			assert.Equal(t, why, <-ended)
		}
		assert.NoError(t, s.Receive(text(10)), "the peer did not know yet")
		assert.False(t, s.CloseSend())
	})
}

func TestNothingIsSentAfterCloseSend(t *testing.T) {
	s := stream.New(1000, 0)
	require.True(t, s.CloseSend())
	require.False(t, s.CloseSend())
	assert.ErrorIs(t, reserve(t.Context(), s, text(10)), abstract.ErrInvalidOp)
}

// TestTwoEndsNeverStallNorOverrun joins two ends by a network that delays, and reads
// and writes in any order: whoever wants to send can do so in the end, nobody sends
// without credit, and all arrives in order.
func TestTwoEndsNeverStallNorOverrun(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := rapid.Int64Range(1, 2000).Draw(t, "window")
		a, b := stream.New(window, 0), stream.New(0, window)
		var wire []message.Raw // from a to b
		var credits []int64    // from b to a
		now, cancel := context.WithCancel(context.Background())
		cancel()
		sent, got, kept := 0, 0, int64(0)
		send := func() {
			data := message.Raw(strconv.Itoa(sent))
			if n := rapid.IntRange(0, 3000).Draw(t, "size"); n > 10 {
				data = append(data, strings.Repeat(" ", n)...)
			}
			if reserve(now, a, data) == nil {
				wire = append(wire, data)
				sent++
			}
		}
		deliver := func() {
			if len(wire) > 0 {
				require.NoError(t, b.Receive(wire[0]))
				kept += message.StreamCost(wire[0])
				wire = wire[1:]
				require.Less(t, kept, window+4000, "no more than the window and one message waits")
			}
		}
		read := func() bool {
			data, grant, err := b.Next(now)
			if err != nil {
				return false
			}
			require.Equal(t, strconv.Itoa(got), strings.TrimSpace(string(data)))
			got++
			kept -= message.StreamCost(data)
			if grant > 0 {
				credits = append(credits, grant)
			}
			return true
		}
		credit := func() {
			if len(credits) > 0 {
				a.Credit(credits[0])
				credits = credits[1:]
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"send":    func(*rapid.T) { send() },
			"deliver": func(*rapid.T) { deliver() },
			"read":    func(*rapid.T) { read() },
			"credit":  func(*rapid.T) { credit() },
		})
		for len(wire) > 0 {
			deliver()
		}
		for read() {
		}
		for len(credits) > 0 {
			credit()
		}
		require.Equal(t, sent, got)
		require.NoError(t, reserve(now, a, text(10)), "all is read, so there is credit")
	})
}
