package abstract

import "context"

// Provider is one place that serves a method.
type Provider struct {
	Method   string
	Host     Host
	Instance string // the provider's own id; empty for a legacy provider
	Hello    bool   // the provider speaks HELLO; others are called as legacy peers
	Traits
}

// Traits are what a provider says of itself for callers to choose by. They are not
// part of what it is told apart by: registered again with others, it is the same
// one, changed. Legacy peers do not see them.
type Traits struct {
	Weight  int    // its share of the calls beside the others' weights; 0 is the usual 100; at most MaxWeight
	Zone    string // where it is, so that callers can stay near
	Version string // of what it serves
}

// MaxWeight is the largest weight of a provider.
const MaxWeight = 1_000_000

// MaxTrait is how many bytes a zone or a version may have.
const MaxTrait = 128

// Registrar puts providers into a registry. What was registered is kept
// registered, through any outage, until it is unregistered or the Registrar is
// closed. Safe for concurrent use.
type Registrar interface {
	Register(ctx context.Context, p ...Provider) error
	Unregister(ctx context.Context, p ...Provider) error
}

// Discovery says who provides a method. Safe for concurrent use.
type Discovery interface {
	// Discover asks once and returns who provides method now.
	Discover(ctx context.Context, method string) ([]Provider, error)
	// Follow calls fn with the providers of method: once as soon as they are
	// known, and after every change. Calls of fn come one at a time; fn must
	// not block. While the registry is away the last list stays. stop returns
	// when fn will not be called again; fn must not call it.
	Follow(method string, fn func(Providers)) (stop func())
}

// Providers is the state of one method's providers after a change.
type Providers struct {
	List    []Provider // all of them; must not be changed
	Online  []Provider // who came since the last call
	Offline []Provider // who left since the last call
	Err     error      // set instead of a list when the first question could not be answered yet
}

// Picker chooses who gets the next call of one method. It is made per method
// and safe for concurrent use.
type Picker interface {
	// Pick returns an index into list, which has at least one element.
	Pick(list []Provider) int
}
