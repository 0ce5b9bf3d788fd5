package registry

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"trefoil/abstract"
)

// Prefix is where providers stand in the Store:
//
//	/services/<method>/<owner>/<host>             a legacy provider
//	/services/<method>/<owner>/<instance>,<host>  one with an instance id
//
// The owner is the broker's name and the connection's number, "local-42", the
// host is "ip:port". Every part is escaped as a part of a URL's path is, so that
// any text may be a method and two different providers never share a key.
//
// As the key names the owner, deleting it can only hit what this connection has
// registered: a provider that came back over a new connection has another key.
const Prefix = "/services/"

const maxPort = 65535

func validPort(port int) bool { return port >= 1 && port <= maxPort }

// owner is the connection that registered a provider, at whichever broker.
type owner struct {
	broker string
	conn   ConnID
}

// entry is what a key says: the identity of a provider.
type entry struct {
	method   string
	owner    owner
	instance string
	host     abstract.Host
}

// clone returns what does not lie in a received frame.
func (e entry) clone() entry {
	e.method, e.instance, e.host.IP = strings.Clone(e.method), strings.Clone(e.instance), strings.Clone(e.host.IP)
	return e
}

// key returns the entry's key in the Store.
func (e entry) key() string {
	var room [256]byte
	b := append(room[:0], Prefix...)
	b = append(appendPart(b, e.method), '/')
	b = append(appendPart(b, e.owner.broker), '-')
	b = strconv.AppendUint(b, uint64(e.owner.conn), 10)
	b = append(b, '/')
	if e.instance != "" {
		b = append(appendPart(b, e.instance), ',')
	}
	b = append(appendPart(b, e.host.IP), ':')
	b = strconv.AppendInt(b, int64(e.host.Port), 10)
	return string(b)
}

func appendPart(b []byte, part string) []byte {
	if !unreserved(part) {
		part = url.PathEscape(part)
	}
	return append(b, part...)
}

// unreserved says whether a part stands for itself, as most do.
func unreserved(part string) bool {
	for i := range len(part) {
		switch c := part[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '.', c == '-', c >= 'A' && c <= 'Z', c == '_', c == '~':
		default:
			return false
		}
	}
	return true
}

// parseKey is the way back. It is not ok for any text that key would not write,
// so that one provider has one key.
func parseKey(key string) (e entry, ok bool) {
	rest, ok := strings.CutPrefix(key, Prefix)
	if !ok {
		return e, false
	}
	method, rest, ok1 := strings.Cut(rest, "/")
	by, at, ok2 := strings.Cut(rest, "/")
	if !ok1 || !ok2 {
		return e, false
	}
	instance, host, ok := strings.Cut(at, ",")
	if !ok {
		instance, host = "", at
	} else if instance == "" {
		return e, false
	}
	return parseParts(method, by, instance, host)
}

func parseParts(method, by, instance, host string) (e entry, ok bool) {
	dash, colon := strings.LastIndexByte(by, '-'), strings.LastIndexByte(host, ':')
	if method == "" || dash < 0 || colon < 1 {
		return e, false
	}
	conn, ok1 := parseNumber(by[dash+1:])
	port, ok2 := parseNumber(host[colon+1:])
	if !ok1 || !ok2 || port > maxPort || !validPort(int(port)) {
		return e, false
	}
	parts := [4]string{method, by[:dash], instance, host[:colon]}
	for i := range parts {
		if parts[i], ok = unescape(parts[i]); !ok {
			return e, false
		}
	}
	return entry{parts[0], owner{parts[1], ConnID(conn)}, parts[2], abstract.Host{IP: parts[3], Port: int(port)}}, true
}

// parseNumber takes a number as strconv writes it: no sign, no leading zero.
func parseNumber(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && (s[0] != '0' || s == "0")
}

// unescape takes what url.PathEscape writes, and nothing else.
func unescape(s string) (string, bool) {
	if unreserved(s) {
		return s, true
	}
	text, err := url.PathUnescape(s)
	return text, err == nil && url.PathEscape(text) == s
}

// value is what stands under a key. The index takes Hello and the traits from it,
// the rest is for people and programs that look into the Store.
type value struct {
	IP       string `json:"ip"`
	Port     int    `json:"port"`
	Instance string `json:"instance,omitempty"`
	Weight   int    `json:"weight,omitempty"`
	Zone     string `json:"zone,omitempty"`
	Version  string `json:"version,omitempty"`
	Hello    bool   `json:"hello,omitempty"`

	Tags  []string          `json:"tags,omitempty"`
	Meta  map[string]string `json:"metadata,omitempty"`
	State string            `json:"state,omitempty"`
	Relay bool              `json:"relay,omitempty"`
}

func (e entry) value(hello bool, t abstract.Traits) ([]byte, error) {
	if !plain(e.host.IP) || !plain(e.instance) || t != (abstract.Traits{Relay: t.Relay}) {
		v := value{IP: e.host.IP, Port: e.host.Port, Instance: e.instance, Weight: t.Weight, Zone: t.Zone, Version: t.Version, Hello: hello, Tags: t.Tags.All(), Relay: t.Relay}
		if t.Meta != "" {
			v.Meta = t.Meta.All()
		}
		if t.State != abstract.Up {
			v.State = t.State.String()
		}
		return json.Marshal(v)
	}
	b := make([]byte, 0, len(e.host.IP)+len(e.instance)+64)
	b = append(append(append(b, `{"ip":"`...), e.host.IP...), `","port":`...)
	b = strconv.AppendInt(b, int64(e.host.Port), 10)
	if e.instance != "" {
		b = append(append(append(b, `,"instance":"`...), e.instance...), '"')
	}
	if hello {
		b = append(b, helloMember...)
	}
	if t.Relay {
		b = append(b, relayMember...)
	}
	return append(b, '}'), nil
}

const (
	helloMember = `,"hello":true`
	relayMember = `,"relay":true`
)

// plain says whether a text stands for itself between quotes, as addresses do.
func plain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}

// said is what a value says of its provider.
type said struct {
	hello  bool
	relay  bool             // besides the traits, as that is all that most have
	traits *abstract.Traits // nil: none
}

// parseValue reads a value. A provider whose value we do not understand is called
// as a legacy one: every provider understands that.
func parseValue(b []byte) said {
	if s, ok := parsePlain(b); ok {
		return s
	}
	var v value
	if json.Unmarshal(b, &v) != nil {
		return said{}
	}
	s := said{hello: v.Hello, relay: v.Relay}
	state, _ := abstract.ParseProviderState(v.State)
	if t := (abstract.Traits{
		Weight: min(max(v.Weight, 0), abstract.MaxWeight), Zone: v.Zone, Version: v.Version,
		Tags: abstract.NewTags(v.Tags...), Meta: abstract.NewMeta(v.Meta), State: state,
	}); t != (abstract.Traits{}) {
		s.traits = &t
	}
	return s
}

// parsePlain reads a value as we write that of a provider without traits, which is
// what most are. Not ok: it is another one.
func parsePlain(b []byte) (s said, ok bool) {
	ip, rest, ok := bytes.Cut(b, []byte(`","port":`))
	if ip, whole := bytes.CutPrefix(ip, []byte(`{"ip":"`)); !ok || !whole || bytes.ContainsAny(ip, `"\`) {
		return said{}, false
	}
	for len(rest) > 0 && rest[0] >= '0' && rest[0] <= '9' {
		rest = rest[1:]
	}
	if after, found := bytes.CutPrefix(rest, []byte(`,"instance":"`)); found {
		quote := bytes.IndexByte(after, '"')
		if quote < 0 || bytes.IndexByte(after[:quote], '\\') >= 0 {
			return said{}, false
		}
		rest = after[quote+1:]
	}
	rest, s.hello = bytes.CutPrefix(rest, []byte(helloMember))
	rest, s.relay = bytes.CutPrefix(rest, []byte(relayMember))
	return s, string(rest) == "}"
}

// same says whether two providers say the same.
func (s said) same(t said) bool { return s.hello == t.hello && s.shown() == t.shown() }

// shown are the traits, none included.
func (s said) shown() abstract.Traits {
	var t abstract.Traits
	if s.traits != nil {
		t = *s.traits
	}
	t.Relay = t.Relay || s.relay
	return t
}
