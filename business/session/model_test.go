package session_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
	"trefoil/business/session"
)

// oldSession is the slow and simple model of one session: it writes down what it
// was told, and looks at its watch all the time.
type oldSession struct {
	grant    session.Grant
	conn     *conn
	seen     uint64
	sequence uint64
	keyed    bool
	heard    time.Duration
	looked   time.Duration // the deadline before the next
	missed   int
	stored   bool // the Store has it
	planned  bool
	over     bool
}

// due is when it looks next.
func (s *oldSession) due() time.Duration { return s.looked + interval }

// look returns whether it has expired.
func (s *oldSession) look(now time.Duration) bool {
	if s.conn != nil && s.conn.bytes != s.seen {
		s.seen, s.heard = s.conn.bytes, now
	}
	if s.heard > s.looked {
		s.missed, s.looked = 0, s.heard
		return false
	}
	s.missed++
	s.looked += interval
	return s.missed == misses
}

// TestSessionsAgreeWithASimpleModel plays random events to both.
func TestSessionsAgreeWithASimpleModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &run{t: t, m: session.NewSessionManager(session.Config{Interval: interval, Misses: misses, Stall: stall, Max: 20}), now: time.Hour, rev: 1}
		t.Repeat(map[string]func(*rapid.T){
			"":           r.check,
			"open":       r.open,
			"resume":     r.resume,
			"bytes":      r.bytes,
			"detach":     r.detach,
			"beat":       r.beat,
			"heard":      r.heard,
			"close":      r.close,
			"time":       r.time,
			"stall":      r.stall,
			"store":      r.store,
			"plan only":  r.plan,
			"restart":    r.restart,
			"finish end": r.finish,
		})
	})
}

type run struct {
	t    *rapid.T
	m    *session.SessionManager
	now  time.Duration
	rev  int64
	all  []*oldSession
	keys map[string]abstract.KV
}

func (r *run) pick() *oldSession {
	if len(r.all) == 0 {
		r.t.Skip("no session")
	}
	return rapid.SampledFrom(r.all).Draw(r.t, "session")
}

func (r *run) check(*rapid.T) {
	require.NoError(r.t, r.m.Consistent())
	var first time.Duration
	alive, ending := 0, 0
	for _, s := range r.all {
		require.Equal(r.t, !s.over, r.m.Alive(s.grant.ID))
		switch {
		case !s.over:
			alive++
			if first == 0 || s.due() < first {
				first = s.due()
			}
		case s.stored || s.planned:
			ending++
		}
	}
	at, ok := r.m.NextDeadline()
	require.Equal(r.t, alive > 0, ok)
	require.Equal(r.t, first, at)
	st := r.m.Stats()
	require.Equal(r.t, alive, st.Sessions)
	require.Equal(r.t, ending, st.Ending)
}

func (r *run) open(t *rapid.T) {
	c := &conn{bytes: 3}
	g, err := r.m.Open(c, r.now)
	held := 0
	for _, s := range r.all {
		if !s.over || s.stored || s.planned {
			held++
		}
	}
	require.Equal(t, held >= 20, err != nil)
	if err == nil {
		r.all = append(r.all, &oldSession{grant: g, conn: c, seen: 3, keyed: true, heard: r.now, looked: r.now})
	}
}

func (r *run) resume(t *rapid.T) {
	s, c, secret := r.pick(), &conn{}, session.Secret{}
	if rapid.Bool().Draw(t, "right secret") {
		secret = s.grant.Secret
	}
	_, old, ok := r.m.Resume(s.grant.ID, secret, s.sequence, c, r.now)
	require.Equal(t, !s.over && secret == s.grant.Secret, ok)
	if ok {
		require.Equal(t, s.conn == nil, old == nil)
		s.conn, s.seen, s.heard, s.keyed = c, 0, r.now, true
	}
}

func (r *run) bytes(*rapid.T) {
	if s := r.pick(); s.conn != nil {
		s.conn.bytes++
	}
}

func (r *run) detach(*rapid.T) {
	s := r.pick()
	if s.conn == nil {
		return
	}
	r.m.Detach(s.grant.ID, s.conn, r.now)
	if !s.over && s.conn.bytes != s.seen {
		s.heard = r.now
	}
	s.conn = nil
}

func (r *run) beat(t *rapid.T) {
	s := r.pick()
	sequence := uint64(rapid.Int64Range(0, int64(s.sequence)+2).Draw(t, "after"))
	b, err := session.NewBeater(s.grant.Message(0), sequence)
	require.NoError(t, err)
	want := session.BeatRenewed
	switch {
	case s.over || !s.keyed:
		want = session.BeatUnknown
	case sequence+1 <= s.sequence:
		want = session.BeatReplayed
	default:
		s.sequence, s.heard = sequence+1, r.now
	}
	require.Equal(t, want, r.m.BeatUDP(b.Append(nil), r.now))
}

func (r *run) heard(t *rapid.T) {
	s := r.pick()
	require.Equal(t, !s.over, r.m.Heard(s.grant.ID, r.now))
	if !s.over {
		s.heard = r.now
	}
}

func (r *run) close(t *rapid.T) {
	s := r.pick()
	ended, ok := r.m.Close(s.grant.ID)
	require.Equal(t, !s.over, ok)
	if ok {
		require.Equal(t, s.stored || s.planned, ended.Stored)
		s.over = true
	}
}

// time lets some pass. All that is due is looked at when it is due.
func (r *run) time(t *rapid.T) {
	end := r.now + time.Duration(rapid.Int64Range(1, int64(2*interval)).Draw(t, "time"))
	for {
		at, ok := r.m.NextDeadline()
		if !ok || at > end {
			break
		}
		r.now = at
		r.expire(t, r.m.Tick(r.now, 0))
	}
	r.now = end
}

// expire lets the model look at all that is due now, and compares.
func (r *run) expire(t *rapid.T, got []session.Ended) {
	ids := make(map[session.ID]bool)
	for _, e := range got {
		ids[e.ID] = e.Stored
	}
	want := make(map[session.ID]bool)
	for _, s := range r.all {
		for !s.over && s.due() <= r.now {
			if s.look(r.now) {
				s.over = true
				want[s.grant.ID] = s.stored || s.planned
			}
		}
	}
	require.Equal(t, want, ids)
	require.Len(t, got, len(ids))
}

// stall stops the process, perhaps with some beats that are read before Tick.
func (r *run) stall(t *rapid.T) {
	at, ok := r.m.NextDeadline()
	if !ok {
		return
	}
	r.now = max(r.now, at) + stall + time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "stall"))
	if rapid.Bool().Draw(t, "a beat comes first") {
		if s := r.pick(); r.m.Heard(s.grant.ID, r.now) {
			s.heard = r.now
		}
	}
	gap := r.now - at + stall
	got := r.m.Tick(r.now, 0)
	for _, s := range r.all {
		if !s.over {
			s.looked += gap
			s.heard = max(s.heard, min(s.heard+gap, r.now))
		}
	}
	require.Empty(t, got)
}

func (r *run) apply(events ...abstract.Event) {
	r.rev++
	for i := range events {
		kv := &events[i].KV
		kv.ModRevision = r.rev
		if r.keys == nil {
			r.keys = make(map[string]abstract.KV)
		}
		if events[i].Deleted {
			delete(r.keys, kv.Key)
		} else {
			r.keys[kv.Key] = *kv
		}
	}
	require.Empty(r.t, r.m.Apply(abstract.Change{Revision: r.rev, Events: events}, r.now))
}

func (r *run) plan(t *rapid.T) {
	s := r.pick()
	_, then, err := r.m.PlanStore(s.grant.ID)
	require.Equal(t, s.over, err != nil)
	if err == nil && len(then) > 0 {
		s.planned = true
	}
}

func (r *run) store(t *rapid.T) {
	s := r.pick()
	_, then, err := r.m.PlanStore(s.grant.ID)
	require.Equal(t, s.over, err != nil)
	if err != nil {
		return
	}
	require.Equal(t, s.stored, len(then) == 0)
	if len(then) > 0 {
		r.apply(abstract.Event{KV: abstract.KV{Key: then[0].Key, Value: then[0].Value}})
		s.stored, s.planned = true, false
	}
}

// finish takes an ended session out of the Store.
func (r *run) finish(t *rapid.T) {
	s := r.pick()
	mark, ok := r.m.PlanEnd(s.grant.ID)
	require.Equal(t, s.over && (s.stored || s.planned), ok)
	if !ok {
		return
	}
	r.apply(abstract.Event{KV: abstract.KV{Key: mark.Then[0].Key, Value: mark.Then[0].Value}})
	s.stored, s.planned = true, false
	forget, ok := r.m.PlanForget(s.grant.ID)
	require.True(t, ok)
	r.apply(abstract.Event{Deleted: true, KV: abstract.KV{Key: forget.Then[0].Key}})
	s.stored = false
}

// restart begins a new run with what the Store has.
func (r *run) restart(t *rapid.T) {
	r.m = session.NewSessionManager(session.Config{Interval: interval, Misses: misses, Stall: stall, Max: 20})
	r.now += time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "away"))
	var kvs []abstract.KV
	for _, kv := range r.keys {
		kvs = append(kvs, kv)
	}
	ended, ok := r.m.Load(kvs, r.rev, r.now)
	require.True(t, ok)
	require.Empty(t, ended, "no end was left half done")
	for _, s := range r.all {
		s.over = !s.stored
		s.planned, s.keyed, s.conn, s.sequence = false, false, nil, 0
		s.missed, s.heard, s.looked = 0, r.now, r.now
	}
}
