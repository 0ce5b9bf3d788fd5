package router

import (
	"strings"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Description says what a method takes and returns.
type Description struct {
	Method     string
	Parameters []Parameter // those that are checked; others may be sent all the same
	Result     message.Kind
}

// Parameter is one named parameter.
type Parameter struct {
	Name     string
	Kind     message.Kind
	Optional bool // it may be missing, or null
}

// maxMethod is the longest name of a method that requests may carry.
const maxMethod = 256

// kinds are those that a description may name.
var kinds = map[message.Kind]bool{
	message.Bool: true, message.Integer: true, message.Number: true, message.String: true,
	message.Array: true, message.Object: true, message.Any: true,
}

// check returns what is wrong with a description.
func (d Description) check() error {
	switch {
	case d.Method == "":
		return abstract.Errorf(abstract.InvalidParams, "a method needs a name")
	case len(d.Method) > maxMethod:
		return abstract.Errorf(abstract.InvalidParams, "the name of method %.40s... is longer than %d bytes", d.Method, maxMethod)
	case !kinds[d.Result]:
		return abstract.Errorf(abstract.InvalidParams, "the result of method %s has no kind that is known: %q", d.Method, d.Result)
	}
	for i, p := range d.Parameters {
		if p.Name == "" || !kinds[p.Kind] {
			return abstract.Errorf(abstract.InvalidParams, "parameter %d of method %s needs a name and a known kind, not %q", i+1, d.Method, p.Kind)
		}
	}
	return nil
}

// CheckParameters returns an error with code InvalidParams that names the first
// parameter which is missing or of another kind than described.
func (d Description) CheckParameters(params message.Raw) error {
	if len(d.Parameters) == 0 {
		return nil
	}
	var few [8]message.Kind
	found := few[:0]
	if len(d.Parameters) > len(few) {
		found = make([]message.Kind, 0, len(d.Parameters))
	}
	found = found[:len(d.Parameters)]
	err := message.Members(params, func(key string, value message.Raw) bool {
		for i := range d.Parameters {
			if d.Parameters[i].Name == key {
				found[i] = message.KindOf(value) // the last of several wins
				break
			}
		}
		return true
	})
	if err != nil {
		return abstract.Errorf(abstract.InvalidParams, "the parameters are no JSON object")
	}
	for i, p := range d.Parameters {
		if err := p.check(d.Method, found[i]); err != nil {
			return err
		}
	}
	return nil
}

func (p Parameter) check(method string, found message.Kind) error {
	switch {
	case found == message.Invalid && p.Optional, found == message.Null && (p.Optional || p.Kind == message.Any):
		return nil
	case found == message.Invalid:
		return abstract.Errorf(abstract.InvalidParams, "%s needs a parameter %q (%s)", method, p.Name, p.Kind)
	case !found.Fits(p.Kind):
		return abstract.Errorf(abstract.InvalidParams, "parameter %q of %s is %s, not %s", p.Name, method, found, p.Kind)
	}
	return nil
}

// CheckResult returns an error with code Internal when a result is of another
// kind than described.
func (d Description) CheckResult(raw message.Raw) error {
	if found := message.KindOf(raw); !found.Fits(d.Result) && !(d.Result != message.Any && empty(raw)) {
		return abstract.Errorf(abstract.Internal, "%s returned %s in place of %s", d.Method, found, d.Result)
	}
	return nil
}

// empty says whether a result stands for nothing, which {} does whatever the kind.
func empty(raw message.Raw) bool { return string(raw) == "{}" }

// String writes a description as a person would: "math.add(num1 integer, num2 integer) integer".
func (d Description) String() string {
	var b strings.Builder
	b.WriteString(d.Method + "(")
	for i, p := range d.Parameters {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p.Name + " " + string(p.Kind))
		if p.Optional {
			b.WriteString("?")
		}
	}
	b.WriteString(") " + string(d.Result))
	return b.String()
}
