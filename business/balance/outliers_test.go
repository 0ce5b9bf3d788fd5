package balance_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/business/balance"
)

// watched is a service whose ejections are noted.
type watched struct {
	*service
	notices []balance.Notice
	most    int // members out at a time
}

func (w *world) watched(o balance.Outliers, n int) *watched {
	s := new(watched)
	cfg := balance.Config{Balancer: balance.NewLeastPending(w.rng.Uint64), Outliers: o, OnNotice: func(n balance.Notice) {
		s.notices = append(s.notices, n)
		s.most = max(s.most, len(s.out()))
	}}
	s.service = w.service(cfg, instances(n))
	return s
}

func (s *watched) out() (ids []string) {
	for _, st := range s.g.States(s.now) {
		if st.Ejected {
			ids = append(ids, st.Instance.ID)
		}
	}
	return ids
}

// bad makes instances behave badly.
func (s *watched) bad(o balance.Outcome, took time.Duration, ids ...string) {
	is := make(map[string]bool)
	for _, id := range ids {
		is[id] = true
	}
	s.outcome = func(id string) balance.Outcome {
		if is[id] {
			return o
		}
		return balance.OK
	}
	s.latency = func(id string) time.Duration {
		if is[id] && took > 0 {
			return s.about(took)
		}
		return s.about(time.Millisecond)
	}
}

func TestTheBadOneIsEjected(t *testing.T) {
	tests := []struct {
		name string
		bad  func(s *watched)
		in   time.Duration
		row  int // of failures
	}{
		{"it fails every call", func(s *watched) { s.bad(balance.Failed, 0, "c") }, time.Second, 0},
		{"it hangs", func(s *watched) { s.bad(balance.Failed, time.Second, "c") }, 9 * time.Second, 0},
		{"it answers with errors that others do not have", func(s *watched) { s.bad(balance.Errored, 0, "c") }, 11 * time.Second, 0},
		{"it fails half its calls", func(s *watched) {
			s.bad(balance.OK, 0)
			s.outcome = func(id string) balance.Outcome {
				if id == "c" && s.rng.IntN(2) == 0 {
					return balance.Failed
				}
				return balance.OK
			}
		}, 11 * time.Second, 100},
		{"it is slow", func(s *watched) { s.bad(balance.OK, 100*time.Millisecond, "c") }, 11 * time.Second, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(1)
			s := w.watched(balance.Outliers{Consecutive: tt.row}, 10)
			tt.bad(s)
			s.arrive(2000, 13*time.Second, func() { s.call("", nil) })
			w.run(tt.in)
			require.Equal(t, []string{"c"}, s.out())
			s.forget()
			t.Log(s.notices[0].Why)
			w.run(500 * time.Millisecond)
			assert.LessOrEqual(t, s.got["c"], 1, "no calls, but one on trial")
			assert.Greater(t, s.total(), 900)
		})
	}
	t.Run("planted: off", func(t *testing.T) {
		w := newWorld(1)
		s := w.watched(balance.Outliers{Off: true}, 10)
		s.bad(balance.Failed, 0, "c")
		s.arrive(2000, 3*time.Second, func() { s.call("", nil) })
		w.run(2 * time.Second)
		assert.Greater(t, s.got["c"], 1)
		assert.Empty(t, s.notices)
	})
}

func TestNobodyIsEjectedForWhatAllDo(t *testing.T) {
	everybody := []string{"a", "b", "c", "d", "e"}
	tests := []struct {
		name    string
		outcome balance.Outcome
		took    time.Duration
	}{
		{"all answer with errors", balance.Errored, 0},
		{"all refuse", balance.Overloaded, 0},
		{"all calls are given up", balance.Ignored, 0},
		{"all are slow", balance.OK, 300 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(1)
			s := w.watched(balance.Outliers{}, len(everybody))
			s.bad(tt.outcome, tt.took, everybody...)
			s.arrive(500, 30*time.Second, func() { s.call("", nil) })
			w.run(35 * time.Second)
			assert.Empty(t, s.notices)
		})
	}
}

func TestNeverMoreThanTheShareIsEjected(t *testing.T) {
	tests := []struct {
		name  string
		n     int
		share float64
		want  int
	}{
		{"3 of 10 by default", 10, 0, 3},
		{"a half of 10", 10, 0.5, 5},
		{"all but one, whatever is asked for", 4, 1, 3},
		{"one of 2", 2, 0, 1},
		{"one of 3", 3, 0.1, 1},
		{"nobody of 1", 1, 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(1)
			s := w.watched(balance.Outliers{MaxShare: tt.share}, tt.n)
			s.outcome = func(string) balance.Outcome { return balance.Failed }
			s.arrive(300, 20*time.Second, func() { s.call("", nil) })
			w.run(25 * time.Second)
			assert.Equal(t, tt.want, s.most)
			for _, n := range s.notices {
				assert.True(t, n.Ejected, "nobody is ejected in place of another")
			}
			assert.Greater(t, s.total(), 5000, "somebody is always asked")
		})
	}
}

func TestEjectedOnesComeBackWhenTooManyOthersLeave(t *testing.T) {
	w := newWorld(1)
	s := w.watched(balance.Outliers{}, 10)
	s.bad(balance.Failed, 0, "a", "b", "c")
	s.arrive(2000, time.Second, func() { s.call("", nil) })
	w.run(2 * time.Second)
	require.Len(t, s.out(), 3)
	s.g.Update(instances(4), w.now)
	assert.Len(t, s.out(), 1)
	s.g.Update(instances(1), w.now)
	assert.Empty(t, s.out())
}

func TestTimesGrowUpToABoundAndOneCallIsOnTrial(t *testing.T) {
	w := newWorld(1)
	s := w.watched(balance.Outliers{First: 10 * time.Second, Longest: 35 * time.Second}, 5)
	s.bad(balance.Failed, 0, "c")
	s.arrive(200, 200*time.Second, func() { s.call("", nil) })
	w.run(time.Second)
	require.Len(t, s.notices, 1)
	s.forget()
	w.run(180 * time.Second)
	var long []time.Duration
	for i, n := range s.notices {
		assert.True(t, n.Ejected)
		if i > 0 {
			long = append(long, n.Until.Sub(s.notices[i-1].Until).Round(time.Second))
		}
	}
	assert.Equal(t, []time.Duration{20e9, 30e9, 35e9, 35e9}, long[:4])
	assert.Equal(t, len(long), s.got["c"], "one call each time")
}

func TestItComesBackSlowlyAndIsForgiven(t *testing.T) {
	w := newWorld(1)
	s := w.watched(balance.Outliers{}, 5)
	s.bad(balance.Failed, 0, "c")
	s.arrive(1000, 120*time.Second, func() { s.call("", nil) })
	w.run(5 * time.Second)
	require.Equal(t, []string{"c"}, s.out())
	s.bad(balance.OK, 0)
	w.run(6 * time.Second)
	require.Empty(t, s.out())
	require.Len(t, s.notices, 2)
	assert.False(t, s.notices[1].Ejected)
	s.forget()
	w.run(time.Second)
	assert.Less(t, s.got["c"], s.total()/10, "slow start")
	assert.Equal(t, 1, s.g.States(w.now)[2].Times)
	w.run(20 * time.Second)
	assert.Zero(t, s.g.States(w.now)[2].Times)
	s.forget()
	w.run(5 * time.Second)
	assert.InDelta(t, s.total()/5, s.got["c"], float64(s.total())/25)
}

func TestASlowOneIsTriedByItsLatency(t *testing.T) {
	w := newWorld(1)
	s := w.watched(balance.Outliers{}, 10)
	s.bad(balance.OK, 100*time.Millisecond, "c")
	s.arrive(1500, 70*time.Second, func() { s.call("", nil) })
	w.run(25 * time.Second)
	require.Equal(t, []string{"c"}, s.out(), "it answered the call on trial, but late")
	require.GreaterOrEqual(t, s.g.States(w.now)[2].Times, 2)
	s.bad(balance.OK, 0)
	w.run(40 * time.Second)
	assert.Empty(t, s.out())
}

func TestACallOnTrialThatIsGivenUpIsFollowedByAnother(t *testing.T) {
	w := newWorld(1)
	s := w.watched(balance.Outliers{}, 3)
	s.bad(balance.Failed, 0, "c")
	s.arrive(1000, time.Second, func() { s.call("", nil) })
	w.run(11 * time.Second)
	first, _ := s.g.Pick(balance.Call{Now: w.now})
	assert.Equal(t, "c", first.Member.Instance().ID)
	for range 20 {
		p, _ := s.g.Pick(balance.Call{Now: w.now})
		assert.NotEqual(t, "c", p.Member.Instance().ID, "one at a time")
		s.g.End(p, w.now, balance.OK)
	}
	s.g.End(first, w.now, balance.Ignored)
	notC := func(m *balance.Member) bool { return m.Instance().ID == "c" }
	for range 20 {
		p, _ := s.g.Pick(balance.Call{Now: w.now, Avoid: notC})
		assert.NotEqual(t, "c", p.Member.Instance().ID, "a call that avoids it is none to try it with")
		s.g.End(p, w.now, balance.OK)
	}
	second, _ := s.g.Pick(balance.Call{Now: w.now})
	assert.Equal(t, "c", second.Member.Instance().ID)
	s.g.End(second, w.now, balance.OK)
	assert.Empty(t, s.out())
}

func TestTheEndOfAnOldCallIsNoTrial(t *testing.T) {
	w := newWorld(1)
	s := w.watched(balance.Outliers{}, 2)
	onlyA := func(m *balance.Member) bool { return m.Instance().ID != "a" }
	var old []balance.Pick
	for range 20 {
		p, _ := s.g.Pick(balance.Call{Now: w.now, Avoid: onlyA})
		old = append(old, p)
	}
	for _, p := range old[:10] {
		s.g.End(p, w.now, balance.Failed)
	}
	require.Equal(t, []string{"a"}, s.out())
	s.g.End(old[10], w.now, balance.OK)
	require.Equal(t, []string{"a"}, s.out())
	for _, p := range old[11:] {
		s.g.End(p, w.now, balance.Failed)
	}
	assert.Equal(t, 1, s.g.States(w.now)[0].Times)
	assert.Len(t, s.notices, 1)
}

func TestEachOfSeveralIsTried(t *testing.T) {
	w := newWorld(1)
	s := w.watched(balance.Outliers{}, 10)
	s.bad(balance.Failed, 0, "c", "d")
	s.arrive(1000, time.Second, func() { s.call("", nil) })
	w.run(12 * time.Second)
	require.Len(t, s.out(), 2)
	first, _ := s.g.Pick(balance.Call{Now: w.now})
	second, _ := s.g.Pick(balance.Call{Now: w.now})
	assert.ElementsMatch(t, []string{"c", "d"}, []string{first.Member.Instance().ID, second.Member.Instance().ID})
}
