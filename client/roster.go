package client

import (
	"slices"
	"time"

	"trefoil/abstract"
)

// roster is what a discoverer knows of one method's providers: what the registry
// says goes in, what is to be done comes out. It holds no lock, no clock and no
// connection, and the same events give the same result every time.
//
// A registry that counts gives each notice the next number, its revision, and names
// the last one in every answer. So a roster sees that it has missed a notice, and
// asks; that a notice or an answer is older than what it knows, and drops it. The
// registry counts for each connection anew.
//
// Providers that vanish from the registry's answers although nobody has said that
// they went, are held: they stay in the list for a while. See take.
type roster struct {
	known bool                // list says something: the registry has answered once, or has been away for so long that a saved list is used
	list  []abstract.Provider // replaced, never changed
	held  []abstract.Provider // part of list that the last answer did not know; replaced, never changed
	until []time.Time         // beside held: how long; zero: until there is an answer

	session  uint64 // of the messages that count; 0: none yet
	answered bool   // the registry has answered in this session
	revision uint64 // up to here list says all that was told in this session
	heard    uint64 // the revision of the newest notice: never below revision, and above it when a notice was missed
	open     uint64 // the number of the question that is on its way; 0: none
	numbers  uint64
}

// question is one that was asked for a roster. What it was asked in the knowledge of
// says how new its answer must be.
type question struct {
	number   uint64
	session  uint64
	heard    uint64
	revision uint64 // that it is to name; 0: the whole list is wanted
}

// answer is a registry's list of a method's providers.
type answer struct {
	revision  uint64 // 0: it does not count
	unchanged bool   // it is the one of the revision that the question has named
	list      []abstract.Provider
}

// news is a notice that a provider came, changed or went.
type news struct {
	revision uint64 // 0: it is not counted
	offline  bool
	provider abstract.Provider
}

// advice is what an event comes to.
type advice struct {
	changed bool // list, or held
	ask     bool // something was missed: ask now
	fell    bool // the answer knows less than half of those who were there; the others are held
}

// meet begins a session: what the registry says in another one does not count any
// more.
func (r *roster) meet(session uint64) {
	r.session, r.answered = session, false
	r.revision, r.heard, r.open = 0, 0, 0
}

// missed says whether there was a notice that was not seen.
func (r *roster) missed() bool { return r.heard > r.revision }

// whole makes a question for the whole list that others than the roster wait for.
func (r *roster) whole() question { return question{session: r.session, heard: r.heard} }

// begin makes the roster's own question, unless one is on its way.
func (r *roster) begin() (question, bool) {
	if r.open != 0 || r.session == 0 {
		return question{}, false
	}
	r.numbers++
	q := r.whole()
	q.number, r.open = r.numbers, r.numbers
	if r.answered && !r.missed() {
		q.revision = r.revision
	}
	return q, true
}

// ended notes that a question is not on its way any more.
func (r *roster) ended(q question) {
	if q.number != 0 && q.number == r.open {
		r.open = 0
	}
}

// answer takes the answer to a question. One that is older than the news is dropped,
// and asked for again: who was heard to go would come back by it.
func (r *roster) answer(q question, a answer, now time.Time, grace time.Duration) advice {
	if q.session != r.session || q.session == 0 {
		return advice{}
	}
	r.ended(q)
	knewAll := q.heard >= r.heard // then the answer is the newest there is, whatever its revision
	switch {
	case a.unchanged && (q.revision == 0 || a.revision != r.revision),
		!a.unchanged && a.revision < r.heard && !knewAll:
		return advice{ask: r.missed() && r.open == 0}
	case a.unchanged:
		return advice{}
	}
	anew := !r.answered && r.known
	r.answered, r.known, r.revision = true, true, a.revision
	if knewAll {
		r.heard = a.revision
	}
	r.heard = max(r.heard, a.revision)
	out := r.take(a.list, anew, now, grace)
	out.ask = r.missed() && r.open == 0
	return out
}

// take replaces the list by one that is complete. Providers that it lacks were not
// said to go. In the first answer of a session they have perhaps not come back yet
// themselves; later on, when most of them vanish at once, it is rather the registry
// that has lost them. They are held for a while then, and who is held already is not
// held longer by the same session's answers.
func (r *roster) take(list []abstract.Provider, anew bool, now time.Time, grace time.Duration) advice {
	missing := absent(r.list, list)
	lost := absent(missing, r.held)
	before := len(r.list) - len(r.held)
	fell := 2*(before-len(lost)) < before
	if grace <= 0 || !anew && !(fell && before > 1) {
		missing, fell = absent(missing, lost), false
	}
	var held []abstract.Provider
	var until []time.Time
	for _, p := range missing {
		end := now.Add(grace)
		if i := at(r.held, p.Host); i >= 0 && !anew && grace > 0 {
			end = r.until[i]
		}
		held, until = append(held, p), append(until, end)
	}
	if grace <= 0 {
		held, until = nil, nil
	}
	return advice{changed: r.become(append(slices.Clip(list), held...), held, until), fell: fell}
}

// become returns whether that is another state than before.
func (r *roster) become(list, held []abstract.Provider, until []time.Time) bool {
	changed := !slices.Equal(r.list, list) || !slices.Equal(r.held, held)
	r.list, r.held, r.until = list, held, until
	return changed
}

// notice takes a notice. One that comes after a gap is news all the same.
func (r *roster) notice(session uint64, n news) advice {
	if session != r.session {
		return advice{}
	}
	if n.revision != 0 {
		if n.revision <= r.heard {
			return advice{} // we know better
		}
		if r.answered && n.revision == r.revision+1 {
			r.revision = n.revision
		}
		r.heard = n.revision
	}
	if !r.known { // the answer says more
		return advice{ask: r.missed() && r.open == 0}
	}
	list, held, until := slices.Clone(r.list), r.held, r.until
	i := at(list, n.provider.Host)
	switch {
	case n.offline && i >= 0:
		list = slices.Delete(list, i, i+1)
	case !n.offline && i >= 0:
		list[i] = n.provider
	case !n.offline:
		list = append(list, n.provider)
	}
	if i := at(held, n.provider.Host); i >= 0 {
		held, until = slices.Delete(slices.Clone(held), i, i+1), slices.Delete(slices.Clone(until), i, i+1)
	}
	return advice{changed: r.become(list, held, until), ask: r.missed() && r.open == 0}
}

// load takes a list from a time before this process, all of it held, for as long as
// the registry does not answer.
func (r *roster) load(list []abstract.Provider) advice {
	if r.known || len(list) == 0 {
		return advice{}
	}
	r.known = true
	return advice{changed: r.become(list, list, make([]time.Time, len(list)))}
}

// expire gives up who was held for long enough.
func (r *roster) expire(now time.Time) advice {
	list, held, until := r.list, []abstract.Provider(nil), []time.Time(nil)
	for i, p := range r.held {
		if r.until[i].IsZero() || now.Before(r.until[i]) {
			held, until = append(held, p), append(until, r.until[i])
			continue
		}
		list = without(list, p.Host)
	}
	return advice{changed: r.become(list, held, until)}
}

// wake is when expire has something to do; zero: never.
func (r *roster) wake() time.Time {
	var first time.Time
	for _, t := range r.until {
		if first.IsZero() || !t.IsZero() && t.Before(first) {
			first = t
		}
	}
	return first
}

// at returns the index of the provider at host, or -1.
func at(list []abstract.Provider, host abstract.Host) int {
	return slices.IndexFunc(list, func(p abstract.Provider) bool { return p.Host == host })
}

// without returns list less the provider at host; the same slice when it is not there.
func without(list []abstract.Provider, host abstract.Host) []abstract.Provider {
	i := at(list, host)
	if i < 0 {
		return list
	}
	return slices.Delete(slices.Clone(list), i, i+1)
}

// absent returns those of a at whose hosts nobody of b is.
func absent(a, b []abstract.Provider) []abstract.Provider {
	return missingFrom(a, b, func(p *abstract.Provider) identity { return identity{host: p.Host} })
}

// difference returns those of a that are not in b. Another process at the same host
// is another provider; one that says something else of itself is the same.
func difference(a, b []abstract.Provider) []abstract.Provider {
	return missingFrom(a, b, identityOf)
}

func missingFrom(a, b []abstract.Provider, of func(*abstract.Provider) identity) []abstract.Provider {
	if len(a) == 0 {
		return nil
	}
	there := make(map[identity]struct{}, len(b))
	for i := range b {
		there[of(&b[i])] = struct{}{}
	}
	var only []abstract.Provider
	for i := range a {
		if _, ok := there[of(&a[i])]; !ok {
			only = append(only, a[i])
		}
	}
	return only
}
