package stream_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/stream"
	"trefoil/concrete/message"
)

// wire is a connection that keeps what is sent, and writes it when it is told to.
type wire struct {
	mu      sync.Mutex
	sent    []abstract.MType
	written []func()
}

func (w *wire) SendStream(m abstract.BaseMessage, written func()) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, m.Type())
	if written != nil {
		w.written = append(w.written, written)
	}
	return nil
}

// write writes what waits.
func (w *wire) write() {
	w.mu.Lock()
	all := w.written
	w.written = nil
	w.mu.Unlock()
	for _, written := range all {
		written()
	}
}

// took returns what was sent, and forgets it.
func (w *wire) took() []abstract.MType {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := w.sent
	w.sent = nil
	return sent
}

// over makes ends of streams on a connection.
func over(t *testing.T, w *wire, set *stream.Set, opener bool) func(id string) *stream.End {
	return func(id string) *stream.End {
		e, err := stream.NewEnd(stream.Config{ID: id, Op: "test", Context: t.Context(), Wire: w, Set: set, Opener: opener, Credit: 1 << 30})
		require.NoError(t, err)
		e.Bind(func(error) {})
		return e
	}
}

func come(set *stream.Set, id string, data message.Raw) error {
	_, err := set.Take(&message.StreamMessage{Header: message.ID(id), Data: data})
	return err
}

// TestSenderWithoutRoomIsToldOfTheLoss: what was queued on a connection that is lost is
// never written, and its room never given back.
func TestSenderWithoutRoomIsToldOfTheLoss(t *testing.T) {
	for name, opener := range map[string]bool{"who opens it": true, "who serves it": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set := stream.NewSet(1<<20, 2000, nil)
				open := over(t, new(wire), set, opener)
				require.NoError(t, open("1").SendRaw(text(900)))
				waiting := open("2")
				sent := make(chan error, 1)
				go func() { sent <- waiting.SendRaw(text(900)) }()
				synctest.Wait()
				require.Empty(t, sent)
				set.CloseAll(abstract.ErrDisconnected)
				require.ErrorIs(t, <-sent, abstract.ErrDisconnected)
			})
		})
	}
}

// TestCancelDoesNotOvertakeTheOpening: it would be about a stream that is not there yet.
func TestCancelDoesNotOvertakeTheOpening(t *testing.T) {
	w, set := new(wire), stream.NewSet(1<<20, 1<<20, nil)
	open := over(t, w, set, true)
	for id, first := range map[string]bool{"1": true, "2": false} {
		e := open(id)
		require.NoError(t, e.Open(&message.StreamRequest{Header: message.ID(id)}))
		require.Equal(t, []abstract.MType{abstract.ReqStream}, w.took())
		if first {
			w.write()
		}
		require.NoError(t, e.Close())
		if !first {
			assert.Empty(t, w.took())
			w.write()
		}
		assert.Equal(t, []abstract.MType{abstract.Cancel}, w.took())
	}
}

func TestOpeningWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, set := new(wire), stream.NewSet(1<<20, 2000, nil)
		open := over(t, w, set, true)
		large := &message.StreamRequest{Parameters: text(900)}
		require.NoError(t, open("1").Open(large))
		opened := make(chan error, 2)
		for _, id := range []string{"2", "3"} {
			e := open(id)
			go func() { opened <- e.Open(large) }()
			synctest.Wait()
			require.Empty(t, opened)
			if id == "2" {
				require.NoError(t, e.Close())
				require.ErrorIs(t, <-opened, abstract.ErrCancelled, "nobody wants it any more")
			}
		}
		assert.Equal(t, []abstract.MType{abstract.ReqStream}, w.took()[:1])
		w.write()
		require.NoError(t, <-opened)
	})
}

// TestUnreadMessagesOfAConnectionAreBounded: who has any credit may send a message, however
// large, but not in every stream at once.
func TestUnreadMessagesOfAConnectionAreBounded(t *testing.T) {
	w, set := new(wire), stream.NewSet(1<<20, 1<<20, stream.NewBudget(300_000))
	open := over(t, w, set, false)
	one, two, three := open("1"), open("2"), open("3")
	for _, id := range []string{"1", "2"} {
		require.NoError(t, come(set, id, text(10)))
		require.NoError(t, come(set, id, text(200_000)))
	}
	require.NoError(t, one.Context().Err())
	require.NoError(t, come(set, "3", text(60_000)), "a window is everybody's")
	require.NoError(t, come(set, "3", text(60_000)))
	require.ErrorIs(t, three.Receive(nil), abstract.ErrOverloaded)
	require.NoError(t, two.Close())
	for _, n := range []int{10, 200_000} {
		raw, err := one.ReceiveRaw()
		require.NoError(t, err)
		require.Len(t, raw, n)
	}
	open("4")
	open("5")
	for _, id := range []string{"4", "5"} {
		require.NoError(t, come(set, id, text(190_000)), "what was read, or dropped, counts no more")
		require.NotNil(t, set.Find(id))
	}
	open("6")
	require.NoError(t, come(set, "6", text(190_000)))
	assert.Nil(t, set.Find("6"))
}

// TestCreditGivenAtTheEndIsNoFlood: another goroutine may have read, and so given credit,
// while the stream was ended.
func TestCreditGivenAtTheEndIsNoFlood(t *testing.T) {
	w, set := new(wire), stream.NewSet(1<<20, 1<<20, nil)
	open := over(t, w, set, false)
	for range 50 {
		e := open("1")
		require.NoError(t, come(set, "1", text(stream.DefaultWindow)))
		e.Finish(nil)
		require.NoError(t, come(set, "1", text(stream.DefaultWindow)))
	}
}

// TestCancelEndsTheContextBeforeAnythingIsWritten: who writes may have to write for others,
// and the handler waits meanwhile.
func TestCancelEndsTheContextBeforeAnythingIsWritten(t *testing.T) {
	w, set := new(asking), stream.NewSet(1<<20, 1<<20, nil)
	e, err := stream.NewEnd(stream.Config{ID: "1", Op: "test", Context: t.Context(), Wire: w, Set: set})
	require.NoError(t, err)
	w.whether = e.Context()
	require.True(t, set.Cancel("1"))
	require.Equal(t, []error{context.Canceled}, w.ended)
	var own *abstract.Error
	require.ErrorAs(t, context.Cause(e.Context()), &own)
	assert.Equal(t, abstract.Cancelled, own.Code)
}

// asking is a wire that notes whether a context has ended when something is sent.
type asking struct {
	whether context.Context
	ended   []error
}

func (w *asking) SendStream(abstract.BaseMessage, func()) error {
	w.ended = append(w.ended, w.whether.Err())
	return nil
}
