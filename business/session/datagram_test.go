package session_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/session"
	"trefoil/concrete/message"
)

// TestDatagramIsWhatTheProtocolSays builds one with the standard library.
func TestDatagramIsWhatTheProtocolSays(t *testing.T) {
	g := newWorld(t).open(nil)
	b, err := session.NewBeater(g.Message(0), 1<<40+6)
	require.NoError(t, err)
	got := b.Append([]byte("before"))
	want := append([]byte("TFHB\x01"), g.ID[:]...)
	want = binary.BigEndian.AppendUint64(want, 1<<40+7)
	mac := hmac.New(sha256.New, g.Secret[:])
	mac.Write(want)
	want = append(want, mac.Sum(nil)[:16]...)
	assert.Equal(t, append([]byte("before"), want...), got)
	assert.Len(t, want, session.DatagramSize)
	assert.EqualValues(t, 1<<40+7, b.Sequence())
}

func TestBeaterNeedsASession(t *testing.T) {
	fine := newWorld(t).open(nil)
	for name, g := range map[string]*message.SessionGrant{
		"nothing":   {},
		"no secret": {ID: fine.ID.String()},
		"bad id":    {ID: "x" + fine.ID.String()[1:], Secret: fine.Secret.Hex()},
	} {
		_, err := session.NewBeater(g, 0)
		assert.ErrorIs(t, err, abstract.ErrInvalidMessage, name)
	}
}

func TestOnlyTheOwnersNextBeatRenews(t *testing.T) {
	w := newWorld(t)
	g, other := w.open(nil), w.open(nil)
	b := beater(t, g)
	first := b.Append(nil)
	second := b.Append(nil)
	third := b.Append(nil)
	flip := func(d []byte, at int) []byte {
		d = append([]byte(nil), d...)
		d[at] ^= 1
		return d
	}
	swapped := append([]byte(nil), third...)
	copy(swapped[5:], other.ID[:])
	for _, c := range []struct {
		name     string
		datagram []byte
		want     session.Beat
	}{
		{"nothing", nil, session.BeatMalformed},
		{"short", first[:44], session.BeatMalformed},
		{"long", append(append([]byte(nil), first...), 0), session.BeatMalformed},
		{"magic", flip(first, 0), session.BeatMalformed},
		{"version", flip(first, 4), session.BeatMalformed},
		{"id", flip(first, 5), session.BeatUnknown},
		{"mac", flip(first, 44), session.BeatForged},
		{"the first of the mac", flip(first, 29), session.BeatForged},
		{"sequence", flip(first, 21), session.BeatForged},
		{"the second", second, session.BeatRenewed},
		{"the second again", second, session.BeatReplayed},
		{"the first, late", first, session.BeatReplayed},
		{"a forged one with an old sequence", flip(first, 44), session.BeatReplayed},
		{"the third, for somebody else", swapped, session.BeatForged},
		{"the third", third, session.BeatRenewed},
	} {
		assert.Equal(t, c.want, w.m.BeatUDP(c.datagram, w.now), c.name)
	}
	s := w.m.Stats()
	assert.Equal(t, [5]uint64{2, 5, 1, 3, 4}, [5]uint64{s.Beats, s.Malformed, s.Unknown, s.Replayed, s.Forged})
}

func TestBeatSaysItsWord(t *testing.T) {
	for b, want := range map[session.Beat]string{
		session.BeatRenewed: "renewed", session.BeatMalformed: "malformed", session.BeatUnknown: "unknown",
		session.BeatReplayed: "replayed", session.BeatForged: "forged", 99: "beat 99",
	} {
		assert.Equal(t, want, b.String())
	}
}

// TestResumingEndsTheUseOfOldBeats: a broker that has started again remembers no
// sequence, but the owner does.
func TestResumingEndsTheUseOfOldBeats(t *testing.T) {
	w := newWorld(t)
	g := w.open(nil)
	b := beater(t, g)
	recorded := [][]byte{b.Append(nil), b.Append(nil), b.Append(nil)}
	ifs, then, err := w.m.PlanStore(g.ID)
	require.NoError(t, err)
	require.NotEmpty(t, ifs)
	kv := abstract.KV{Key: then[0].Key, Value: then[0].Value, CreateRevision: 5, ModRevision: 5}

	w.restart()
	_, ok := w.m.Load([]abstract.KV{kv}, 5, w.now)
	require.True(t, ok)
	assert.Equal(t, session.BeatUnknown, w.m.BeatUDP(recorded[2], w.now), "its secret is not known")
	_, _, ok = w.m.Resume(g.ID, g.Secret, b.Sequence(), nil, w.now)
	require.True(t, ok)
	for _, d := range recorded {
		assert.Equal(t, session.BeatReplayed, w.m.BeatUDP(d, w.now))
	}
	assert.Equal(t, session.BeatRenewed, w.m.BeatUDP(b.Append(nil), w.now))
}

// TestAMillionBadDatagramsRenewNothing, of all kinds that somebody can send who
// has listened.
func TestAMillionBadDatagramsRenewNothing(t *testing.T) {
	count := 1_000_000
	if testing.Short() {
		count = 50_000
	}
	w := newWorld(t)
	g := w.open(nil)
	b := beater(t, g)
	good := b.Append(nil)
	require.Equal(t, session.BeatRenewed, w.m.BeatUDP(good, w.now))
	random := rand.New(rand.NewPCG(1, 2))
	d := make([]byte, session.DatagramSize)
	for i := range count {
		copy(d, good)
		switch i % 4 {
		case 0: // as it was
		case 1: // a later sequence
			binary.BigEndian.PutUint64(d[21:], 2+random.Uint64N(1<<60))
		case 2: // somebody's
			binary.BigEndian.PutUint64(d[5:], random.Uint64())
		default: // a later sequence and another mac
			binary.BigEndian.PutUint64(d[21:], 2+random.Uint64N(1<<60))
			binary.BigEndian.PutUint64(d[29:], random.Uint64())
		}
		if w.m.BeatUDP(d, w.now) == session.BeatRenewed {
			require.Fail(t, "renewed", "datagram %d", i)
		}
	}
	s := w.m.Stats()
	assert.EqualValues(t, 1, s.Beats)
	assert.EqualValues(t, count, s.Unknown+s.Replayed+s.Forged+s.Malformed)
	b = beater(t, g)
	b.Append(nil)
	assert.Equal(t, session.BeatRenewed, w.m.BeatUDP(b.Append(nil), w.now), "and its owner is not shut out")
	for range count / 10 { // they also come while time passes
		w.m.BeatUDP(good, w.now)
	}
	require.Empty(t, w.pass(life-1))
	for range count / 10 {
		w.m.BeatUDP(d, w.now)
	}
	assert.Len(t, w.pass(1), 1)
}

func TestBadDatagramsMakeNoGarbage(t *testing.T) {
	for name, f := range floods(t) {
		t.Run(name, func(t *testing.T) {
			assert.Zero(t, testing.AllocsPerRun(100, f))
		})
	}
}

// floods are the ways to send many datagrams to a broker with 10,000 sessions.
func floods(t testing.TB) map[string]func() {
	t.Helper()
	w := newWorld(t)
	for range 10_000 {
		w.open(nil)
	}
	g := w.open(nil)
	b := beater(t, g)
	good := b.Append(nil)
	forged := b.Append(nil)
	forged[44] ^= 1
	unknown := append([]byte(nil), good...)
	unknown[5] ^= 1
	renewing := beater(t, w.open(nil))
	room := make([]byte, 0, session.DatagramSize)
	w.m.BeatUDP(good, w.now)
	return map[string]func(){
		"malformed": func() { w.m.BeatUDP(good[1:], w.now) },
		"unknown":   func() { w.m.BeatUDP(unknown, w.now) },
		"replayed":  func() { w.m.BeatUDP(good, w.now) },
		"forged":    func() { w.m.BeatUDP(forged, w.now) },
		"made":      func() { room = renewing.Append(room[:0]) },
		"made and taken": func() {
			room = renewing.Append(room[:0])
			w.m.BeatUDP(room, w.now)
		},
	}
}

func BenchmarkBeatUDP(b *testing.B) {
	for name, f := range floods(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}

// BenchmarkOpen shows what a session that nobody stores costs.
func BenchmarkOpen(b *testing.B) {
	b.ReportAllocs()
	w := newWorld(b)
	m := session.NewSessionManager(session.Config{Max: 1 << 40})
	for b.Loop() {
		if _, err := m.Open(nil, w.now); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTick is one look at one of 100,000 sessions that beat.
func BenchmarkTick(b *testing.B) {
	w := newWorld(b)
	var ids []session.ID
	for range 100_000 {
		w.now += interval / 100_000
		ids = append(ids, w.open(nil).ID)
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		at, _ := w.m.NextDeadline()
		w.now = at
		w.m.Heard(ids[i%len(ids)], w.now)
		if w.m.Tick(w.now, 0) != nil {
			b.Fatal("expired")
		}
		i++
	}
}
