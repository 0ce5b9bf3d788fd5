package abstract

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Provider is one place that serves a method.
type Provider struct {
	Method   string
	Host     Host
	Instance string // the provider's own id; empty for a legacy provider
	Hello    bool   // the provider speaks HELLO; others are called as legacy peers
	// TTL is for registering: the registration ends when nobody has repeated it, or
	// sent a heartbeat for it, for so long. 0: it lasts as long as its connection. Not
	// said of a provider that was discovered.
	TTL time.Duration
	Traits
}

// Traits are what a provider says of itself for callers to choose by. They are not
// part of what it is told apart by: registered again with others, it is the same
// one, changed. Legacy peers do not see them.
type Traits struct {
	Weight  int    // its share of the calls beside the others' weights; 0 is the usual 100; at most MaxWeight
	Zone    string // where it is, so that callers can stay near
	Version string // of what it serves
	Tags    Tags   // words to choose by
	Meta    Meta   // facts about it, for people and programs
	State   ProviderState
	Relay   bool // it takes calls through its connection to the broker, too
}

// ProviderState says whether a provider is to be given calls. Legacy peers only
// hear of those that are up.
type ProviderState uint8

// The states.
const (
	Up        ProviderState = iota // it takes calls
	Retiring                       // it drains: it ends what it has begun, and takes no new calls
	Unhealthy                      // the registry could not reach it, or callers could not; to be called only when nobody else is there
	Lost                           // its connection to the registry is gone, and with it those of so many others that the registry does not believe it
)

var providerStates = [...]string{"up", "draining", "unhealthy", "lost"}

// String returns the state's word on the wire.
func (s ProviderState) String() string {
	if int(s) < len(providerStates) {
		return providerStates[s]
	}
	return "unknown"
}

// ParseProviderState returns the state of a word; an empty one is Up. Not ok: it is
// none that we know.
func ParseProviderState(word string) (s ProviderState, ok bool) {
	if word == "" {
		return Up, true
	}
	i := slices.Index(providerStates[:], word)
	return ProviderState(max(i, 0)), i >= 0
}

// Tags is a set of words, comparable with ==: the words in order, separated by
// commas. Make it with NewTags.
type Tags string

// NewTags makes Tags of words, each once. Empty words, and spaces round a word, are
// dropped; a comma separates words.
func NewTags(words ...string) Tags {
	var all []string
	for _, w := range words {
		for part := range strings.SplitSeq(w, ",") {
			if part = strings.TrimSpace(part); part != "" {
				all = append(all, part)
			}
		}
	}
	slices.Sort(all)
	return Tags(strings.Join(slices.Compact(all), ","))
}

// All returns the words, in order.
func (t Tags) All() []string {
	if t == "" {
		return nil
	}
	return strings.Split(string(t), ",")
}

// Has says whether word is one of the Tags.
func (t Tags) Has(word string) bool { return slices.Contains(t.All(), word) }

// Meta is names and values, comparable with ==: the text of a JSON object whose
// members are strings, in the order of their names; empty when there are none. Make
// it with NewMeta.
type Meta string

// NewMeta makes Meta of names and values.
func NewMeta(facts map[string]string) Meta {
	if len(facts) == 0 {
		return ""
	}
	text, _ := json.Marshal(facts) // a map of strings always encodes, by name
	return Meta(text)
}

// All returns the names and values, in a new map.
func (m Meta) All() map[string]string {
	facts := map[string]string{}
	if m != "" {
		_ = json.Unmarshal([]byte(m), &facts) // what NewMeta made decodes
	}
	return facts
}

// MaxWeight is the largest weight of a provider.
const MaxWeight = 1_000_000

// How many bytes traits may have.
const (
	MaxTrait = 128     // a zone, a version
	MaxTags  = 1 << 10 // all tags together, with a comma between two
	MaxMeta  = 4 << 10 // the text of the metadata
)

// Registrar puts providers into a registry. What was registered is kept
// registered, through any outage, until it is unregistered or the Registrar is
// closed. Safe for concurrent use.
type Registrar interface {
	Register(ctx context.Context, p ...Provider) error
	Unregister(ctx context.Context, p ...Provider) error
}

// Heartbeater is a Registrar that can renew registrations with a TTL for less than it
// takes to repeat them. What the registry has forgotten is registered again.
type Heartbeater interface {
	Heartbeat(ctx context.Context, p ...Provider) error
}

// Discovery says who provides a method. Safe for concurrent use.
type Discovery interface {
	// Discover asks once and returns who provides method now.
	Discover(ctx context.Context, method string) ([]Provider, error)
	// Follow calls fn with the providers of method: once as soon as they are
	// known, and after every change. Calls of fn come one at a time; fn must
	// not block. While the registry is away the last list stays. What cannot be
	// followed, for its name or because the Discovery is closed, is told once, with Err.
	// stop returns when fn will not be called again; fn must not call it.
	Follow(method string, fn func(Providers)) (stop func())
}

// Registry is both. Close ends what it does and takes back what it has registered; it
// returns when no callback of its followers runs any more.
type Registry interface {
	Registrar
	Discovery
	Close() error
}

// Providers is the state of one method's providers after a change.
type Providers struct {
	List    []Provider      // all of them; must not be changed
	Online  []Provider      // who came since the last call
	Offline []Provider      // who left since the last call
	Reasons []OfflineReason // why they did, one for each of Offline; nil: the registry is one that does not say
	Held    []Provider      // part of List that the registry does not know any more, or not yet: believed in for a while
	Err     error           // set instead of a list when the first question could not be answered yet
}

// OfflineReason is why a provider went offline. A registry may know others than these.
type OfflineReason string

// The reasons.
const (
	OfflineUnknown      OfflineReason = ""             // the registry did not say
	OfflineLost         OfflineReason = "lost"         // its connection to the registry broke
	OfflineLeft         OfflineReason = "left"         // it closed that with a goodbye
	OfflineUnregistered OfflineReason = "unregistered" // it was unregistered; its State is Retiring if it had drained before
	OfflineExpired      OfflineReason = "expired"      // its time to live was over
	OfflineReplaced     OfflineReason = "replaced"     // another instance provides the method at its address
	OfflineVanished     OfflineReason = "vanished"     // the registry does not know it any more, and nobody was told when it went
)

// Reporter is a Discovery that tells its registry of providers that callers could
// not reach. Report returns at once; it may be called for every failure, as no more
// goes out than the registry has use for. Safe for concurrent use.
type Reporter interface {
	Report(p Provider, reason string)
}

// Picker chooses who gets the next call of one method. It is made per method
// and safe for concurrent use.
type Picker interface {
	// Pick returns an index into list, which has at least one element.
	Pick(list []Provider) int
}
