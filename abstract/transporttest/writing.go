package transporttest

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// flood is more than sockets hold.
const flood = 24 << 20

func slowReader(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	srv.MaxQueued = 1 << 20
	raw, s := start(t, open, srv, cli).raw(t)
	sent, body := uint64(0), make([]byte, 16<<10)
	for {
		err := s.Queue(frame(abstract.RspRPC, sent, body))
		if err != nil {
			require.ErrorIs(t, err, abstract.ErrOverloaded)
			break
		}
		s.Flush()
		sent++
	}
	assert.Greater(t, sent, uint64(1<<20/len(body)/2))
	require.NoError(t, s.Queue(frame(abstract.Ping, 99, nil)), "the other classes are not full")
	s.Flush()
	next, pings := uint64(0), 0
	for range sent + 1 {
		m := raw.mustNext(t)
		if m.Kind == abstract.Ping {
			pings++
			continue
		}
		require.Equal(t, next, m.N)
		next++
	}
	assert.Equal(t, 1, pings)
	require.NoError(t, s.Send(&Message{Kind: abstract.RspRPC, N: 1}), "there is room again")
	assert.Equal(t, uint64(1), raw.mustNext(t).N)
}

func writeTimeout(t *testing.T, open Open, direct bool) {
	srv, cli := newSide(direct), newSide(direct)
	srv.WriteTimeout = 50 * time.Millisecond
	_, s := start(t, open, srv, cli).raw(t)
	for s.Err() == nil && s.Queue(frame(abstract.RspRPC, 0, make([]byte, 64<<10))) == nil {
		s.Flush()
	}
	await(t, s.Done(), "the end of a connection whose peer does not read")
	assert.ErrorIs(t, await(t, s.closed, "OnClose"), abstract.ErrTimeout)
}

const (
	laneFrames = 20_000
	laneBody   = 1 << 10
	laneBytes  = 64 << 10
	gapKind    = abstract.Gap
	endKind    = abstract.RspTopic
)

func gapFrame(missed uint64) abstract.Frame { return frame(gapKind, missed, nil) }

// flooded pushes laneFrames into a lane whose peer does not read, and then a topic
// frame that says that this was all.
func flooded(t *testing.T, open Open, direct bool, policy abstract.Policy) (*raw, *peer, abstract.Lane) {
	raw, s := start(t, open, newSide(direct), newSide(direct)).raw(t)
	l := s.NewLane(abstract.LaneConfig{MaxBytes: laneBytes, Policy: policy, Gap: gapFrame})
	body := make([]byte, laneBody)
	for n := range uint64(laneFrames) {
		if err := l.Queue(frame(abstract.ReqTopic, n, body)); err != nil {
			require.Equal(t, abstract.CloseConnection, policy)
			return raw, s, l
		}
		s.Flush()
	}
	require.NoError(t, s.Queue(frame(endKind, 0, nil)))
	s.Flush()
	return raw, s, l
}

func laneDropsOldest(t *testing.T, open Open, direct bool) {
	raw, _, l := flooded(t, open, direct, abstract.DropOldest)
	next, missed := uint64(0), uint64(0)
	for m := raw.mustNext(t); m.Kind != endKind; m = raw.mustNext(t) {
		if m.Kind == gapKind {
			next += m.N
			missed += m.N
			continue
		}
		require.Equal(t, next, m.N, "a gap notice says exactly what is missing before the next frame")
		next++
	}
	assert.Equal(t, uint64(laneFrames), next, "the newest frame arrives")
	assert.Positive(t, missed)
	assert.Equal(t, missed, l.Missed())
}

func laneDropsNewest(t *testing.T, open Open, direct bool) {
	raw, _, l := flooded(t, open, direct, abstract.DropNewest)
	got, last, missed := uint64(0), int64(-1), uint64(0)
	for m := raw.mustNext(t); m.Kind != endKind; m = raw.mustNext(t) {
		if m.Kind == gapKind {
			missed += m.N
			continue
		}
		require.Greater(t, int64(m.N), last)
		last = int64(m.N)
		got++
	}
	assert.Positive(t, missed)
	assert.Equal(t, missed, l.Missed())
	assert.Equal(t, uint64(laneFrames), got+missed)
}

func laneCloses(t *testing.T, open Open, direct bool) {
	_, s, l := flooded(t, open, direct, abstract.CloseConnection)
	await(t, s.Done(), "the end of a subscriber that does not read")
	assert.ErrorIs(t, await(t, s.closed, "OnClose"), abstract.ErrOverloaded)
	assert.ErrorIs(t, l.Queue(frame(abstract.ReqTopic, 0, nil)), abstract.ErrDisconnected)
}

func laneBeforeTopicFrame(t *testing.T, open Open, direct bool) {
	raw, s := start(t, open, newSide(direct), newSide(direct)).raw(t)
	a, b := s.NewLane(abstract.LaneConfig{}), s.NewLane(abstract.LaneConfig{})
	require.NoError(t, a.Queue(frame(abstract.ReqTopic, 1, nil)))
	require.NoError(t, b.Queue(frame(abstract.ReqTopic, 2, nil)))
	require.NoError(t, a.Queue(frame(abstract.ReqTopic, 3, nil)))
	require.NoError(t, s.Queue(frame(abstract.RspTopic, 4, nil)))
	require.NoError(t, a.Queue(frame(abstract.ReqTopic, 5, nil)))
	s.Flush()
	for n := uint64(1); n <= 5; n++ {
		assert.Equal(t, n, raw.mustNext(t).N)
	}
}

func priority(t *testing.T, open Open, direct bool) {
	raw, s := start(t, open, newSide(direct), newSide(direct)).raw(t)
	body := make([]byte, 16<<10)
	sent := fill(t, s, abstract.ReqTopic, body, flood)
	require.NoError(t, s.Send(&Message{Kind: abstract.RspRPC, N: 1}))
	before := uint64(0)
	for m := raw.mustNext(t); m.Kind != abstract.RspRPC; m = raw.mustNext(t) {
		before++
	}
	assert.Less(t, before, sent*3/4, "the response went past the topics that waited")
	for range sent - before {
		require.Equal(t, abstract.ReqTopic, raw.mustNext(t).Kind)
	}
}

func withdrawn(t *testing.T, open Open, direct bool) {
	const requests = 2000
	raw, s := start(t, open, newSide(direct), newSide(direct)).raw(t)
	sent := fill(t, s, abstract.ReqTopic, make([]byte, 16<<10), flood)
	marks := make([]abstract.Mark, requests)
	for n := range marks {
		f := frame(abstract.ReqRPC, uint64(n), make([]byte, 4<<10))
		f.Mark = &marks[n]
		require.NoError(t, s.Queue(f))
		s.Flush()
	}
	back := make(map[uint64]bool)
	for n := 1; n < requests; n += 2 {
		if marks[n].Withdraw() {
			back[uint64(n)] = true
		}
	}
	require.NotEmpty(t, back)
	require.NoError(t, s.Queue(frame(endKind, 0, nil)))
	s.Flush()
	topics, got := uint64(0), 0
	for m := raw.mustNext(t); m.Kind != endKind; m = raw.mustNext(t) {
		if m.Kind == abstract.ReqTopic {
			topics++
			continue
		}
		require.False(t, back[m.N], "request %d was withdrawn and written", m.N)
		require.False(t, marks[m.N].Withdraw(), "a written request cannot be withdrawn")
		got++
	}
	assert.Equal(t, sent, topics)
	assert.Equal(t, requests-len(back), got)
}

func closeKeepsMarks(t *testing.T, open Open, direct bool) {
	_, s := start(t, open, newSide(direct), newSide(direct)).raw(t)
	fill(t, s, abstract.RspRPC, make([]byte, 16<<10), flood)
	var mark abstract.Mark
	f := frame(abstract.ReqRPC, 1, nil)
	f.Mark = &mark
	require.NoError(t, s.Queue(f))
	s.Flush()
	reason := errors.New("enough")
	s.Close(reason)
	assert.True(t, mark.Withdraw(), "no byte of it has left")
	assert.Equal(t, reason, await(t, s.closed, "OnClose"))
	assert.ErrorIs(t, s.Send(&Message{}), abstract.ErrDisconnected)
	var e *abstract.Error
	require.ErrorAs(t, s.Queue(frame(abstract.ReqRPC, 2, nil)), &e)
	assert.Equal(t, abstract.SentNo, e.Sent)
}
