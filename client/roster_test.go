package client

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
)

func providerAt(port int) abstract.Provider {
	return abstract.Provider{Method: "m", Host: abstract.Host{IP: "h", Port: port}, Hello: true}
}

func providersAt(ports ...int) []abstract.Provider {
	list := make([]abstract.Provider, 0, len(ports))
	for _, p := range ports {
		list = append(list, providerAt(p))
	}
	return list
}

func portsOf(list []abstract.Provider) []int {
	ports := make([]int, 0, len(list))
	for _, p := range list {
		ports = append(ports, p.Host.Port)
	}
	slices.Sort(ports)
	return ports
}

const testGrace = 3 * time.Second

// told is a roster of one session that has an answer.
func told(revision uint64, ports ...int) *roster {
	r := new(roster)
	r.meet(1)
	q, _ := r.begin()
	r.answer(q, answer{revision: revision, list: providersAt(ports...)}, time.Time{}, testGrace)
	return r
}

func TestNoticesCountInOrder(t *testing.T) {
	for _, c := range []struct {
		name   string
		notice news
		want   []int
		ask    bool
	}{
		{"the next", news{6, false, providerAt(3)}, []int{1, 2, 3}, false},
		{"the next that goes", news{6, true, providerAt(1)}, []int{2}, false},
		{"the same again", news{5, true, providerAt(1)}, []int{1, 2}, false},
		{"an older one", news{2, true, providerAt(1)}, []int{1, 2}, false},
		{"after a gap it is news, and something was missed", news{8, true, providerAt(1)}, []int{2}, true},
		{"not counted", news{0, true, providerAt(1)}, []int{2}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := told(5, 1, 2)
			out := r.notice(1, c.notice)
			assert.Equal(t, c.want, portsOf(r.list))
			assert.Equal(t, c.ask, out.ask)
			assert.Equal(t, !slices.Equal(c.want, []int{1, 2}), out.changed)
		})
	}
}

func TestNoticesOfAnotherSessionDoNotCount(t *testing.T) {
	r := told(5, 1, 2)
	assert.Zero(t, r.notice(7, news{6, true, providerAt(1)}))
	r.meet(2)
	assert.Zero(t, r.notice(1, news{6, true, providerAt(1)}))
	assert.Equal(t, []int{1, 2}, portsOf(r.list))
}

func TestOneQuestionAtATime(t *testing.T) {
	r := told(5, 1)
	require.True(t, r.notice(1, news{7, false, providerAt(2)}).ask)
	q, ok := r.begin()
	require.True(t, ok)
	assert.Zero(t, q.revision, "the list that it has is none of a revision")
	assert.False(t, r.notice(1, news{9, false, providerAt(3)}).ask, "one is on its way")
	_, ok = r.begin()
	assert.False(t, ok)
	assert.True(t, r.answer(q, answer{revision: 7, list: providersAt(1, 2)}, time.Time{}, testGrace).ask, "9 is not in it")
	assert.Equal(t, []int{1, 2, 3}, portsOf(r.list), "and so it does not hide who came with 9")
	q, _ = r.begin()
	assert.False(t, r.answer(q, answer{revision: 9, list: providersAt(1, 2, 3, 4)}, time.Time{}, testGrace).ask)
	assert.Equal(t, []int{1, 2, 3, 4}, portsOf(r.list))
}

func TestAnswers(t *testing.T) {
	t.Run("one that is older than the notices is dropped", func(t *testing.T) {
		r := told(5, 1)
		q := r.whole()
		r.notice(1, news{6, true, providerAt(1)})
		r.answer(q, answer{revision: 5, list: providersAt(1)}, time.Time{}, testGrace)
		assert.Empty(t, r.list)
	})
	t.Run("unchanged changes nothing", func(t *testing.T) {
		r := told(5, 1)
		q, _ := r.begin()
		assert.Equal(t, uint64(5), q.revision)
		assert.Zero(t, r.answer(q, answer{revision: 5, unchanged: true}, time.Time{}, testGrace))
		assert.Equal(t, []int{1}, portsOf(r.list))
		_, ok := r.begin()
		assert.True(t, ok, "the question is answered")
	})
	t.Run("unchanged to a question for all is no list", func(t *testing.T) {
		r := new(roster)
		r.meet(1)
		q, _ := r.begin()
		r.answer(q, answer{revision: 5, unchanged: true}, time.Time{}, testGrace)
		assert.False(t, r.known)
	})
	t.Run("a registry that counts anew is believed when it was asked in the knowledge of all", func(t *testing.T) {
		r := told(5, 1)
		q, _ := r.begin()
		out := r.answer(q, answer{revision: 2, list: providersAt(2)}, time.Time{}, 0)
		assert.False(t, out.ask, "or it would be asked for ever")
		assert.Equal(t, []int{2}, portsOf(r.list))
		r.notice(1, news{3, false, providerAt(3)})
		assert.Equal(t, []int{2, 3}, portsOf(r.list))
	})
	t.Run("of another session is dropped", func(t *testing.T) {
		r := told(5, 1)
		q := r.whole()
		r.meet(2)
		r.answer(q, answer{revision: 9, list: providersAt(2)}, time.Time{}, testGrace)
		assert.Equal(t, []int{1}, portsOf(r.list))
	})
}

func TestWhoVanishesWithoutANoticeIsHeld(t *testing.T) {
	start := time.Now()
	for _, c := range []struct {
		name       string
		anew       bool // in a new session
		before     []int
		after      []int
		held       []int
		fell       bool
		untilGrace bool
	}{
		{"many to none", false, []int{1, 2}, nil, []int{1, 2}, true, true},
		{"below half", false, []int{1, 2, 3}, []int{1}, []int{2, 3}, true, true},
		{"half is believed", false, []int{1, 2, 3, 4}, []int{1, 2}, []int{}, false, false},
		{"one to none is believed", false, []int{1}, nil, []int{}, false, false},
		{"a few in a new session", true, []int{1, 2, 3}, []int{1, 2}, []int{3}, false, true},
		{"the only one in a new session", true, []int{1}, nil, []int{1}, true, true},
		{"all back in a new session", true, []int{1, 2}, []int{1, 2}, []int{}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := told(5, c.before...)
			if c.anew {
				r.meet(2)
			}
			q, _ := r.begin()
			out := r.answer(q, answer{revision: 9, list: providersAt(c.after...)}, start, testGrace)
			assert.Equal(t, c.fell, out.fell)
			assert.Equal(t, c.held, portsOf(r.held))
			assert.Equal(t, portsOf(append(providersAt(c.after...), r.held...)), portsOf(r.list))
			if !c.untilGrace {
				assert.Zero(t, r.wake())
				return
			}
			assert.Equal(t, start.Add(testGrace), r.wake())
			q, _ = r.begin()
			again := r.answer(q, answer{revision: 10, list: providersAt(c.after...)}, start.Add(time.Second), testGrace)
			assert.False(t, again.fell, "it is told once")
			assert.Equal(t, start.Add(testGrace), r.wake(), "and nobody is held longer by asking again")
			assert.Zero(t, r.expire(start.Add(testGrace-1)))
			assert.True(t, r.expire(start.Add(testGrace)).changed)
			assert.Equal(t, portsOf(providersAt(c.after...)), portsOf(r.list))
			assert.Zero(t, r.wake())
		})
	}
}

func TestHeldProviders(t *testing.T) {
	held := func() *roster {
		r := told(5, 1, 2, 3)
		r.meet(2)
		q, _ := r.begin()
		r.answer(q, answer{revision: 1}, time.Now(), testGrace)
		require.Equal(t, []int{1, 2, 3}, portsOf(r.held))
		return r
	}
	t.Run("are given up by an explicit notice", func(t *testing.T) {
		r := held()
		r.notice(2, news{2, true, providerAt(1)})
		assert.Equal(t, []int{2, 3}, portsOf(r.list))
		assert.Equal(t, []int{2, 3}, portsOf(r.held))
	})
	t.Run("are there again when they come back", func(t *testing.T) {
		r := held()
		r.notice(2, news{2, false, providerAt(1)})
		assert.Equal(t, []int{1, 2, 3}, portsOf(r.list))
		assert.Equal(t, []int{2, 3}, portsOf(r.held))
	})
	t.Run("are not held when grace is off", func(t *testing.T) {
		r := held()
		r.meet(3)
		q, _ := r.begin()
		r.answer(q, answer{revision: 1, list: providersAt(9)}, time.Now(), 0)
		assert.Equal(t, []int{9}, portsOf(r.list))
		assert.Empty(t, r.held)
	})
	t.Run("are those of a saved list until there is an answer", func(t *testing.T) {
		r := new(roster)
		require.True(t, r.load(providersAt(1, 2)).changed)
		assert.Equal(t, []int{1, 2}, portsOf(r.held))
		assert.Zero(t, r.expire(time.Now().Add(time.Hour)))
		r.meet(1)
		q, _ := r.begin()
		now := time.Now()
		assert.False(t, r.answer(q, answer{revision: 1, list: providersAt(2)}, now, testGrace).fell)
		assert.Equal(t, []int{1}, portsOf(r.held))
		r.expire(now.Add(testGrace))
		assert.Equal(t, []int{2}, portsOf(r.list))
		assert.Zero(t, r.load(providersAt(7)), "an answer is better")
	})
}

// What follows plays a discoverer against a model of a registry, over a network that
// delays, doubles, drops and reorders everything and loses connections, and a registry
// that restarts and knows nobody then.

// rosterLike is a roster, or a wrong one.
type rosterLike interface {
	meet(session uint64)
	begin() (question, bool)
	whole() question
	ended(q question)
	answer(q question, a answer, now time.Time, grace time.Duration) advice
	notice(session uint64, n news) advice
	expire(now time.Time) advice
}

// credulous looks at no revision of a notice.
type credulous struct{ *roster }

func (r credulous) notice(session uint64, n news) advice {
	n.revision = 0
	return r.roster.notice(session, n)
}

// nostalgic takes old answers.
type nostalgic struct{ *roster }

func (r nostalgic) answer(q question, a answer, now time.Time, grace time.Duration) advice {
	q.heard = math.MaxUint64
	return r.roster.answer(q, a, now, grace)
}

// faithful takes what comes from connections of before.
type faithful struct{ *roster }

func (r faithful) answer(q question, a answer, now time.Time, grace time.Duration) advice {
	q.session = r.session
	return r.roster.answer(q, a, now, grace)
}

func (r faithful) notice(_ uint64, n news) advice { return r.roster.notice(r.session, n) }

// clinging holds for ever.
type clinging struct{ *roster }

func (r clinging) expire(time.Time) advice { return advice{} }

// step is one event of a play: what happens, and to which of those it may happen to.
type step struct{ what, which int }

const (
	stepRegister = iota
	stepUnregister
	stepDeliver
	stepDeliverNext
	stepDouble
	stepDrop
	stepTimeout
	stepLose
	stepRestart
	stepRecheck
	stepDiscover
	stepWait
)

// often says what happens more often than the rest.
var often = []int{
	stepRegister, stepRegister, stepRegister, stepRegister, stepUnregister, stepUnregister, stepUnregister,
	stepDeliver, stepDeliver, stepDeliver, stepDeliverNext, stepDeliverNext, stepDeliverNext, stepDouble, stepDouble,
	stepDrop, stepTimeout, stepLose, stepRestart, stepRecheck, stepDiscover, stepWait,
}

var plays = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
	return step{rapid.SampledFrom(often).Draw(t, "what"), rapid.IntRange(0, 1000).Draw(t, "which")}
}), 40, 200)

// parcel is a message on its way.
type parcel struct {
	session  uint64
	question *question
	answer   *answer
	of       question // that the answer is for
	news     *news
}

type play struct {
	r       rosterLike
	inner   *roster
	now     time.Time
	session uint64

	truth    []abstract.Provider
	revision uint64 // of the registry for this session
	told     bool   // the registry has been asked in this session
	way      []parcel
	pending  []question
}

func (p *play) run(all []step) error {
	p.now = time.Now()
	p.reconnect()
	for _, s := range all {
		p.step(s)
		if err := p.sane(); err != nil {
			return fmt.Errorf("%+v: %w", s, err)
		}
	}
	// From here on nothing goes wrong; what is on its way comes in an order that the
	// steps choose.
	for _, q := range p.pending {
		p.r.ended(q)
	}
	p.recheck()
	for i := 0; len(p.way) > 0; i++ {
		which := i * 7919
		if i < len(all) {
			which = all[i].which
		}
		p.deliver(which % len(p.way))
		if i > 10_000 {
			return fmt.Errorf("it asks for ever")
		}
	}
	p.now = p.now.Add(testGrace)
	p.r.expire(p.now)
	if err := p.sane(); err != nil {
		return err
	}
	byPort := func(a, b abstract.Provider) int { return a.Host.Port - b.Host.Port }
	if got, want := slices.SortedFunc(slices.Values(p.inner.list), byPort), slices.SortedFunc(slices.Values(p.truth), byPort); !slices.Equal(got, want) {
		return fmt.Errorf("the list is %v, the truth is %v", got, want)
	}
	if len(p.inner.held) > 0 {
		return fmt.Errorf("still held: %v", p.inner.held)
	}
	return nil
}

func (p *play) sane() error {
	r := p.inner
	hosts := map[abstract.Host]bool{}
	for _, q := range r.list {
		hosts[q.Host] = true
	}
	switch {
	case len(hosts) != len(r.list):
		return fmt.Errorf("somebody is twice in %v", r.list)
	case r.revision > r.heard:
		return fmt.Errorf("revision %d is after %d, the last that was heard", r.revision, r.heard)
	case len(r.held) != len(r.until):
		return fmt.Errorf("%d held, %d times", len(r.held), len(r.until))
	}
	for _, q := range r.held {
		if !slices.Contains(r.list, q) {
			return fmt.Errorf("%v is held and not in the list", q)
		}
	}
	return nil
}

func (p *play) step(s step) {
	const hosts = 5
	switch s.what {
	case stepRegister: // or change
		q := providerAt(1 + s.which%hosts)
		q.Weight = 1 + s.which/hosts%3
		i := at(p.truth, q.Host)
		switch {
		case i < 0:
			p.truth = append(p.truth, q)
		case p.truth[i] == q:
			return
		default:
			p.truth[i] = q
		}
		p.tell(news{provider: q})
	case stepUnregister:
		if len(p.truth) > 0 {
			q := p.truth[s.which%len(p.truth)]
			p.truth = without(p.truth, q.Host)
			p.tell(news{offline: true, provider: q})
		}
	case stepDeliver:
		if len(p.way) > 0 {
			p.deliver(s.which % len(p.way))
		}
	case stepDeliverNext:
		if len(p.way) > 0 {
			p.deliver(0)
		}
	case stepDouble:
		if len(p.way) > 0 {
			p.way = append(p.way, p.way[s.which%len(p.way)])
		}
	case stepDrop:
		if len(p.way) > 0 {
			i := s.which % len(p.way)
			p.way = slices.Delete(p.way, i, i+1)
		}
	case stepTimeout:
		if len(p.pending) > 0 {
			i := s.which % len(p.pending)
			p.r.ended(p.pending[i])
			p.pending = slices.Delete(p.pending, i, i+1)
		}
	case stepLose:
		p.reconnect()
	case stepRestart:
		p.truth = nil
		p.reconnect()
	case stepRecheck:
		p.recheck()
	case stepDiscover:
		p.ask(p.r.whole())
	case stepWait:
		p.now = p.now.Add(time.Duration(s.which%4) * time.Second)
		p.r.expire(p.now)
	}
}

// tell is what the registry does with a change.
func (p *play) tell(n news) {
	p.revision++
	if p.told {
		n.revision = p.revision
		p.way = append(p.way, parcel{session: p.session, news: &n})
	}
}

func (p *play) reconnect() {
	p.session++
	p.revision, p.told = p.revision%3, false // it counts anew
	p.pending = nil
	p.r.meet(p.session)
	p.recheck()
}

func (p *play) recheck() {
	if q, ok := p.r.begin(); ok {
		p.ask(q)
	}
}

func (p *play) ask(q question) {
	p.pending = append(p.pending, q)
	p.way = append(p.way, parcel{session: p.session, question: &q})
}

// deliver lets one message arrive.
func (p *play) deliver(i int) {
	m := p.way[i]
	p.way = slices.Delete(p.way, i, i+1)
	var out advice
	switch {
	case m.question != nil:
		if m.session == p.session {
			p.told = true
			a := &answer{revision: p.revision, list: slices.Clone(p.truth)}
			if m.question.revision != 0 && m.question.revision == p.revision {
				a = &answer{revision: p.revision, unchanged: true}
			}
			p.way = append(p.way, parcel{session: p.session, answer: a, of: *m.question})
		}
		return
	case m.answer != nil:
		p.pending = slices.DeleteFunc(p.pending, func(q question) bool { return q == m.of })
		out = p.r.answer(m.of, *m.answer, p.now, testGrace)
	default:
		out = p.r.notice(m.session, *m.news)
	}
	if out.ask {
		p.recheck()
	}
}

func TestWhateverTheNetworkDoesTheListConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := new(roster)
		if err := (&play{r: r, inner: r}).run(plays.Draw(t, "steps")); err != nil {
			t.Fatal(err)
		}
	})
}

// A property that finds nothing wrong with wrong rosters is worth nothing.
func TestWrongRostersAreFound(t *testing.T) {
	found := func(like func(*roster) rosterLike) (n int) {
		const tries = 500
		for seed := range tries {
			r := new(roster)
			if (&play{r: like(r), inner: r}).run(plays.Example(seed)) != nil {
				n++
			}
		}
		t.Logf("found by %d of %d plays", n, tries)
		return n
	}
	assert.Zero(t, found(func(r *roster) rosterLike { return r }), "the right one")
	assert.Positive(t, found(func(r *roster) rosterLike { return credulous{r} }), "one without revisions")
	assert.Positive(t, found(func(r *roster) rosterLike { return nostalgic{r} }), "one that takes old answers")
	assert.Positive(t, found(func(r *roster) rosterLike { return faithful{r} }), "one that takes what comes from connections of before")
	assert.Positive(t, found(func(r *roster) rosterLike { return clinging{r} }), "one that holds providers for ever")
}
