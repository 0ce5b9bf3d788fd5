package session_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/session"
	"trefoil/concrete/message"
)

const (
	ms       = time.Millisecond
	interval = 100 * ms
	misses   = 5
	life     = misses * interval
	stall    = 50 * ms
)

// conn is a connection over which bytes come when a test says so.
type conn struct{ bytes uint64 }

func (c *conn) Received() uint64 { return c.bytes }

// world is a SessionManager and the time that passes for it.
type world struct {
	t   testing.TB
	m   *session.SessionManager
	now time.Duration
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, now: time.Hour}
	w.restart()
	return w
}

// restart begins a new run of the broker.
func (w *world) restart() {
	var seed [32]byte
	seed[0] = byte(w.now / time.Hour)
	w.m = session.NewSessionManager(session.Config{Interval: interval, Misses: misses, Stall: stall, Random: rand.NewChaCha8(seed)})
}

func (w *world) open(c session.Conn) session.Grant {
	w.t.Helper()
	g, err := w.m.Open(c, w.now)
	require.NoError(w.t, err)
	return g
}

// pass lets time pass, with Tick called as it should be, and returns who expired.
func (w *world) pass(d time.Duration) (ended []session.Ended) {
	w.t.Helper()
	for end := w.now + d; ; {
		at, ok := w.m.NextDeadline()
		if !ok || at > end {
			w.now = end
			return ended
		}
		w.now = max(w.now, at)
		ended = append(ended, w.m.Tick(w.now, 0)...)
		require.NoError(w.t, w.m.Consistent())
	}
}

func beater(t testing.TB, g session.Grant) *session.Beater {
	t.Helper()
	b, err := session.NewBeater(g.Message(0), 0)
	require.NoError(t, err)
	return b
}

func TestSilentSessionExpiresAfterItsMisses(t *testing.T) {
	w := newWorld(t)
	c := &conn{}
	g := w.open(c)
	assert.Empty(t, w.pass(life-1))
	assert.True(t, w.m.Alive(g.ID))
	assert.Equal(t, []session.Ended{{ID: g.ID, Conn: c}}, w.pass(1))
	assert.False(t, w.m.Alive(g.ID))
	assert.Empty(t, w.pass(time.Hour))
	_, ok := w.m.NextDeadline()
	assert.False(t, ok)
	s := w.m.Stats()
	assert.Equal(t, session.Stats{Opened: 1, Expired: 1, Missed: misses}, s)
}

// TestSignsOfLifeRenewASession shows each kind just before the end.
func TestSignsOfLifeRenewASession(t *testing.T) {
	for name, c := range map[string]struct {
		sign func(w *world, g session.Grant, c *conn)
		late time.Duration // by how much the end may come later than a full life after the sign
	}{
		"bytes over the connection": {func(_ *world, _ session.Grant, c *conn) { c.bytes += 12 }, interval},
		"a heartbeat": {func(w *world, g session.Grant, _ *conn) {
			b, err := session.NewBeater(g.Message(0), w.m.Stats().Beats)
			require.NoError(t, err)
			assert.Equal(t, session.BeatRenewed, w.m.BeatUDP(b.Append(nil), w.now))
		}, 0},
		"another one": {func(w *world, g session.Grant, _ *conn) { assert.True(t, w.m.Heard(g.ID, w.now)) }, 0},
		"resuming": {func(w *world, g session.Grant, c *conn) {
			_, old, ok := w.m.Resume(g.ID, g.Secret, 0, c, w.now)
			assert.True(t, ok)
			assert.Nil(t, old)
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w, conn := newWorld(t), &conn{bytes: 7}
			g := w.open(conn)
			for range 20 {
				require.Empty(t, w.pass(life-ms))
				c.sign(w, g, conn)
			}
			require.Empty(t, w.pass(life-ms))
			require.Len(t, w.pass(ms+c.late), 1)
		})
	}
}

func TestBeatsBetweenDeadlinesLeaveTheHeapAlone(t *testing.T) {
	w := newWorld(t)
	g := w.open(nil)
	before, _ := w.m.NextDeadline()
	b := beater(t, g)
	for range 10 {
		w.now += 9 * ms
		require.Equal(t, session.BeatRenewed, w.m.BeatUDP(b.Append(nil), w.now))
	}
	after, _ := w.m.NextDeadline()
	assert.Equal(t, before, after)
	w.pass(10 * ms)
	after, _ = w.m.NextDeadline()
	assert.Equal(t, before-10*ms+interval, after, "an interval after the last beat")
	assert.Zero(t, w.m.Stats().Missed)
}

func TestSessionOutlivesItsConnection(t *testing.T) {
	w, first := newWorld(t), &conn{}
	g := w.open(first)
	w.pass(interval / 2)
	first.bytes++
	w.m.Detach(g.ID, first, w.now)
	first.bytes++ // nobody looks any more
	assert.Empty(t, w.pass(life-1))
	second := &conn{bytes: 99} // HELLO has come
	again, old, ok := w.m.Resume(g.ID, g.Secret, 0, second, w.now)
	require.True(t, ok)
	assert.Nil(t, old)
	assert.True(t, again.Resumed)
	again.Resumed = false
	assert.Equal(t, g, again)
	w.m.Detach(g.ID, first, w.now)
	missed := w.m.Stats().Missed
	w.pass(interval)
	assert.Equal(t, missed+1, w.m.Stats().Missed, "what had come over it before is no news")
	second.bytes++
	assert.Empty(t, w.pass(life-1), "the end of an old connection does not take the session off its new one")
	ended := w.pass(interval + 1)
	require.Len(t, ended, 1)
	assert.Same(t, second, ended[0].Conn)
}

func TestResumingTakesTheSessionFromItsOldConnection(t *testing.T) {
	w, first, second := newWorld(t), &conn{}, &conn{}
	g := w.open(first)
	_, old, ok := w.m.Resume(g.ID, g.Secret, 0, second, w.now)
	require.True(t, ok)
	assert.Same(t, first, old)
	_, old, ok = w.m.Resume(g.ID, g.Secret, 0, second, w.now)
	require.True(t, ok)
	assert.Nil(t, old, "it is on that connection already")
}

func TestGreetOpensWhereThereIsNothingToResume(t *testing.T) {
	wrong := session.Secret{1}
	for name, c := range map[string]struct {
		ask     func(g session.Grant) *message.SessionRequest
		before  func(w *world, g session.Grant)
		resumed bool
	}{
		"a new one": {ask: func(session.Grant) *message.SessionRequest { return &message.SessionRequest{} }},
		"its own": {resumed: true, ask: func(g session.Grant) *message.SessionRequest {
			return &message.SessionRequest{ID: g.ID.String(), Secret: g.Secret.Hex()}
		}},
		"wrong secret": {ask: func(g session.Grant) *message.SessionRequest {
			return &message.SessionRequest{ID: g.ID.String(), Secret: wrong.Hex()}
		}},
		"no secret": {ask: func(g session.Grant) *message.SessionRequest { return &message.SessionRequest{ID: g.ID.String()} }},
		"unknown": {ask: func(g session.Grant) *message.SessionRequest {
			return &message.SessionRequest{ID: session.ID{1}.String(), Secret: g.Secret.Hex()}
		}},
		"no id at all": {ask: func(g session.Grant) *message.SessionRequest {
			return &message.SessionRequest{ID: "xyz", Secret: g.Secret.Hex()}
		}},
		"upper case": {ask: func(g session.Grant) *message.SessionRequest {
			return &message.SessionRequest{ID: "A" + g.ID.String()[1:], Secret: g.Secret.Hex()}
		}},
		"expired": {
			before: func(w *world, _ session.Grant) { w.pass(life) },
			ask: func(g session.Grant) *message.SessionRequest {
				return &message.SessionRequest{ID: g.ID.String(), Secret: g.Secret.Hex()}
			}},
		"closed, and still in the Store": {
			before: func(w *world, g session.Grant) { w.m.PlanStore(g.ID); w.m.Close(g.ID) },
			ask: func(g session.Grant) *message.SessionRequest {
				return &message.SessionRequest{ID: g.ID.String(), Secret: g.Secret.Hex()}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g := w.open(nil)
			if c.before != nil {
				c.before(w, g)
			}
			got, _, err := w.m.Greet(c.ask(g), nil, "", w.now)
			require.NoError(t, err)
			assert.Equal(t, c.resumed, got.Resumed)
			assert.Equal(t, c.resumed, got.ID == g.ID)
			assert.Equal(t, c.resumed, got.Secret == g.Secret)
			assert.True(t, w.m.Alive(got.ID))
		})
	}
}

func TestClosedSessionIsOverAtOnce(t *testing.T) {
	w, c := newWorld(t), &conn{}
	g := w.open(c)
	ended, ok := w.m.Close(g.ID)
	require.True(t, ok)
	assert.Equal(t, session.Ended{ID: g.ID, Conn: c}, ended)
	_, ok = w.m.Close(g.ID)
	assert.False(t, ok)
	assert.False(t, w.m.Heard(g.ID, w.now))
	assert.Equal(t, session.BeatUnknown, w.m.BeatUDP(beater(t, g).Append(nil), w.now))
	assert.Empty(t, w.pass(time.Minute))
}

// TestOwnStallIsHeldAgainstNobody: this process was stopped for longer than any
// session lives, and the beats of that time are read after Tick.
func TestOwnStallIsHeldAgainstNobody(t *testing.T) {
	for name, late := range map[string]time.Duration{"found by the deadlines": 0, "told by the caller": time.Minute} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			alive, silent := w.open(nil), w.open(nil)
			w.pass(interval - ms)
			w.m.Heard(alive.ID, w.now)
			w.pass(2 * ms) // one has missed
			w.now += time.Minute
			for range 3 {
				require.Empty(t, w.m.Tick(w.now, late))
				require.NoError(t, w.m.Consistent())
				late = 0
			}
			require.True(t, w.m.Heard(alive.ID, w.now))
			assert.EqualValues(t, 1, w.m.Stats().Stalls)
			assert.EqualValues(t, 1, w.m.Stats().Missed)
			ended := w.pass(life - interval + stall + ms)
			require.Len(t, ended, 1, "the time of the stall is given once")
			assert.Equal(t, silent.ID, ended[0].ID)
		})
	}
}

func TestOrdinaryLatenessIsNoStall(t *testing.T) {
	w := newWorld(t)
	w.open(nil)
	for w.m.Stats().Expired == 0 {
		w.now += 40 * ms
		w.m.Tick(w.now, 0)
		require.Less(t, w.now, time.Hour+life+interval)
	}
	assert.Zero(t, w.m.Stats().Stalls)
}

// TestSignBeforeAStallCountsAfterIt, though nobody had looked yet.
func TestSignBeforeAStallCountsAfterIt(t *testing.T) {
	w := newWorld(t)
	g := w.open(nil)
	w.now += interval / 2
	require.True(t, w.m.Heard(g.ID, w.now))
	w.now += time.Minute
	require.Empty(t, w.m.Tick(w.now, 0))
	w.pass(interval - 1)
	assert.Zero(t, w.m.Stats().Missed)
}

// TestTickDoesABoundedAmount: others wait for the lock meanwhile.
func TestTickDoesABoundedAmount(t *testing.T) {
	w := newWorld(t)
	const sessions = 10_000
	for range sessions {
		w.open(nil)
	}
	w.pass(life - 1)
	w.now++
	ended, ticks := 0, 0
	for {
		at, ok := w.m.NextDeadline()
		if !ok || at > w.now {
			break
		}
		n := len(w.m.Tick(w.now, 0))
		require.LessOrEqual(t, n, 4096)
		ended += n
		ticks++
	}
	assert.Equal(t, sessions, ended)
	assert.GreaterOrEqual(t, ticks, 3)
}

func TestSessionsAreLimited(t *testing.T) {
	m := session.NewSessionManager(session.Config{Max: 2})
	for range 2 {
		_, err := m.Open(nil, 0)
		require.NoError(t, err)
	}
	_, err := m.Open(nil, 0)
	require.ErrorIs(t, err, abstract.ErrOverloaded)
	_, _, err = m.Greet(&message.SessionRequest{}, nil, "", 0)
	require.ErrorIs(t, err, abstract.ErrOverloaded)
	assert.Equal(t, 2, m.Stats().Sessions)
}

func TestNoRandomnessNoSession(t *testing.T) {
	for _, bytesThere := range []int{0, 10, 16, 40} {
		m := session.NewSessionManager(session.Config{Random: io.LimitReader(rand.NewChaCha8([32]byte{}), int64(bytesThere))})
		_, err := m.Open(nil, 0)
		assert.ErrorIs(t, err, abstract.ErrInternal)
		assert.Zero(t, m.Stats().Sessions)
	}
}

func TestIDsAreNotUsedTwice(t *testing.T) {
	same := bytes.Repeat([]byte{7}, 16)
	random := io.MultiReader(bytes.NewReader(same), bytes.NewReader(make([]byte, 32)), bytes.NewReader(same), rand.NewChaCha8([32]byte{}))
	m := session.NewSessionManager(session.Config{Random: random})
	a, err := m.Open(nil, 0)
	require.NoError(t, err)
	b, err := m.Open(nil, 0)
	require.NoError(t, err)
	assert.NotEqual(t, a.ID, b.ID)
	assert.Equal(t, 2, m.Stats().Sessions)
}

func TestDefaultsAndBounds(t *testing.T) {
	for name, c := range map[string]struct {
		cfg      session.Config
		interval time.Duration
		misses   int
	}{
		"defaults": {session.Config{}, 2 * time.Second, 5},
		"tiny":     {session.Config{Interval: 1, Misses: 1}, 10 * ms, 2},
		"huge":     {session.Config{Interval: 1000 * time.Hour, Misses: 1e9}, time.Hour, 1000},
	} {
		g, err := session.NewSessionManager(c.cfg).Open(nil, 0)
		require.NoError(t, err, name)
		assert.Equal(t, c.interval, g.Interval, name)
		assert.Equal(t, c.misses, g.Misses, name)
	}
}

// TestSecretsDoNotPrintThemselves, whatever somebody logs of a session.
func TestSecretsDoNotPrintThemselves(t *testing.T) {
	g := newWorld(t).open(nil)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("opened", "grant", g, "secret", g.Secret)
	text := log.String() + fmt.Sprintf("%v %+v %#v %s %v %v", g, g, g, g.Secret, &g, g.Secret)
	assert.NotContains(t, text, g.Secret.Hex()[:8])
	assert.NotContains(t, text, fmt.Sprintf("%d, %d, %d", g.Secret[0], g.Secret[1], g.Secret[2]))
	assert.NotContains(t, text, fmt.Sprintf("%d %d %d", g.Secret[0], g.Secret[1], g.Secret[2]))
	assert.Contains(t, text, "(secret)")
}

func TestGrantSurvivesTheWire(t *testing.T) {
	g := newWorld(t).open(nil)
	assert.Equal(t, &message.SessionGrant{ID: g.ID.String(), Secret: g.Secret.Hex(), IntervalMs: 100, Misses: 5, UDP: 7700}, g.Message(7700))
	id, ok := session.ParseID(g.ID.String())
	assert.True(t, ok)
	assert.Equal(t, g.ID, id)
	secret, ok := session.ParseSecret(g.Secret.Hex())
	assert.True(t, ok)
	assert.Equal(t, g.Secret, secret)
	for _, text := range []string{"", "g" + g.ID.String()[1:], g.ID.String()[1:], g.ID.String() + "0", g.Secret.Hex()} {
		_, ok := session.ParseID(text)
		assert.False(t, ok, text)
	}
}
