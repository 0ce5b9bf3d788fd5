package stream_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
	"trefoil/business/stream"
	"trefoil/concrete/message"
)

// fakeWire keeps what is sent; what is to be told when it is written waits for write.
type fakeWire struct {
	mu      sync.Mutex
	sent    []abstract.BaseMessage
	waiting []func()
	problem error
}

func (w *fakeWire) SendStream(m abstract.BaseMessage, written func()) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.problem != nil {
		return w.problem
	}
	w.sent = append(w.sent, m)
	if written != nil {
		w.waiting = append(w.waiting, written)
	}
	return nil
}

// write has everything written.
func (w *fakeWire) write() {
	w.mu.Lock()
	waiting := w.waiting
	w.waiting = nil
	w.mu.Unlock()
	for _, fn := range waiting {
		fn()
	}
}

// take returns what was sent since the last time.
func (w *fakeWire) take() []abstract.BaseMessage {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := w.sent
	w.sent = nil
	return sent
}

const id = "id"

func dataOf(n int) *message.StreamMessage {
	return &message.StreamMessage{Header: message.ID(id), Data: text(max(2, n))}
}

// newEnd makes an end in a set of its own.
func newEnd(t require.TestingT, cfg stream.Config) (*stream.End, *stream.Set, *fakeWire) {
	w := new(fakeWire)
	cfg.ID, cfg.Wire, cfg.Set = id, w, stream.NewSet(1<<20, 32<<20, nil)
	if cfg.Context == nil {
		cfg.Context = context.Background()
	}
	e, err := stream.NewEnd(cfg)
	require.NoError(t, err)
	return e, cfg.Set, w
}

func TestOneStreamOfAnIDAtATime(t *testing.T) {
	e, set, w := newEnd(t, stream.Config{})
	_, err := stream.NewEnd(stream.Config{ID: id, Wire: w, Set: set, Context: t.Context()})
	require.ErrorIs(t, err, abstract.ErrInvalidMessage)
	e.Finish(nil)
	e.Finish(abstract.Errorf(abstract.Internal, "twice"))
	require.Len(t, w.take(), 1)
	_, err = stream.NewEnd(stream.Config{ID: id, Wire: w, Set: set, Context: t.Context()})
	require.NoError(t, err)
	why := errors.New("lost")
	set.CloseAll(why)
	_, err = stream.NewEnd(stream.Config{ID: "other", Wire: w, Set: set, Context: t.Context()})
	require.Equal(t, why, err)
}

func TestStreamEndsWithItsContextAndTellsOnce(t *testing.T) {
	for name, opener := range map[string]bool{"who opens it": true, "who serves it": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				e, set, w := newEnd(t, stream.Config{Context: ctx, Opener: opener})
				var told []error
				e.Bind(func(why error) { told = append(told, why) })
				require.ErrorIs(t, e.Receive(nil), abstract.ErrTimeout)
				require.ErrorIs(t, e.Send(1), abstract.ErrTimeout)
				<-e.Context().Done()
				require.NoError(t, e.Close())
				e.Finish(nil)
				set.CloseAll(io.EOF)
				synctest.Wait()
				require.Len(t, told, 1)
				require.ErrorIs(t, told[0], abstract.ErrTimeout)
				sent := w.take()
				require.Len(t, sent, 1)
				want := abstract.StreamEnd
				if opener {
					want = abstract.Cancel
				}
				require.Equal(t, want, sent[0].Type())
				require.Zero(t, set.Len())
			})
		})
	}
}

// TestNothingButAGoodEndIsEOF: connections end with io.EOF, too.
func TestNothingButAGoodEndIsEOF(t *testing.T) {
	for name, opener := range map[string]bool{"who opens it": true, "who serves it": false} {
		t.Run(name, func(t *testing.T) {
			e, set, _ := newEnd(t, stream.Config{Opener: opener})
			set.CloseAll(&abstract.Error{Code: abstract.Disconnected, Err: io.EOF})
			err := e.Receive(nil)
			require.ErrorIs(t, err, abstract.ErrDisconnected)
			require.NotErrorIs(t, err, io.EOF)
			ctx, cancel := context.WithCancelCause(t.Context())
			e, _, _ = newEnd(t, stream.Config{Opener: opener, Context: ctx})
			over := make(chan struct{})
			e.Bind(func(error) { close(over) })
			cancel(&abstract.Error{Code: abstract.Unavailable, Err: io.EOF})
			<-over
			require.NotErrorIs(t, e.Receive(nil), io.EOF)
		})
	}
}

// TestContextIsOverBeforeReceiveSaysSo: who is told of an end by Receive can tell it from
// a message that does not fit.
func TestContextIsOverBeforeReceiveSaysSo(t *testing.T) {
	ends := map[string]func(e *stream.End, set *stream.Set){
		"by us": func(e *stream.End, _ *stream.Set) { _ = e.Close() },
		"by the other side": func(_ *stream.End, set *stream.Set) {
			_, _ = set.Take(&message.EndNotice{Header: message.ID(id), Code: abstract.Denied})
		},
		"with the connection": func(_ *stream.End, set *stream.Set) { set.CloseAll(io.EOF) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			for range 2000 {
				e, set, _ := newEnd(t, stream.Config{Opener: true})
				over := make(chan error, 1)
				go func() {
					_ = e.Receive(nil)
					over <- e.Context().Err()
				}()
				end(e, set)
				require.Error(t, <-over)
			}
		})
	}
}

func TestBindAfterTheEndTellsAtOnce(t *testing.T) {
	e, set, _ := newEnd(t, stream.Config{Opener: true})
	_, err := set.Take(&message.EndNotice{Header: message.ID(id), Code: abstract.Denied})
	require.NoError(t, err)
	var told error
	e.Bind(func(why error) { told = why })
	require.ErrorIs(t, told, abstract.ErrDenied)
}

func TestOpenerLearnsWhetherItsStreamIsTaken(t *testing.T) {
	tests := map[string]struct {
		first abstract.BaseMessage
		code  abstract.RCode
	}{
		"taken":              {&message.CreditNotice{Header: message.ID(id), Bytes: 1}, abstract.OK},
		"by a message":       {dataOf(10), abstract.OK},
		"refused":            {&message.EndNotice{Header: message.ID(id), Code: abstract.Draining}, abstract.Draining},
		"ended before taken": {&message.EndNotice{Header: message.ID(id)}, abstract.InvalidMessage},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var answers []error
			_, set, _ := newEnd(t, stream.Config{Opener: true, Answer: func(refusal *abstract.Error) {
				if refusal == nil {
					answers = append(answers, nil)
				} else {
					answers = append(answers, refusal)
				}
			}})
			for _, m := range []abstract.BaseMessage{tt.first, &message.CreditNotice{Header: message.ID(id), Bytes: 1}} {
				_, err := set.Take(m)
				require.NoError(t, err)
			}
			require.Len(t, answers, 1)
			require.Equal(t, tt.code, abstract.CodeOf(answers[0]))
		})
	}
}

func TestMessageThatCannotBeSentCostsNoCredit(t *testing.T) {
	e, _, w := newEnd(t, stream.Config{Credit: 100})
	w.problem = abstract.Errorf(abstract.TooLarge, "no")
	for range 5 {
		require.ErrorIs(t, e.Send(repeat(500)), abstract.ErrTooLarge)
	}
	w.problem = nil
	require.NoError(t, e.Send(1))
	require.ErrorIs(t, e.Send(make(chan int)), abstract.ErrInvalidParams, "this is no JSON")
}

func repeat(n int) string { return string(text(n)) }

// TestMuchOfAStreamWaitsInTheStream: whatever credit it has, so much of it is on its way to
// the socket and no more.
func TestMuchOfAStreamWaitsInTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, set, w := newEnd(t, stream.Config{Credit: 1 << 30})
		other, err := stream.NewEnd(stream.Config{ID: "other", Wire: w, Set: set, Credit: 1 << 30, Context: t.Context()})
		require.NoError(t, err)
		sent := 0
		ended := make(chan error, 1)
		go func() {
			for {
				if err := e.Send(repeat(1000)); err != nil {
					ended <- err
					return
				}
				sent++
			}
		}()
		synctest.Wait()
		assert.LessOrEqual(t, sent, 66)
		require.NoError(t, other.Send(1), "it does not hold up the others")
		before := sent
		w.write()
		synctest.Wait()
		assert.Greater(t, sent, before)
		require.NoError(t, e.Close())
		require.ErrorIs(t, <-ended, abstract.ErrCancelled)
	})
}

// TestAllStreamsTogetherHaveARoom of bytes that wait to be written; who comes first gets
// it first.
func TestAllStreamsTogetherHaveARoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(fakeWire)
		set := stream.NewSet(1<<20, 100_000, nil) // room for half of that
		var done []string
		var mu sync.Mutex
		ends := make(map[string]*stream.End)
		for _, name := range []string{"a", "b", "c", "d"} {
			e, err := stream.NewEnd(stream.Config{ID: name, Wire: w, Set: set, Credit: 1 << 30, Context: t.Context()})
			require.NoError(t, err)
			ends[name] = e
			go func() {
				if e.Send(repeat(40_000)) == nil {
					mu.Lock()
					done = append(done, name)
					mu.Unlock()
				}
			}()
			synctest.Wait()
		}
		require.Equal(t, []string{"a"}, done)
		require.NoError(t, ends["b"].Close()) // who gives up makes way
		w.write()
		synctest.Wait()
		require.Equal(t, []string{"a", "c"}, done)
		w.write()
		synctest.Wait()
		require.Equal(t, []string{"a", "c", "d"}, done)
	})
}

// TestWhateverAPeerSaysTheRulesHold lets a peer say anything in any order to an end
// that is used in any order, and compares it with a simple model.
func TestWhateverAPeerSaysTheRulesHold(t *testing.T) {
	for name, opener := range map[string]bool{"who opens it": true, "who serves it": false} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { whateverAPeerSays(t, opener) })
		})
	}
}

func whateverAPeerSays(t *rapid.T, opener bool) {
	const window = 2000
	e, set, w := newEnd(t, stream.Config{Credit: 500, Window: window, Opener: opener})
	overs := 0
	e.Bind(func(error) { overs++ })
	var (
		credit, allowed     = int64(500), int64(window)
		queue               []int64 // costs of what was taken and not received
		finished, over      bool    // the peer sends nothing more; all is over
		gone                bool    // and nothing can be received
		closedSend          bool
		sends, ends, closes int
	)
	take := func(m abstract.BaseMessage) {
		known, err := set.Take(m)
		require.NoError(t, err)
		require.Equal(t, !over, known)
	}
	abort := func() { over, gone, queue = true, true, nil }
	t.Repeat(map[string]func(*rapid.T){
		"peer sends": func(t *rapid.T) {
			m := dataOf(rapid.IntRange(2, 1500).Draw(t, "size"))
			take(m)
			switch {
			case over:
			case finished, allowed <= 0:
				abort()
				closes++
			default:
				allowed -= message.StreamCost(m.Data)
				queue = append(queue, message.StreamCost(m.Data))
			}
		},
		"peer gives credit": func(t *rapid.T) {
			n := rapid.Int64Range(0, 1<<31).Draw(t, "bytes")
			take(&message.CreditNotice{Header: message.ID(id), Bytes: n})
			credit += n
		},
		"peer ends": func(t *rapid.T) {
			if rapid.IntRange(0, 5).Draw(t, "really") > 0 {
				return
			}
			take(&message.EndNotice{Header: message.ID(id), Code: rapid.SampledFrom([]abstract.RCode{abstract.OK, abstract.Denied}).Draw(t, "code")})
			finished = true
			if opener {
				over = true
			}
		},
		"peer cancels": func(t *rapid.T) {
			if rapid.IntRange(0, 9).Draw(t, "really") > 0 {
				return
			}
			require.Equal(t, !opener && !over, set.Cancel(id))
			if !opener && !over {
				abort()
				closes++
			}
		},
		"we send": func(t *rapid.T) {
			if !over && !closedSend && credit <= 0 {
				return // it would wait
			}
			v := repeat(rapid.IntRange(2, 900).Draw(t, "size"))
			raw, err := message.Encode(v)
			require.NoError(t, err)
			err = e.Send(v)
			require.Equal(t, !over && !closedSend, err == nil, "%v", err)
			if err == nil {
				credit -= message.StreamCost(raw)
				sends++
				w.write()
			}
		},
		"we receive": func(t *rapid.T) {
			if len(queue) == 0 && !finished && !over {
				return // it would wait
			}
			err := e.Receive(nil)
			switch {
			case gone:
				require.Error(t, err)
			case len(queue) > 0:
				require.NoError(t, err)
				queue = queue[1:]
			default:
				require.Error(t, err)
			}
		},
		"we say that we send no more": func(t *rapid.T) {
			if rapid.IntRange(0, 5).Draw(t, "really") > 0 {
				return
			}
			require.NoError(t, e.CloseSend())
			if opener && !over && !closedSend {
				ends++
			}
			closedSend = true
		},
		"we end it": func(t *rapid.T) {
			if rapid.IntRange(0, 9).Draw(t, "really") > 0 {
				return
			}
			if opener {
				require.NoError(t, e.Close())
			} else {
				e.Finish(nil)
			}
			if !over {
				closes++
				abort()
			}
		},
		"": func(t *rapid.T) {
			for _, m := range w.take() {
				switch m := m.(type) {
				case *message.StreamMessage:
					sends--
				case *message.CreditNotice:
					allowed += m.Bytes
				case *message.EndNotice:
					if opener {
						ends--
					} else {
						closes--
					}
				case *message.Cancel:
					require.True(t, opener)
					closes--
				}
			}
			require.Zero(t, sends)
			require.Zero(t, ends)
			require.Zero(t, closes, "its end is told once, and only when it is ours to tell")
			waiting := int64(0)
			for _, cost := range queue {
				waiting += cost
			}
			require.Less(t, waiting, int64(window+1500+64), "no more than the window and one message waits")
			require.Equal(t, over, e.Context().Err() != nil)
			if over {
				require.Equal(t, 1, overs)
				require.Zero(t, set.Len())
			} else {
				require.Zero(t, overs)
				require.Equal(t, 1, set.Len())
			}
		},
	})
}
