package session_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/session"
	"trefoil/concrete/message"
)

// asks is a HELLO's request to go on with a session.
func asks(g session.Grant, sequence uint64) *message.SessionRequest {
	return &message.SessionRequest{ID: g.ID.String(), Secret: g.Secret.Hex(), Sequence: sequence}
}

func TestHelloIsTakenOnce(t *testing.T) {
	w := newWorld(t)
	g, _, err := w.m.Greet(&message.SessionRequest{}, nil, "a", w.now)
	require.NoError(t, err)
	b := beater(t, g)
	live := &conn{}
	for _, step := range []struct {
		name     string
		sequence uint64
		taken    bool
	}{
		{"the first", b.Claim(), true},
		{"the same again", 1, false},
		{"the next", b.Claim(), true},
		{"an old one", 1, false},
		{"none at all", 0, false},
		{"after heartbeats were lost", 40, true},
		{"that again", 40, false},
	} {
		got, _, err := w.m.Greet(asks(g, step.sequence), live, "a", w.now)
		if step.taken {
			require.NoError(t, err, step.name)
			assert.True(t, got.Resumed, step.name)
			continue
		}
		require.ErrorIs(t, err, abstract.ErrDenied, step.name)
		assert.Empty(t, got, step.name)
		assert.True(t, w.m.On(g.ID, live), "%s: the owner keeps it", step.name)
	}
	assert.EqualValues(t, 4, w.m.Stats().Refused)
}

// TestHeartbeatOvertakesHello: datagrams and connections are not in order.
func TestHeartbeatOvertakesHello(t *testing.T) {
	w := newWorld(t)
	g, _, err := w.m.Greet(&message.SessionRequest{}, nil, "a", w.now)
	require.NoError(t, err)
	b := beater(t, g)
	named := b.Claim()
	require.Equal(t, session.BeatRenewed, w.m.BeatUDP(b.Append(nil), w.now))
	got, _, err := w.m.Greet(asks(g, named), nil, "a", w.now)
	require.NoError(t, err)
	assert.True(t, got.Resumed)
}

func TestPeerThatCountsNothingMayResume(t *testing.T) {
	w := newWorld(t)
	g, _, err := w.m.Greet(&message.SessionRequest{}, nil, "", w.now)
	require.NoError(t, err)
	for range 3 {
		got, _, err := w.m.Greet(asks(g, 0), nil, "", w.now)
		require.NoError(t, err)
		assert.True(t, got.Resumed)
	}
}

func TestSessionBelongsToAnIdentity(t *testing.T) {
	w := newWorld(t)
	g, _, err := w.m.Greet(&message.SessionRequest{}, nil, "a", w.now)
	require.NoError(t, err)
	for _, thief := range []string{"b", "anonymous", ""} {
		_, _, err = w.m.Greet(asks(g, 9), nil, thief, w.now)
		require.ErrorIs(t, err, abstract.ErrDenied, thief)
		assert.NotContains(t, err.Error(), g.Secret.Hex())
	}
	got, _, err := w.m.Greet(asks(g, 1), nil, "a", w.now)
	require.NoError(t, err)
	assert.True(t, got.Resumed, "what was refused has counted nothing")

	wrong := g
	wrong.Secret[0] ^= 1
	other, _, err := w.m.Greet(asks(wrong, 9), nil, "b", w.now)
	require.NoError(t, err, "who does not know the secret is told nothing")
	assert.NotEqual(t, g.ID, other.ID)
}

// TestStoredSessionIsWhoseComesFirst: the store does not say whose it is, and its
// secret does.
func TestStoredSessionIsWhoseComesFirst(t *testing.T) {
	w := newWorld(t)
	g, _, err := w.m.Greet(&message.SessionRequest{}, nil, "a", w.now)
	require.NoError(t, err)
	_, then, err := w.m.PlanStore(g.ID)
	require.NoError(t, err)
	w.restart()
	_, ok := w.m.Load([]abstract.KV{{Key: then[0].Key, Value: then[0].Value, CreateRevision: 5, ModRevision: 5}}, 5, w.now)
	require.True(t, ok)
	_, _, err = w.m.Greet(asks(g, 1), nil, "a", w.now)
	require.NoError(t, err)
	_, _, err = w.m.Greet(asks(g, 2), nil, "b", w.now)
	require.ErrorIs(t, err, abstract.ErrDenied)
}
