package message

import (
	"math"
	"strconv"
	"time"

	"trefoil/abstract"
)

// envelope reads one body. Its field readers note the first thing that is wrong
// in head.fault and go on.
type envelope struct {
	cfg  Config
	head Header
	body []byte
}

// longestName bounds what is looked at of a member's name: the longest one we
// know with each of its letters escaped is shorter.
const longestName = 64

// collect scans the body and puts the values of the members named into values,
// the last where a name is repeated; nil where there is none. It returns false
// when the body is no JSON object.
func (e *envelope) collect(values [][]byte, names ...string) bool {
	s := scanner{b: e.body}
	if !s.collect(values, names) {
		return false
	}
	if s.deepest > e.cfg.MaxDepth {
		e.fail(abstract.InvalidMessage, "the body is nested deeper than "+strconv.Itoa(e.cfg.MaxDepth)+" levels")
	}
	return true
}

func (s *scanner) collect(values [][]byte, names []string) bool {
	return s.members(func(m member) bool {
		if len(m.name) > longestName {
			return true
		}
		name := unquote(m.name, m.plain)
		for i, n := range names {
			if n == name {
				values[i] = m.value
				break
			}
		}
		return true
	})
}

// fail notes what is wrong, if it is the first thing.
func (e *envelope) fail(code abstract.RCode, text string) {
	if e.head.fault == nil {
		e.head.fault = &abstract.Error{Code: code, Message: text}
	}
}

// rcode reads the return code that every response has.
func (e *envelope) rcode(raw []byte) abstract.RCode {
	v, ok := small(raw)
	if !ok {
		e.fail(abstract.InvalidMessage, `a response needs an "rcode" that is an integer of 32 bits`)
	}
	return abstract.RCode(v)
}

// small reads an integer of 32 bits.
func small(raw []byte) (int32, bool) {
	v, ok := integer(raw)
	if !ok || v != int64(int32(v)) {
		return 0, false
	}
	return int32(v), true
}

// longestMs is the longest time in milliseconds that a time.Duration holds.
const longestMs = int64(math.MaxInt64 / time.Millisecond)

// count reads an integer from 0 up; none is 0, and more than most counts as most.
func (e *envelope) count(raw []byte, name string, most int64) int64 {
	if raw == nil {
		return 0
	}
	v, ok := integer(raw)
	if !ok || v < 0 {
		e.fail(abstract.InvalidMessage, `"`+name+`" must be an integer from 0 up, of 64 bits at most`)
		return 0
	}
	return min(v, most)
}

// text reads a string that must be there, of at most limit bytes.
func (e *envelope) text(raw []byte, name string, limit int) string {
	if len(raw) == 0 || raw[0] != '"' {
		e.fail(abstract.InvalidMessage, `"`+name+`" must be there, and a string`)
		return ""
	}
	inner := raw[1 : len(raw)-1]
	if len(inner) <= 6*limit { // else it is too long even when all of it is escaped
		if s := unquote(inner, false); len(s) <= limit {
			return s
		}
	}
	e.fail(abstract.InvalidMessage, `"`+name+`" is longer than `+strconv.Itoa(limit)+` bytes`)
	return ""
}

// optional reads a string that may be missing.
func (e *envelope) optional(raw []byte, name string, limit int) string {
	if raw == nil {
		return ""
	}
	return e.text(raw, name, limit)
}

// flag reads 1 or true; everything else is false.
func flag(raw []byte) bool {
	v, ok := integer(raw)
	return ok && v == 1 || string(raw) == "true"
}

const (
	maxWords = 64 << 10 // bytes of an error in words
	maxName  = 256      // bytes of an instance's or an agent's name
	maxHost  = 253      // bytes of a host's name: the longest that DNS knows
)

// host reads an object that says where a provider listens.
func (e *envelope) host(raw []byte) (h ProviderHost, ok bool) {
	h = e.anyHost(raw)
	if h.IP == "" {
		e.fail(abstract.InvalidMessage, `the "ip" of a host must not be empty`)
	}
	if h.Port == 0 {
		e.fail(abstract.InvalidMessage, `the "port" of a host must be an integer from 1 to 65535`)
	}
	return h, e.head.fault == nil
}

// texts reads an array of strings, that may be missing. It stops at the first wrong one.
func (e *envelope) texts(raw []byte, name string, most, limit int) []string {
	if raw == nil {
		return nil
	}
	var list []string
	e.elements(raw, name, most, func(v []byte) { list = append(list, e.text(v, name, limit)) })
	return list
}

const (
	maxMethods  = 127 // further methods of one service request: all of them fit into one transaction
	maxCompress = 16  // ways to compress
	maxTags     = 64
	maxFacts    = 64 // of metadata
)

// traitNames are the members that say what a provider says of itself.
var traitNames = [...]string{"weight", "zone", "version", "tags", "metadata", "state", "relay"}

// The members of a service request, and of a host.
var (
	serviceNames = append([]string{"optype", "method", "host", "instance", "hello", "methods", "ttl_ms", "revision", "reason"}, traitNames[:]...)
	hostNames    = append([]string{"ip", "port", "instance", "hello"}, traitNames[:]...)
)

// traits reads what a provider says of itself.
func (e *envelope) traits(v [][]byte) abstract.Traits {
	t := abstract.Traits{
		Weight:  int(e.count(v[0], "weight", abstract.MaxWeight)),
		Zone:    e.optional(v[1], "zone", abstract.MaxTrait),
		Version: e.optional(v[2], "version", abstract.MaxTrait),
		Meta:    e.meta(v[4]),
		Relay:   flag(v[6]),
	}
	if v[3] != nil {
		if t.Tags = abstract.NewTags(e.texts(v[3], "tags", maxTags, abstract.MaxTrait)...); len(t.Tags) > abstract.MaxTags {
			e.fail(abstract.InvalidMessage, `"tags" are longer than `+strconv.Itoa(abstract.MaxTags)+` bytes together`)
			t.Tags = ""
		}
	}
	t.State, _ = abstract.ParseProviderState(e.optional(v[5], "state", maxName)) // a word that we do not know yet: as if it were up
	return t
}

// meta reads an object of strings.
func (e *envelope) meta(raw []byte) abstract.Meta {
	if raw == nil {
		return ""
	}
	if KindOf(raw) != Object {
		e.fail(abstract.InvalidMessage, `"metadata" must be an object of strings`)
		return ""
	}
	if len(raw) > 6*abstract.MaxMeta {
		e.fail(abstract.InvalidMessage, `"metadata" is longer than `+strconv.Itoa(abstract.MaxMeta)+` bytes`)
		return ""
	}
	facts := make(map[string]string)
	s := scanner{b: raw}
	s.members(func(m member) bool {
		if len(facts) == maxFacts {
			e.fail(abstract.InvalidMessage, `"metadata" has more than `+strconv.Itoa(maxFacts)+` members`)
			return false
		}
		facts[unquote(m.name, m.plain)] = e.text(m.value, "metadata", abstract.MaxMeta)
		return e.head.fault == nil
	})
	meta := abstract.NewMeta(facts)
	if len(meta) > abstract.MaxMeta {
		e.fail(abstract.InvalidMessage, `"metadata" is longer than `+strconv.Itoa(abstract.MaxMeta)+` bytes`)
		return ""
	}
	return meta
}

// anyHost is host, but an empty ip and a port of 0 will do: some existing program
// sends these in its discoveries.
func (e *envelope) anyHost(raw []byte) (h ProviderHost) {
	var v [4 + len(traitNames)][]byte
	s := scanner{b: raw}
	if !s.collect(v[:], hostNames) {
		e.fail(abstract.InvalidMessage, `a "host" must be there, and an object with "ip" and "port"`)
		return h
	}
	h.IP = e.text(v[0], "ip", maxHost)
	port, ok := integer(v[1])
	if !ok || port < 0 || port > math.MaxUint16 {
		e.fail(abstract.InvalidMessage, `the "port" of a host must be an integer from 1 to 65535`)
		return h
	}
	h.Port = int(port)
	h.Instance, h.Hello, h.Traits = e.optional(v[2], "instance", maxName), flag(v[3]), e.traits(v[4:])
	return h
}

// harmless reads a discovery's host, of which nothing is wanted and nothing can
// be wrong; nil when it makes no sense.
func (e *envelope) harmless(raw []byte) *abstract.Host {
	aside := envelope{cfg: e.cfg}
	if h := aside.anyHost(raw); aside.head.fault == nil {
		return &h.Host
	}
	return nil
}

// hosts reads the array of a discovery's answer. It ends at the first wrong one,
// so that rubbish takes no more memory than it has bytes.
func (e *envelope) hosts(raw []byte) []ProviderHost {
	var list []ProviderHost
	e.elements(raw, "host", math.MaxInt, func(v []byte) {
		h, _ := e.host(v)
		list = append(list, h)
	})
	if e.head.fault != nil {
		return nil
	}
	return list
}
