package abstract

import (
	"encoding/json"
	"strings"
)

// The methods that every RpcServer answers about those that it serves. Both tell only
// of methods that the caller may call.
const (
	// DescribeMethod takes a MethodQuery and answers a MethodInfo.
	DescribeMethod = "trefoil.describe"
	// ListMethods takes a MethodQuery and answers a MethodList.
	ListMethods = "trefoil.methods"
)

// ReservedMethods begins the names of methods that servers have of themselves: users'
// methods have other names.
const ReservedMethods = "trefoil."

// IsReserved reports whether a method's name is one that servers keep for themselves.
func IsReserved(method string) bool { return strings.HasPrefix(method, ReservedMethods) }

// MethodQuery asks about methods.
type MethodQuery struct {
	// Method is the one to describe. For ListMethods it is left out; it names one that
	// the server serves, where a broker has to find the server by it.
	Method string `json:"method,omitempty" jsonschema:"a method that the server serves, where a broker has to find the server by it"`
	Prefix string `json:"prefix,omitempty" jsonschema:"what the names begin with"`                         // ListMethods: of the names
	After  string `json:"after,omitempty" jsonschema:"only names behind this one"`                         // ListMethods: only names behind this one
	Limit  int    `json:"limit,omitempty" jsonschema:"how many at most; 0: as many as are listed at once"` // ListMethods: how many at most; 0, and more than it does at once: as many as it does
}

// MethodInfo is what a server says of a method that it serves.
type MethodInfo struct {
	Method     string            `json:"method"`
	Kind       string            `json:"kind"`      // that of a MethodKind in words
	Signature  string            `json:"signature"` // in one line: "math.add(num1 integer, num2 integer) integer"; "(...)" are parameters of which nothing is known
	Doc        string            `json:"doc,omitempty"`
	Idempotent bool              `json:"idempotent,omitempty"` // it may be tried again
	Parameters json.RawMessage   `json:"parameters,omitempty"` // a JSON Schema, of the messages where the client sends a stream of them; left out: not known
	Result     json.RawMessage   `json:"result,omitempty"`     // the same of the result, or of the messages that come
	Examples   []json.RawMessage `json:"examples,omitempty"`   // of parameters
}

// MethodList is some of the methods that a server serves.
type MethodList struct {
	Methods []MethodSummary `json:"methods"`        // by name
	More    bool            `json:"more,omitempty"` // there are more behind the last one
}

// MethodSummary is one of a MethodList.
type MethodSummary struct {
	Method string `json:"method"`
	Kind   string `json:"kind"`
	Doc    string `json:"doc,omitempty"`
}
